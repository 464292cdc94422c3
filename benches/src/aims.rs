//! What we aim at against the peer, and whether this run met it. An aim missed is news, not an error.

use std::fmt;

use crate::contender::Name;
use crate::metric::Metric;
use crate::results::Results;
use crate::table::figure;

/// A ratio of ours to ztunnel's, by the median of the rounds.
#[derive(Clone, Copy, Debug)]
struct Aim {
    metric: Metric,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// 1.3 times its requests and connections a second, and no more CPU time for a byte.
const AIMS: [Aim; 4] = [
    Aim { metric: Metric::Requests, bound: Bound::AtLeast(1.3) },
    Aim { metric: Metric::Connections, bound: Bound::AtLeast(1.3) },
    Aim { metric: Metric::BulkOneCpu, bound: Bound::AtMost(1.0) },
    Aim { metric: Metric::BulkManyCpu, bound: Bound::AtMost(1.0) },
];

impl Bound {
    fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound:.1}"),
            Self::AtMost(bound) => write!(f, "<= {bound:.1}"),
        }
    }
}

/// One line on all aims.
#[derive(Debug)]
pub(crate) struct Verdict<'a>(pub(crate) &'a Results);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.contenders().contains(&Name::Ztunnel) {
            return f.write_str("aims: not judged without a ztunnel (INPOD_PEER_ZTUNNEL)");
        }
        f.write_str("aims (ours/ztunnel):")?;
        for (number, Aim { metric, bound }) in AIMS.into_iter().enumerate() {
            let separator = if number == 0 { " " } else { "; " };
            let ratio = self.0.ratio(Name::Ours, Name::Ztunnel, metric).map(|spread| spread.median);
            let outcome = match ratio {
                Some(ratio) if bound.is_met_by(ratio) => format!("{}, met", figure(ratio)),
                Some(ratio) => format!("{}, MISSED", figure(ratio)),
                None => "not measured".to_owned(),
            };
            write!(f, "{separator}{metric} {bound}: {outcome}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Figures;

    #[test]
    fn the_verdict_names_what_is_met_missed_and_not_measured() {
        let mut results = Results::default();
        let of = |requests, cpu| Figures::from([(Metric::Requests, requests), (Metric::BulkOneCpu, cpu)]);
        results.add(0, Name::Ours, of(130.0, 2.2));
        assert_eq!(Verdict(&results).to_string(), "aims: not judged without a ztunnel (INPOD_PEER_ZTUNNEL)");
        results.add(0, Name::Ztunnel, of(100.0, 2.0));
        assert_eq!(
            Verdict(&results).to_string(),
            "aims (ours/ztunnel): requests/s >= 1.3: 1.30, met; new connections/s >= 1.3: not measured; \
             1 stream, proxy s/GB <= 1.0: 1.10, MISSED; 8 streams, proxy s/GB <= 1.0: not measured"
        );
    }
}
