//! Meetings: the proxy's reports, kept for the story to look into.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use proxy_core::{Observer, Report};

/// A report comes when its connection has ended, which may be a moment after the client has its answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The reports so far.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    reports: Mutex<Vec<Report>>,
    news: Condvar,
}

impl Observer for Meetings {
    fn finished(&self, report: &Report) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
        self.news.notify_all();
    }
}

impl Meetings {
    /// Forgets what has been.
    pub(crate) fn forget(&self) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The first report that is `wanted`, waiting a while for it.
    pub(crate) fn find(&self, wanted: impl Fn(&Report) -> bool) -> Option<Report> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let lacks = |reports: &mut Vec<Report>| !reports.iter().any(&wanted);
        let waited = self.news.wait_timeout_while(reports, PATIENCE, lacks);
        let (reports, _) = waited.unwrap_or_else(PoisonError::into_inner);
        reports.iter().find(|report| wanted(report)).cloned()
    }
}
