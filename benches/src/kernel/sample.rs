//! Sample: how long something took, many times.

use std::fmt;
use std::time::{Duration, Instant};

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    /// Times it once.
    pub(crate) fn time<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let made = what();
        self.0.push(begin.elapsed());
        made
    }

    /// What this share of the times, in percent, does not exceed (nearest rank).
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, most) = (self.percentile(50), self.percentile(99));
        let (Some(median), Some(most), Some(least)) = (median, most, self.0.iter().min()) else {
            return f.write_str("not measured");
        };
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        write!(f, "{:>9.1} {:>9.1} {:>9.1}", micros(median), micros(most), micros(*least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_and_the_least() {
        let sample = Sample((1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!(sample.to_string(), "     50.0      99.0       1.0");
        assert_eq!(Sample::default().to_string(), "not measured");
    }
}
