//! Backoff: how long to wait before trying again. No clock, no randomness of its own.

use std::time::Duration;

/// Waits that double, from a first to a longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row, of which the upper half is left to chance, so that many pods that failed together do
    /// not come back together. `chance` is from 0 to 1.
    pub(super) fn wait(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(15) };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = [1, 2, 3, 9, u32::MAX].map(|failures| BACKOFF.wait(failures, 1.0).as_millis());
        assert_eq!(waits, [100, 200, 400, 15_000, 15_000]);
        assert_eq!(BACKOFF.wait(1, 0.0).as_millis(), 50);
    }

    proptest! {
        #[test]
        fn no_wait_is_outside_of_its_half(failures in any::<u32>(), chance in any::<f64>()) {
            let chance = if chance.is_nan() { 0.5 } else { chance };
            let wait = BACKOFF.wait(failures, chance);
            prop_assert!(wait >= BACKOFF.first / 2 && wait <= BACKOFF.longest);
        }
    }
}
