//! The figures: what each is called, its unit, and which way is better.

use std::fmt;

/// One figure of one contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    LatencyP50,
    LatencyP99,
    Requests,
    RequestCpu,
    Connections,
    ConnectionCpu,
    BulkOne,
    BulkOneCpu,
    BulkMany,
    BulkManyCpu,
    IdleMemory,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

impl Metric {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 11] = [
        Self::Requests,
        Self::RequestCpu,
        Self::Connections,
        Self::ConnectionCpu,
        Self::BulkOne,
        Self::BulkOneCpu,
        Self::BulkMany,
        Self::BulkManyCpu,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::IdleMemory,
    ];

    pub(crate) fn better(self) -> Better {
        match self {
            Self::Requests | Self::Connections | Self::BulkOne | Self::BulkMany => Better::More,
            Self::LatencyP50
            | Self::LatencyP99
            | Self::RequestCpu
            | Self::ConnectionCpu
            | Self::BulkOneCpu
            | Self::BulkManyCpu
            | Self::IdleMemory => Better::Less,
        }
    }
}

/// The name with its unit.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LatencyP50 => "latency p50, us",
            Self::LatencyP99 => "latency p99, us",
            Self::Requests => "requests/s",
            Self::RequestCpu => "proxy us/request",
            Self::Connections => "new connections/s",
            Self::ConnectionCpu => "proxy us/connection",
            Self::BulkOne => "1 stream, Gb/s",
            Self::BulkOneCpu => "1 stream, proxy s/GB",
            Self::BulkMany => "8 streams, Gb/s",
            Self::BulkManyCpu => "8 streams, proxy s/GB",
            Self::IdleMemory => "idle, KiB/connection",
        })
    }
}

impl fmt::Display for Better {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::More => "more",
            Self::Less => "less",
        })
    }
}
