//! Reports: what the proxy said of its connections, in order.

use std::sync::{Condvar, Mutex, PoisonError};

use inpod_proxy_core::{Direction, Observer, Report};
use testkit::lab::Pod;

use super::{LIMIT, Result};

#[derive(Debug, Default)]
pub(crate) struct Reports {
    seen: Mutex<Vec<Report>>,
    more: Condvar,
}

impl Observer for Reports {
    fn finished(&self, report: &Report) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
        self.more.notify_all();
    }
}

impl Reports {
    /// Takes the next report of this direction and pod, and all before it.
    pub(crate) fn next(&self, direction: Direction, pod: &Pod) -> Result<Report> {
        let is_it = |report: &Report| report.direction == direction && report.pod.name == pod.name();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(seen, LIMIT, |seen| !seen.iter().any(is_it));
        let (mut seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match seen.iter().position(is_it) {
            // Others of the same connection may have come before.
            Some(at) => Ok(seen.remove(at)),
            None => Err(format!("no {direction} report of {}; there are {seen:#?}", pod.name()).into()),
        }
    }

    /// Forgets those that nobody has taken.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many there are that nobody has taken.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
