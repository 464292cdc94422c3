//! [`Files`]: an SVID that someone else writes into a folder.

mod error;
mod layout;
mod seen;
mod snapshot;

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use rustls::crypto::CryptoProvider;
use tokio::time::sleep;

pub use self::error::FilesError;
pub use self::layout::Layout;
use self::seen::Seen;
use self::snapshot::Snapshot;
use super::Source;
use super::clock::Clock;
use super::watch::{Publisher, Watch};

/// How often the files are read: twice within the second or two in which a new SVID should be used. Contents are compared,
/// which finds every change on every file system, and costs less than a handshake.
const PERIOD: Duration = Duration::from_millis(500);

/// An SVID in files: of cert-manager, of spiffe-helper, of a Kubernetes secret or projected volume.
///
/// The three files are given out together or not at all: a key without its certificate, a set that is half written, or one
/// that no peer would believe changes nothing, but is told by [`Watch::trouble`]. A volume of Kubernetes is read through
/// one value of its `..data` link; where there is none, the files must stand still for half a second.
///
/// ```no_run
/// # #[cfg(feature = "aws-lc-rs")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_identity::source::{Files, Layout, Source};
/// use inpod_identity::tls;
///
/// let (files, driver) = Files::new(Layout::cert_manager("/var/run/secrets/tls"), tls::aws_lc_rs());
/// tokio::spawn(driver.run());
///
/// let mut watch = files.watch();
/// loop {
///     watch.changed().await?;
///     match watch.trouble() {
///         Some(trouble) => eprintln!("the last good one stays: {trouble}"),
///         None => println!("{:?}", watch.first().await?),
///     }
/// }
/// # }
/// # #[cfg(not(feature = "aws-lc-rs"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Files(Watch);

/// Reads the files again and again: the caller runs it.
#[derive(Debug)]
#[must_use = "nothing is read unless the driver runs"]
pub struct FilesDriver {
    layout: Layout,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    publisher: Publisher,
    seen: Seen,
    /// The trouble that was reported, in words: the same one is not reported again.
    told: Option<String>,
}

impl Files {
    /// A source of the files of `layout`, checked with `provider`, and the driver that reads them.
    pub fn new(layout: Layout, provider: Arc<CryptoProvider>) -> (Self, FilesDriver) {
        Self::with_clock(layout, provider, Clock::system())
    }

    /// The same by another clock.
    pub fn with_clock(layout: Layout, provider: Arc<CryptoProvider>, clock: Clock) -> (Self, FilesDriver) {
        let publisher = Publisher::new();
        let watch = publisher.watch();
        let seen = Seen::default();
        (Self(watch), FilesDriver { layout, provider, clock, publisher, seen, told: None })
    }
}

impl Source for Files {
    fn watch(&self) -> Watch {
        self.0.clone()
    }
}

impl FilesDriver {
    /// Reads until the source and all its watches are dropped.
    pub async fn run(mut self) {
        loop {
            self.look();
            if let Either::Left(_) = select(pin!(self.publisher.unwatched()), pin!(sleep(PERIOD))).await {
                return;
            }
        }
    }

    fn look(&mut self) {
        let (snapshot, unreadable) = match Snapshot::read(&self.layout) {
            Ok(snapshot) => (Some(snapshot), None),
            // It is read again soon, and in peace.
            Err(FilesError::Replaced { .. }) => return,
            Err(error) => (None, Some(error)),
        };
        let verdict = self.seen.read(snapshot).map(|set| set.material(&self.provider, self.clock.now()));
        match verdict {
            Some(Ok(material)) => {
                self.seen.accept();
                self.told = None;
                self.publisher.publish(material);
            }
            Some(Err(error)) => self.report(error),
            None => unreadable.into_iter().for_each(|error| self.report(error)),
        }
    }

    fn report(&mut self, error: FilesError) {
        let words = in_words(&error);
        if self.told.as_ref() != Some(&words) {
            self.told = Some(words);
            self.publisher.report(error.into());
        }
    }
}

fn in_words(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", in_words(cause)),
        None => error.to_string(),
    }
}
