//! How large the windows are that a peer has. Pure.
//!
//! They grow with who reads: a connection begins with small windows, so that one whose data nobody reads holds little, and they double
//! each time that the peer has sent two of them. It could not, had readers here not taken one.
//!
//! They narrow with who does not: HTTP/2 takes what a stalled reader leaves from the room of all. When much of it is held, each
//! stream may hold less; when most is, each gets an equal share of what was kept back, and only then is that given out:
//!
//! ```text
//!   <------------------ whole ------------------>      held: sent by the peer, not taken by a reader
//!   <------------ open -----------><--- kept --->      open: what the peer has, until it is rationed
//!
//!   Wide        a stream may hold its window                  until about half of `open` is held
//!   Narrow      ... an eighth of it                           until five eighths are
//!   Rationed    ... kept / streams, and the peer has `whole`  until less than a third of `open` is
//!   Recovering  ... kept / streams                            until what was kept is back; then Narrow
//! ```
//!
//! `kept` has room for as many streams as there may be, so none of them ever finds the connection full of what others do not
//! read, however many those are; and never more than `whole` is held.

use crate::config::Config;

/// The windows of a stream and of the connection, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
}

impl Sizes {
    /// What a connection begins with.
    pub(crate) fn first(config: &Config) -> Self {
        let most = Self::most(config);
        Self { stream: most.stream.min(FIRST.stream), connection: most.connection.min(FIRST.connection) }
    }

    fn most(config: &Config) -> Self {
        Self { stream: config.stream_window, connection: config.connection_window.min(MOST_OPEN) }
    }

    fn doubled(self, most: Self) -> Self {
        Self {
            stream: self.stream.saturating_mul(2).min(most.stream),
            connection: self.connection.saturating_mul(2).min(most.connection),
        }
    }
}

/// What has passed on the wire. All of it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Bytes of DATA that have come, padding included.
    pub(crate) received: u64,
    /// Bytes that the peer was allowed on the connection.
    pub(crate) granted: u64,
    /// How often it has said that our settings are in force.
    pub(crate) acknowledged: u32,
}

/// What the connection is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the peer what each stream may hold, in settings.
    Streams(u32),
    /// Tell the peer of all room that was given back: what was too little to tell before may be all that a smaller window has.
    TellRoom,
    /// See to it that the peer has as much for all streams together as they do not hold of this.
    Connection(u32),
}

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    /// What readers have earned.
    earned: Sizes,
    most: Sizes,
    /// As many streams as there may be.
    streams: u32,
    level: Level,
    /// What the peer was told, though it may not have heard it yet.
    announced: Sizes,
    /// What each stream may hold was made smaller, and the room was not told since.
    untold: bool,
    /// Settings that the peer was sent.
    settings: u32,
    /// Bytes received when readers earned more last.
    earned_at: u64,
    /// Bytes received when the level changed last.
    changed_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Wide,
    Narrow,
    Rationed,
    /// What was kept back is taken back. `granted` then.
    Recovering {
        granted: u64,
    },
}

impl Windows {
    pub(crate) fn new(config: &Config) -> Self {
        let first = Sizes::first(config);
        Self {
            earned: first,
            most: Sizes::most(config),
            streams: config.max_concurrent_streams.max(1),
            level: Level::Wide,
            announced: first,
            untold: false,
            // Those of the handshake.
            settings: 1,
            earned_at: 0,
            changed_at: 0,
        }
    }

    /// Does what is due, by `announce`, which may not be able to yet; then it is due again later. Returns whether there is something to
    /// write now.
    pub(crate) fn adapt<E>(&mut self, flow: Flow, announce: impl FnOnce(Step) -> Result<(), E>) -> bool {
        // Until the peer has heard of the settings before, it is not certain what the streams may hold.
        if flow.acknowledged != self.settings {
            return false;
        }
        self.earn(flow);
        self.judge(flow);
        let Some(step) = self.due() else { return false };
        if announce(step).is_err() {
            return false;
        }
        match step {
            Step::Streams(stream) => {
                self.untold = stream < self.announced.stream;
                self.announced.stream = stream;
                self.settings = self.settings.wrapping_add(1);
            }
            Step::TellRoom => self.untold = false,
            Step::Connection(connection) => self.announced.connection = connection,
        }
        true
    }

    fn due(&self) -> Option<Step> {
        if self.untold {
            return Some(Step::TellRoom);
        }
        let Sizes { stream, connection } = self.sizes();
        if stream != self.announced.stream {
            return Some(Step::Streams(stream));
        }
        (connection != self.announced.connection).then_some(Step::Connection(connection))
    }

    fn earn(&mut self, flow: Flow) {
        let settled = !matches!(self.level, Level::Recovering { .. });
        if settled && flow.received.saturating_sub(self.earned_at) >= 2 * u64::from(self.announced.connection)
        {
            self.earned = self.earned.doubled(self.most);
            self.earned_at = flow.received;
        }
    }

    /// Changes the level with what is held. The peer's room says how much that is: what it lacks is held, or was taken and is not
    /// announced yet, which h2 does when it is half of the room.
    fn judge(&mut self, flow: Flow) {
        let now = u64::from(self.announced.connection);
        let open = now.min(self.earned.connection.into());
        let room = flow.granted.saturating_sub(flow.received);
        let rested = flow.received.saturating_sub(self.changed_at) >= open / 4;
        let level = match self.level {
            Level::Wide | Level::Narrow if room <= open / 4 => Level::Rationed,
            // One stream whose reader is always behind leaves half.
            Level::Wide if room <= open * 3 / 8 => Level::Narrow,
            Level::Narrow if rested && room >= open - open / 4 => Level::Wide,
            Level::Rationed if rested && room >= now - open / 3 => {
                Level::Recovering { granted: flow.granted }
            }
            // The peer is allowed more only when it has less than it is to have.
            Level::Recovering { granted } if flow.granted > granted => Level::Narrow,
            level => level,
        };
        if level != self.level {
            (self.level, self.changed_at) = (level, flow.received);
        }
    }

    fn sizes(&self) -> Sizes {
        let Sizes { stream, connection: open } = self.earned;
        let kept = open / 3;
        let ration = (kept / self.streams).max(LEAST).min(stream);
        match self.level {
            Level::Wide => self.earned,
            Level::Narrow => Sizes { stream: (stream / 8).max(ration), connection: open },
            Level::Rationed => Sizes { stream: ration, connection: open + kept },
            Level::Recovering { .. } => Sizes { stream: ration, connection: open },
        }
    }
}

/// A quarter of the connection's for each stream, as in [`Config`]'s defaults: 1 Gbit/s at 1 ms of round trip until more is earned.
const FIRST: Sizes = Sizes { stream: 128 << 10, connection: 512 << 10 };

/// Less is no window to work with. Only with ten thousand streams there is less for each.
const LEAST: u32 = 16;

/// With what is kept, the largest window of RFC 9113 section 6.9.1.
const MOST_OPEN: u32 = ((1 << 31) - 1) / 4 * 3;

#[cfg(test)]
mod tests;
