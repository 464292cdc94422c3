//! The settings of one connection, each with its reason and its cost.

use std::ops::RangeInclusive;
use std::time::Duration;

use thiserror::Error;

use crate::guard::Tariff;
use crate::keepalive::KeepAlivePolicy;
use crate::tunnel::FRAME_PAYLOAD;

/// How both ends of a connection behave. The default interoperates with Istio's ztunnel and needs no change to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_frame_size: u32,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_header_list_size: u32,
    pub(crate) max_send_buffer_size: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) open_timeout: Duration,
    pub(crate) keepalive: Option<KeepAlivePolicy>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) patience: Duration,
    pub(crate) tariff: Tariff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            max_frame_size: 1 << 18,
            max_concurrent_streams: 200,
            max_header_list_size: 16 << 10,
            max_send_buffer_size: 2 * FRAME_PAYLOAD,
            handshake_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(15),
            keepalive: Some(KeepAlivePolicy::default()),
            idle_timeout: None,
            patience: Duration::from_secs(30),
            tariff: Tariff { burst: 1000, per_second: 500 },
        }
    }
}

impl Config {
    /// Bytes that a peer may send on one stream before its reader takes any, at most. Default 4 MiB: one stream then fills
    /// 1 Gbit/s at 32 ms of round trip. Cost: as much memory for a stream whose reader stalls. A connection begins
    /// with 128 KiB, and with 512 KiB for all streams, if these are smaller; both double each time that readers have taken
    /// twice as much. While most of the connection's is held by readers that stall, each stream has less.
    pub fn with_stream_window(mut self, bytes: u32) -> Result<Self, ConfigError> {
        self.stream_window = checked(bytes, Setting::StreamWindow)?;
        Ok(self)
    }

    /// Bytes that a peer may send on all streams together before readers take any, at most. Default 16 MiB. A third of it more is
    /// kept back for when it is full of what readers do not take; each of [`with_max_concurrent_streams`](Self::with_max_concurrent_streams) then gets an
    /// equal share of that, and no stream waits for another's reader. Both together bound the memory of a connection. Keep it several
    /// stream windows, so that this is seldom.
    pub fn with_connection_window(mut self, bytes: u32) -> Result<Self, ConfigError> {
        self.connection_window = checked(bytes, Setting::ConnectionWindow)?;
        Ok(self)
    }

    /// The largest frame that a peer may send us, in bytes. Default 256 KiB, which takes all that we ourselves send in one
    /// ([`FRAME_PAYLOAD`]); larger ones gained nothing measurable. Cost: a frame is held until it is complete.
    pub fn with_max_frame_size(mut self, bytes: u32) -> Result<Self, ConfigError> {
        self.max_frame_size = checked(bytes, Setting::MaxFrameSize)?;
        Ok(self)
    }

    /// Streams that a peer may have open on a server's connection, and the most that a client opens whatever its peer
    /// allows. Default 200, as Istio's ztunnel advertises.
    pub fn with_max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// Bytes of all headers of a request or an answer, as HTTP/2 counts them. Default 16 KiB: a CONNECT carries a
    /// baggage of at most 8 KiB (W3C Baggage) and a few short fields. Larger ones are refused.
    pub fn with_max_header_list_size(mut self, bytes: u32) -> Self {
        self.max_header_list_size = bytes;
        self
    }

    /// Bytes that wait for the connection to write them, of all streams together; when there are as many, nobody gets room for
    /// more. Default twice [`FRAME_PAYLOAD`], just under 512 KiB: enough to keep the connection busy while the next are
    /// read, and a whole number of frames, so that a full buffer does not cut them up. Cost: as much memory, and what one more
    /// write adds, for each connection whose peer stalls.
    pub fn with_max_send_buffer_size(mut self, bytes: u32) -> Result<Self, ConfigError> {
        let bytes = checked(bytes, Setting::MaxSendBufferSize)?;
        self.max_send_buffer_size = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(self)
    }

    /// How long the HTTP/2 preface may take. Default 10 s; without a bound, a peer that says nothing holds a server's
    /// connection for ever.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How long a client waits for the answer to a CONNECT. Default 15 s: a server may dial its application for up to
    /// 10 s before it answers.
    pub fn with_open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// When to ping a quiet peer and give up a silent one; `None` leaves that to the stream beneath. Default
    /// [`KeepAlivePolicy::default`].
    pub fn with_keepalive(mut self, policy: Option<KeepAlivePolicy>) -> Self {
        self.keepalive = policy;
        self
    }

    /// How long a server keeps a connection on which nothing is open, before it says goodbye (GOAWAY, so that no request
    /// under way is lost). Default `None`: clients close what they do not need, as [`Pool`](crate::Pool) and Istio's
    /// ztunnel (after 5 minutes) do. A tunnel that is open and quiet is never cut.
    pub fn with_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long a peer may take over one frame, and how long it may take nothing of what there is to write; looked at so often,
    /// so that it may become twice as long. Default 30 s: the longest frame then needs 70 kbit/s. Without it, a peer that
    /// sends a byte now and then, or sends and never reads, holds a connection for ever, as it is not silent.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many frames a peer may send at once that carry nothing, and how many more in each second. Default 1000, and 500.
    ///
    /// What carries something, or answers what we sent, is not counted: bytes, their end, a tunnel that was answered, also
    /// when it is cut later. A peer whose own clients give up on 250 tunnels a second before they are answered stays
    /// below. More end the connection with [`Flooded`](crate::ConnectionError::Flooded) (rapid reset, CVE-2023-44487; made
    /// you reset, CVE-2025-8671; floods of pings, settings, empty frames and priorities, CVE-2019-9512 to 9518).
    pub fn with_idle_frames(mut self, burst: u32, per_second: u32) -> Self {
        self.tariff = Tariff { burst, per_second };
        self
    }

