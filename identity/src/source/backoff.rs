//! How long to wait after failures in a row. Pure: chance comes in as a random number generator.

use std::time::Duration;

/// The wait after the first failure, and the least time between two requests for one thing (ztunnel's first wait).
pub(super) const FLOOR: Duration = Duration::from_secs(1);

/// The longest wait, while nothing is lost by waiting (ztunnel's).
pub(super) const RELAXED: Duration = Duration::from_secs(150);

/// The longest wait while there is nothing to use: a pod that starts after an outage should not notice that there was one.
pub(super) const PRESSED: Duration = Duration::from_secs(15);

/// The wait after `failures` in a row: twice as long each time, up to `most`, and then a fifth more or less, so that those
/// who failed together do not come back together (ztunnel's numbers).
pub(super) fn backoff(failures: u32, most: Duration, rng: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    spread(FLOOR.saturating_mul(1 << doublings).min(most), 0.2, rng).max(FLOOR)
}

/// `time`, up to `part` of it longer or shorter.
pub(super) fn spread(time: Duration, part: f64, rng: &mut fastrand::Rng) -> Duration {
    time.mul_f64(1.0 - part + 2.0 * part * rng.f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_never_short_and_never_endless(failures in any::<u32>(), seed in any::<u64>()) {
            let wait = backoff(failures, RELAXED, &mut fastrand::Rng::with_seed(seed));
            prop_assert!(wait >= FLOOR);
            prop_assert!(wait <= RELAXED.mul_f64(1.2));
        }

        #[test]
        fn it_doubles(failures in 1..7_u32, seed in any::<u64>()) {
            let wait = backoff(failures, RELAXED, &mut fastrand::Rng::with_seed(seed));
            let middle = f64::from(1 << (failures - 1));
            prop_assert!((middle * 0.8..=middle * 1.2).contains(&wait.as_secs_f64()) || wait == FLOOR);
        }
    }

    #[test]
    fn those_who_fail_together_come_back_apart() {
        let mut rng = fastrand::Rng::with_seed(1);
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| backoff(9, RELAXED, &mut rng)).collect();
        assert!(waits.len() > 90);
        let (first, last) = (waits.first().unwrap(), waits.last().unwrap());
        assert!(*last - *first > Duration::from_secs(40), "over most of the fifth each way");
    }
}
