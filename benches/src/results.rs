//! What all rounds came to: figures by round and contender, their spreads, and ratios within each round.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::contender::Name;
use crate::environment::Environment;
use crate::metric::Metric;
use crate::stats::Spread;

/// One contender's figures of one round.
pub(crate) type Figures = BTreeMap<Metric, f64>;

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rounds: BTreeMap<u32, BTreeMap<Name, Figures>>,
}

/// The comparisons that are shown, as (contender, base).
pub(crate) const RATIOS: [(Name, Name); 2] = [(Name::Ours, Name::Ztunnel), (Name::Ours, Name::Direct)];

impl Results {
    pub(crate) fn add(&mut self, round: u32, name: Name, figures: Figures) {
        self.rounds.entry(round).or_default().insert(name, figures);
    }

    /// A contender's figure over all rounds.
    pub(crate) fn spread(&self, name: Name, metric: Metric) -> Option<Spread> {
        Spread::of(self.rounds.values().filter_map(|round| figure(round, name, metric)))
    }

    /// A figure of `name` divided by that of `base` in the same round, over all rounds. What slows the whole machine down
    /// for a while slows both.
    pub(crate) fn ratio(&self, name: Name, base: Name, metric: Metric) -> Option<Spread> {
        let ratios = self.rounds.values().filter_map(|round| {
            let ratio = figure(round, name, metric)? / figure(round, base, metric)?;
            ratio.is_finite().then_some(ratio)
        });
        Spread::of(ratios)
    }

    pub(crate) fn contenders(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.rounds.values().flat_map(BTreeMap::keys).copied().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn to_json(&self, environment: &Environment) -> Value {
        let rounds: Vec<Value> = self.rounds.values().map(round_json).collect();
        let ratios: Map<String, Value> = RATIOS
            .into_iter()
            .map(|(name, base)| {
                let ratio = |metric| Some((metric, json!(self.ratio(name, base, metric)?)));
                (format!("{name}/{base}"), by_metric(Metric::ALL.into_iter().filter_map(ratio)))
            })
            .collect();
        json!({ "environment": environment, "rounds": rounds, "ratios": ratios })
    }
}

fn figure(round: &BTreeMap<Name, Figures>, name: Name, metric: Metric) -> Option<f64> {
    round.get(&name)?.get(&metric).copied()
}

fn round_json(round: &BTreeMap<Name, Figures>) -> Value {
    let contender = |(name, figures): (&Name, &Figures)| {
        (name.to_string(), by_metric(figures.iter().map(|(metric, figure)| (*metric, json!(figure)))))
    };
    Value::Object(round.iter().map(contender).collect())
}

fn by_metric(values: impl Iterator<Item = (Metric, Value)>) -> Value {
    Value::Object(values.map(|(metric, value)| (metric.to_string(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of (ours, ztunnel) requests a second.
    fn results(rounds: &[(f64, f64)]) -> Results {
        let mut results = Results::default();
        for (round, (ours, ztunnel)) in (0..).zip(rounds) {
            results.add(round, Name::Ours, Figures::from([(Metric::Requests, *ours)]));
            results.add(round, Name::Ztunnel, Figures::from([(Metric::Requests, *ztunnel)]));
        }
        results
    }

    /// The machine halves its speed in each round: no single speed can be compared, the ratio stays.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let results = results(&[(80.0, 40.0), (40.0, 20.0), (20.0, 10.0)]);
        let ratio = results.ratio(Name::Ours, Name::Ztunnel, Metric::Requests);
        assert_eq!(ratio, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        let results = results(&[(80.0, 0.0)]);
        assert_eq!(results.ratio(Name::Ours, Name::Ztunnel, Metric::Requests), None);
        assert_eq!(results.ratio(Name::Ours, Name::Direct, Metric::Requests), None);
        assert_eq!(results.ratio(Name::Ours, Name::Ztunnel, Metric::IdleMemory), None);
        assert_eq!(results.contenders(), [Name::Ours, Name::Ztunnel]);
    }
}
