//! Room: how much the peer may send, and what is held for readers. What [`Windows`] decides is done here, for either end.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Config;
use crate::guard::{Guard, Wire};
use crate::queue::Queued;
use crate::tunnel::Inlets;
use crate::windows::{Step, Windows};

/// That of one connection.
#[derive(Debug)]
pub(crate) struct Room {
    windows: Windows,
    inlets: Inlets,
}

impl Room {
    pub(crate) fn new(config: &Config, inlets: Inlets) -> Self {
        Self { windows: Windows::new(config), inlets }
    }

    /// What has come in for its tunnels.
    pub(crate) fn inlets(&self) -> &Inlets {
        &self.inlets
    }

    /// Lets the peer send more at once, or less, and holds little for what nobody reads. Returns whether there is something to go on
    /// with.
    pub(crate) fn adapt(&mut self, guard: &Guard, connection: &mut impl Announce) -> bool {
        let Self { windows, inlets } = self;
        if inlets.put_together_crumbs() {
            return true;
        }
        let Some(flow) = guard.flow() else { return false };
        windows.adapt(flow, |step| {
            match step {
                Step::Streams(size) => {
                    connection.set_initial_window_size(size)?;
                    guard.owe();
                }
                Step::TellRoom => inlets.tell_room(),
                Step::Connection(size) => connection.set_target_window_size(size),
            }
            Ok::<_, h2::Error>(())
        })
    }
}

/// What both of h2's connections can tell a peer.
pub(crate) trait Announce {
    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error>;
    fn set_target_window_size(&mut self, size: u32);
}

impl<T: AsyncRead + AsyncWrite + Unpin> Announce for h2::client::Connection<Wire<T>, Queued> {
    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error> {
        Self::set_initial_window_size(self, size)
    }

    fn set_target_window_size(&mut self, size: u32) {
        Self::set_target_window_size(self, size);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Announce for h2::server::Connection<Wire<T>, Queued> {
    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error> {
        Self::set_initial_window_size(self, size)
    }

    fn set_target_window_size(&mut self, size: u32) {
        Self::set_target_window_size(self, size);
    }
}
