//! Counters of finished connections, as Prometheus reads them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxy_core::{AccessLog, Direction, Observer, Report};

/// The log and the counters.
#[derive(Debug)]
pub(crate) struct Observers {
    pub(crate) log: AccessLog,
    pub(crate) counters: Arc<Counters>,
}

impl Observer for Observers {
    fn finished(&self, report: &Report) {
        self.counters.finished(report);
        self.log.finished(report);
    }
}

/// What each direction came to. The label sets are fixed, so no peer can make them grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    outbound: Counts,
    inbound: Counts,
    plaintext: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    ok: AtomicU64,
    failed: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Observer for Counters {
    fn finished(&self, report: &Report) {
        let counts = match report.direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
            _ => &self.plaintext,
        };
        let ended = if report.outcome.is_ok() { &counts.ok } else { &counts.failed };
        ended.fetch_add(1, Ordering::Relaxed);
        counts.sent.fetch_add(report.transferred.sent, Ordering::Relaxed);
        counts.received.fetch_add(report.transferred.received, Ordering::Relaxed);
    }
}

impl Counters {
    /// The Prometheus text format, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let directions = [
            (Direction::Outbound, &self.outbound),
            (Direction::Inbound, &self.inbound),
            (Direction::Plaintext, &self.plaintext),
        ];
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::from("# TYPE inpod_connections_closed_total counter\n");
        // Writing to a String cannot fail.
        for (direction, counts) in directions {
            for (outcome, counter) in [("ok", &counts.ok), ("failed", &counts.failed)] {
                let labels = format!("direction=\"{direction}\",outcome=\"{outcome}\"");
                let _ = writeln!(text, "inpod_connections_closed_total{{{labels}}} {}", value(counter));
            }
        }
        text.push_str("# TYPE inpod_bytes_total counter\n");
        for (direction, counts) in directions {
            for (flow, counter) in [("sent", &counts.sent), ("received", &counts.received)] {
                let labels = format!("direction=\"{direction}\",flow=\"{flow}\"");
                let _ = writeln!(text, "inpod_bytes_total{{{labels}}} {}", value(counter));
            }
        }
        text
    }
}
