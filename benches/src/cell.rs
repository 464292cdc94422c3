//! One load of a fixed shape, and the figures that it gives.

use crate::args::Group;
use crate::load::{Load, Sample};
use crate::metric::Metric;

/// What is asked of each contender, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Latency,
    Requests,
    Connections,
    BulkOne,
    BulkMany,
    Idle,
}

/// Whether a cell may share its proxy with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Others,
    /// Memory that other loads have freed would be used again, and not be seen to grow.
    Alone,
}

impl Cell {
    const ALL: [Self; 6] =
        [Self::Latency, Self::Requests, Self::Connections, Self::BulkOne, Self::BulkMany, Self::Idle];

    /// Those of the named groups; all of them where none is named.
    pub(crate) fn of(only: &[Group]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|cell| only.is_empty() || only.contains(&cell.group())).collect()
    }

    fn group(self) -> Group {
        match self {
            Self::Latency => Group::Latency,
            Self::Requests => Group::Requests,
            Self::Connections => Group::Connections,
            Self::BulkOne | Self::BulkMany => Group::Bulk,
            Self::Idle => Group::Idle,
        }
    }

    pub(crate) fn load(self) -> Load {
        match self {
            Self::Latency | Self::Requests => Load::Requests,
            Self::Connections => Load::Connections,
            Self::BulkOne | Self::BulkMany => Load::Bulk,
            Self::Idle => Load::Idle,
        }
    }

    /// Connections at a time.
    pub(crate) fn parallel(self) -> usize {
        match self {
            Self::Latency | Self::BulkOne => 1,
            Self::BulkMany => 8,
            Self::Connections => 16,
            Self::Requests => 32,
            Self::Idle => 1000,
        }
    }

    pub(crate) fn company(self) -> Company {
        match self {
            Self::Latency | Self::Requests | Self::Connections | Self::BulkOne | Self::BulkMany => {
                Company::Others
            }
            Self::Idle => Company::Alone,
        }
    }

    /// What a sample says, as far as it says it: there is no proxy's CPU time without a proxy.
    pub(crate) fn figures(self, sample: &Sample) -> Vec<(Metric, f64)> {
        let operations = sample.operations as f64;
        let rate = operations / sample.seconds;
        let cpu = sample.cpu_seconds.map(|seconds| seconds / operations);
        let figures = match self {
            Self::Latency => {
                [(Metric::LatencyP50, sample.p50_micros), (Metric::LatencyP99, sample.p99_micros)]
            }
            Self::Requests => [(Metric::Requests, Some(rate)), (Metric::RequestCpu, cpu.map(micro))],
            Self::Connections => [(Metric::Connections, Some(rate)), (Metric::ConnectionCpu, cpu.map(micro))],
            Self::BulkOne => {
                [(Metric::BulkOne, Some(gigabits(rate))), (Metric::BulkOneCpu, cpu.map(a_gigabyte))]
            }
            Self::BulkMany => {
                [(Metric::BulkMany, Some(gigabits(rate))), (Metric::BulkManyCpu, cpu.map(a_gigabyte))]
            }
            Self::Idle => {
                let grown = sample.grown_kib.map(|kib| kib as f64 / operations);
                return grown.map(|grown| (Metric::IdleMemory, grown)).into_iter().collect();
            }
        };
        figures.into_iter().filter_map(|(metric, figure)| Some((metric, figure?))).collect()
    }
}

fn micro(seconds: f64) -> f64 {
    seconds * 1e6
}

fn gigabits(bytes: f64) -> f64 {
    bytes * 8.0 / 1e9
}

fn a_gigabyte(seconds_a_byte: f64) -> f64 {
    seconds_a_byte * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_choose_cells() {
        assert_eq!(Cell::of(&[]), Cell::ALL);
        assert_eq!(Cell::of(&[Group::Bulk]), [Cell::BulkOne, Cell::BulkMany]);
        assert_eq!(Cell::of(&[Group::Idle, Group::Latency]), [Cell::Latency, Cell::Idle]);
    }

    #[test]
    fn figures_are_in_the_units_of_their_names() {
        let sample =
            Sample { operations: 1_000_000_000, seconds: 2.0, cpu_seconds: Some(1.5), ..Sample::default() };
        assert_eq!(Cell::BulkOne.figures(&sample), [(Metric::BulkOne, 4.0), (Metric::BulkOneCpu, 1.5)]);
        let sample =
            Sample { operations: 100_000, seconds: 2.0, cpu_seconds: Some(1.0), ..Sample::default() };
        assert_eq!(
            Cell::Requests.figures(&sample),
            [(Metric::Requests, 50_000.0), (Metric::RequestCpu, 10.0)]
        );
        let sample = Sample { operations: 1000, grown_kib: Some(4096), ..Sample::default() };
        assert_eq!(Cell::Idle.figures(&sample), [(Metric::IdleMemory, 4.096)]);
    }

    #[test]
    fn without_a_proxy_there_is_no_cpu_figure() {
        let sample = Sample { operations: 100, seconds: 1.0, ..Sample::default() };
        assert_eq!(Cell::Connections.figures(&sample), [(Metric::Connections, 100.0)]);
    }
}
