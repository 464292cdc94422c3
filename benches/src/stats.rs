//! Medians, spreads and percentiles of a handful of numbers.

/// The middle and the ends of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no measurements. The median of an even number of them is the mean of the middle two.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let (&below, &above) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: f64::midpoint(below, above), min, max })
    }
}

/// Which share of the measurements a percentile leaves above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Percentile {
    P50,
    P99,
}

impl Percentile {
    /// The smallest measurement that at least this share of `sorted` does not exceed (nearest rank).
    pub(crate) fn of(self, sorted: &[u32]) -> Option<u32> {
        let percent = match self {
            Self::P50 => 50,
            Self::P99 => 99,
        };
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_even_one_and_none() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let calm = Spread::of([1.0, 1.1, 0.9, 1.0, 1.05]).unwrap();
        let shaken = Spread::of([1.0, 1.1, 0.9, 1.0, 50.0]).unwrap();
        assert_eq!(calm.median, shaken.median);
        assert_eq!(shaken.max, 50.0);
    }

    #[test]
    fn percentiles_are_measurements() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(Percentile::P50.of(&hundred), Some(50));
        assert_eq!(Percentile::P99.of(&hundred), Some(99));
        assert_eq!(Percentile::P99.of(&[7]), Some(7));
        assert_eq!(Percentile::P50.of(&[1, 9]), Some(1));
        assert_eq!(Percentile::P50.of(&[]), None);
    }
}
