//! Rate: how much was done in a second, many times.

use std::fmt;
use std::time::Duration;

/// How much was done in a second, each time.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<f64>);

/// `count` in that time, for a second.
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

impl Rates {
    pub(crate) fn add(&mut self, rate: f64) {
        self.0.push(rate);
    }

    /// The median of these as a share of the median of others.
    pub(crate) fn of(&self, others: &Self) -> f64 {
        self.median() / others.median()
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self
            .0
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
        write!(f, "{:>9.0} ({least:.0}-{most:.0})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let mut rates = Rates::default();
        [30.0, 10.0, 20.0].into_iter().for_each(|rate| rates.add(rate));
        assert_eq!(rates.to_string(), "       20 (10-30)");
        assert!((rates.of(&rates) - 1.0).abs() < f64::EPSILON);
    }
}
