//! Report: what is known of a connection once it is over. One for each, whatever happened.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::SpiffeId;

use crate::address::{ClientAddr, HopAddr};
use crate::error::ConnectionError;
use crate::workload::PodName;

/// Which way a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// From an application in the pod (15001).
    Outbound,
    /// Through a tunnel to the pod (15008).
    Inbound,
    /// In plaintext to the pod (15006).
    Plaintext,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Plaintext => "plaintext",
        })
    }
}

/// Bytes that were relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transferred {
    /// From the client to the destination.
    pub sent: u64,
    /// From the destination to the client.
    pub received: u64,
}

/// What is known of a finished connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Which way it went.
    pub direction: Direction,
    /// The pod that it belongs to.
    pub pod: Arc<PodName>,
    /// Who opened it.
    pub client: ClientAddr,
    /// Where it was to go, as far as that was learnt.
    pub destination: Option<SocketAddr>,
    /// The hop that the tunnel went to, for outbound ones.
    pub tunnel: Option<HopAddr>,
    /// The identity at the other end, where one was proved.
    pub peer: Option<SpiffeId>,
    /// Bytes relayed.
    pub transferred: Transferred,
    /// From accept to end.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Result<(), ConnectionError>,
}

/// A connection that is being served, and its report so far.
#[derive(Debug)]
pub(crate) struct Ongoing {
    pub(crate) report: Report,
    started: Instant,
}

impl Ongoing {
    pub(crate) fn begin(direction: Direction, pod: &Arc<PodName>, client: ClientAddr) -> Self {
        let report = Report {
            direction,
            pod: Arc::clone(pod),
            client,
            destination: None,
            tunnel: None,
            peer: None,
            transferred: Transferred::default(),
            duration: Duration::ZERO,
            outcome: Ok(()),
        };
        Self { report, started: Instant::now() }
    }

    /// Hands the report over: `relayed` is an error where the connection never came to be relayed.
    pub(crate) fn end(mut self, relayed: Result<Relayed, ConnectionError>, observer: &dyn Observer) {
        let (transferred, outcome) = relayed.unwrap_or_else(|error| (Transferred::default(), Err(error)));
        self.report.transferred = transferred;
        self.report.outcome = outcome;
        self.report.duration = self.started.elapsed();
        observer.finished(&self.report);
    }
}

/// What a relay came to: bytes count also when it failed.
pub(crate) type Relayed = (Transferred, Result<(), ConnectionError>);

/// Takes the report of each connection. Called on the connection's core, so it should be quick.
pub trait Observer: fmt::Debug + Send + Sync {
    /// One connection is over.
    fn finished(&self, report: &Report);
}

/// Writes one log line a connection: `info` when it went well, `warn` when not.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessLog;

impl Observer for AccessLog {
    fn finished(&self, report: &Report) {
        match &report.outcome {
            Ok(()) => tracing::info!(target: "access", "{}", Line(report)),
            Err(error) => {
                tracing::warn!(target: "access", "{} error={}", Line(report), Quoted(&Causes(error)));
            }
        }
    }
}

/// The log line's fields as `key=value`, in one fixed order.
struct Line<'a>(&'a Report);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { direction, pod, client, destination, tunnel, peer, transferred, duration, .. } = self.0;
        write!(f, "direction={direction} pod={} client={client}", Quoted(pod))?;
        if let Some(destination) = destination {
            write!(f, " destination={destination}")?;
        }
        if let Some(tunnel) = tunnel {
            write!(f, " tunnel={tunnel}")?;
        }
        if let Some(peer) = peer {
            write!(f, " peer={peer}")?;
        }
        let Transferred { sent, received } = transferred;
        write!(f, " sent={sent} received={received} ms={}", duration.as_millis())
    }
}

/// An error and its causes, on one line.
pub(crate) struct Causes<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// A value that comes from outside, quoted and escaped, so that it cannot forge a field or a line.
struct Quoted<'a>(&'a dyn fmt::Display);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        let pod = PodName { namespace: "a".into(), name: "x\" evil=1\n".into(), service_account: "s".into() };
        let report = Report {
            direction: Direction::Outbound,
            pod: Arc::new(pod),
            client: ClientAddr::new("10.0.0.1:1".parse().unwrap()),
            destination: Some("10.0.0.2:80".parse().unwrap()),
            tunnel: None,
            peer: None,
            transferred: Transferred { sent: 1, received: 2 },
            duration: Duration::from_millis(3),
            outcome: Ok(()),
        };
        assert_eq!(
            Line(&report).to_string(),
            r#"direction=outbound pod="a/x\" evil=1\n" client=10.0.0.1:1 destination=10.0.0.2:80 sent=1 received=2 ms=3"#
        );
    }
}
