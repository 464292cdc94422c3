//! Watch: a list of the API server's, and its changes from then on, again and again.
//!
//! ```text
//!   list ──version──> watch ──events──> told          ended, as the server does every few minutes: watch from the last version
//!     ^                 │ broken: wait, then watch from the last version
//!     └──── 410 Gone ───┘
//! ```
//!
//! What the agent was told stays told, however long the server is away.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::{Request, Status};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, error::Elapsed, sleep, timeout, timeout_at};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::listing::Change;
use super::reason::reason;
use crate::agent::backoff::Backoff;

/// Waits between tries: as for the agent's own steps, so that a server that comes back is found soon, and half of it by chance, so that
/// not all nodes find it together.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(15) };
/// A watch that lasted so long was one, if nothing was heard, too.
const SETTLED: Duration = Duration::from_secs(5);
/// Longest time for a list. 60 s: the API server's own limit of a request (`--request-timeout`).
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// Longest time until a watch has begun.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// A watch that has begun so long ago has told what changed while nobody watched.
const CATCH_UP: Duration = Duration::from_secs(1);
/// The server is asked to end a watch after so long, and a random half of that more.
const WATCH_SECONDS: u32 = 180;
/// A watch of which nothing is heard for so long is dead: the server should have ended it, and sends bookmarks each minute.
const SILENCE: Duration = Duration::from_secs(300);
/// Longest event, in bytes. 4 MiB: etcd keeps no object of half of that.
const MAX_EVENT: usize = 4 << 20;

/// A list that is followed.
pub(super) struct Watched<K, T> {
    pub(super) client: Client,
    /// Which of them, as a field selector.
    pub(super) fields: Option<String>,
    /// The key of one, and what is told of it.
    pub(super) read: fn(K) -> Option<(String, T)>,
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    /// Up to which changes have been told.
    version: Option<String>,
    /// Tries since something was heard.
    failures: u32,
}

/// Why a watch has ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("listing")]
    List(#[source] kube::Error),
    #[error("the list has no version")]
    NoVersion,
    #[error("watching")]
    Open(#[source] kube::Error),
    #[error("the server says: {} ({})", .0.message, .0.code)]
    Said(Box<Status>),
    #[error("reading an event")]
    Read(#[from] LinesCodecError),
    #[error("an event is not one")]
    Event(#[source] serde_json::Error),
    #[error("no answer in time")]
    Late(#[from] Elapsed),
}

impl<K, T> Watched<K, T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    /// Tells the list and its changes, for ever.
    pub(super) async fn follow(&self, told: impl Fn(Change<T>)) {
        let mut progress = Progress::default();
        loop {
            let began = Instant::now();
            let ended = self.once(&mut progress, &told).await;
            if began.elapsed() >= SETTLED {
                progress.failures = 0;
            }
            match ended {
                // What ends a watch that was one is nothing to wait for.
                Ok(()) if progress.failures == 0 && began.elapsed() >= SETTLED => continue,
                Ok(()) => {}
                Err(error) => {
                    if error.is_expired() {
                        progress.version = None;
                    }
                    told(Change::Broken(error.reason()));
                }
            }
            progress.failures = progress.failures.saturating_add(1);
            sleep(BACKOFF.wait(progress.failures, fastrand::f64())).await;
        }
    }

    /// One list, if there was none, and one watch, until it ends.
    async fn once(&self, progress: &mut Progress, told: &impl Fn(Change<T>)) -> Result<(), WatchError> {
        let mut from = match progress.version.take() {
            Some(version) => version,
            None => timeout(LIST_LIMIT, self.list(told)).await??,
        };
        progress.version = Some(from.clone());
        let seconds = WATCH_SECONDS + fastrand::u32(0..WATCH_SECONDS / 2);
        let params =
            WatchParams { field_selector: self.fields.clone(), ..WatchParams::default().timeout(seconds) };
        let request = self.request().watch(&params, &from);
        let request = request.map_err(|error| WatchError::Open(kube::Error::BuildRequest(error)))?;
        let opened = timeout(OPEN_LIMIT, self.client.request_stream(request)).await?;
        let opened = opened.map_err(WatchError::Open)?.compat();
        let mut lines = std::pin::pin!(FramedRead::new(opened, LinesCodec::new_with_max_length(MAX_EVENT)));
        let mut caught_up = Some(Instant::now() + CATCH_UP);
        loop {
            let limit = caught_up.unwrap_or_else(|| Instant::now() + SILENCE);
            let line = match timeout_at(limit, lines.next()).await {
                Ok(Some(line)) => line?,
                Ok(None) => return Ok(()),
                Err(_) if caught_up.take().is_some() => {
                    told(Change::Opened);
                    continue;
                }
                Err(late) => return Err(late.into()),
            };
            let event = serde_json::from_str::<WatchEvent<K>>(&line).map_err(WatchError::Event)?;
            from = self.tell(event, told)?.unwrap_or(from);
            *progress = Progress { version: Some(from.clone()), failures: 0 };
        }
    }

    async fn list(&self, told: &impl Fn(Change<T>)) -> Result<String, WatchError> {
        let params = ListParams { field_selector: self.fields.clone(), ..ListParams::default() };
        let request = self.request().list(&params);
        let request = request.map_err(|error| WatchError::List(kube::Error::BuildRequest(error)))?;
        let list = self.client.request::<ObjectList<K>>(request).await.map_err(WatchError::List)?;
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        let version = version.ok_or(WatchError::NoVersion)?;
        told(Change::Begun);
        for (key, item) in list.items.into_iter().filter_map(self.read) {
            told(Change::Listed(key, item));
        }
        told(Change::Ended);
        Ok(version)
    }

    /// Tells an event; the version after it.
    fn tell(&self, event: WatchEvent<K>, told: &impl Fn(Change<T>)) -> Result<Option<String>, WatchError> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.meta().resource_version.clone();
                if let Some((key, item)) = (self.read)(object) {
                    told(Change::Applied(key, item));
                }
                Ok(version)
            }
            WatchEvent::Deleted(object) => {
                let version = object.meta().resource_version.clone();
                if let Some((key, _)) = (self.read)(object) {
                    told(Change::Deleted(key));
                }
                Ok(version)
            }
            WatchEvent::Bookmark(bookmark) => Ok(Some(bookmark.metadata.resource_version)),
            WatchEvent::Error(status) => Err(WatchError::Said(status)),
        }
    }

    fn request(&self) -> Request {
        Request::new(K::url_path(&(), None))
    }
}

impl WatchError {
    /// Whether the version is older than what the server remembers (410 Gone): all must be listed again.
    fn is_expired(&self) -> bool {
        let status = match self {
            Self::Said(status) => status,
            Self::Open(kube::Error::Api(status)) => status,
            _ => return false,
        };
        status.code == 410
    }

    fn reason(&self) -> String {
        match self {
            Self::List(error) => format!("listing: {}", reason(error)),
            Self::Open(error) => format!("watching: {}", reason(error)),
            other => crate::report::Causes(other).to_string(),
        }
    }
}