    /// The longest block of headers, or other frame than DATA. What is over
    /// [`with_max_header_list_size`](Self::with_max_header_list_size) is refused in order; four times as much is not sent by mistake,
    /// and ends the connection before it is held.
    pub(crate) fn longest_block(&self) -> u32 {
        // RFC 9113 section 4.2: any frame may be as long as this.
        self.max_header_list_size.saturating_mul(4).max(16_384)
    }
}

/// A setting is outside what HTTP/2 allows.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{setting:?} is {given}, which is not between {minimum} and {maximum}")]
pub struct ConfigError {
    /// The setting.
    pub setting: Setting,
    /// The value given, in bytes.
    pub given: u32,
    /// The smallest value allowed.
    pub minimum: u32,
    /// The largest value allowed.
    pub maximum: u32,
}

/// The settings of [`Config`] that have bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// [`Config::with_stream_window`].
    StreamWindow,
    /// [`Config::with_connection_window`].
    ConnectionWindow,
    /// [`Config::with_max_frame_size`].
    MaxFrameSize,
    /// [`Config::with_max_send_buffer_size`].
    MaxSendBufferSize,
}

impl Setting {
    fn range(self) -> RangeInclusive<u32> {
        match self {
            // RFC 9113 section 6.9.1; a window of nothing would never move.
            Self::StreamWindow => 1..=MAX_WINDOW,
            // RFC 9113 section 6.9.2: the connection's window starts at 65535 and can only grow.
            Self::ConnectionWindow => 65_535..=MAX_WINDOW,
            // RFC 9113 section 4.2.
            Self::MaxFrameSize => 16_384..=16_777_215,
            Self::MaxSendBufferSize => 1..=MAX_WINDOW,
        }
    }
}

fn checked(given: u32, setting: Setting) -> Result<u32, ConfigError> {
    let range = setting.range();
    if range.contains(&given) {
        return Ok(given);
    }
    Err(ConfigError { setting, given, minimum: *range.start(), maximum: *range.end() })
}

/// The largest flow-control window, RFC 9113 section 6.9.1.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How many streams that we reset are remembered, and for how long, so that what their peer still had under way is
/// taken for late and not for an error, of which h2 forgives [`FAULTS_FORGIVEN`]. A long-lived connection on which many tunnels are
/// cut must not forget too soon. About 300 bytes each.
pub(crate) const REMEMBERED_RESETS: usize = 1024;
/// See [`REMEMBERED_RESETS`]: longer than any round trip that is still of use.
pub(crate) const REMEMBER_RESETS_FOR: Duration = Duration::from_secs(5);

/// Faults of the peer on single streams in the life of a connection, each of which resets a stream; more end the connection
/// (made you reset, CVE-2025-8671). h2's own default is 1024; at two frames for each, this is less than 2,000 frames.
pub(crate) const FAULTS_FORGIVEN: usize = 950;

/// Requests that may be taken back before [`Server::next`](crate::Server::next) has shown them, all at once; more end the connection
/// (rapid reset, CVE-2023-44487). A client that proxies for many applications may lose a set of 200 together. Seldom are as many unseen,
/// as a connection is read in turns (`guard`).
pub(crate) const CANCELLED_UNSEEN: usize = 200;

/// What DATA frames of less than 256 bytes that nobody has read may fall short of that, together, before h2 ends the connection:
/// without a bound. Unread ones are put together before they cost much (`crumbs`), and what comes late for tunnels that were cut counts for
/// ever with h2, although it is thrown away.
pub(crate) const SMALL_DATA_OVERHEAD: usize = usize::MAX;

/// Bytes of the table of headers seen before, RFC 7541 section 4.2, for each direction. The protocol's own default.
pub(crate) const HEADER_TABLE: u32 = 4096;

/// Tunnels that a client opens before the peer has said how many it takes: RFC 9113 section 6.5.2 asks peers to take no less.
pub(crate) const UNTIL_SETTINGS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_http2() {
        let config = Config::default();
        assert!(config.clone().with_max_frame_size(16_384).is_ok());
        let error = config.clone().with_max_frame_size(16_383).unwrap_err();
        assert_eq!((error.setting, error.given, error.minimum), (Setting::MaxFrameSize, 16_383, 16_384));
        assert!(config.clone().with_stream_window(0).is_err());
        assert!(config.clone().with_stream_window(1 << 31).is_err());
        assert!(config.with_connection_window(65_534).is_err());
    }

    #[test]
    fn the_default_is_within_its_own_bounds() {
        let default = Config::default();
        let rebuilt = Config::default()
            .with_stream_window(default.stream_window)
            .and_then(|config| config.with_connection_window(default.connection_window))
            .and_then(|config| config.with_max_frame_size(default.max_frame_size))
            .unwrap();
        assert_eq!(rebuilt, default);
    }
}
