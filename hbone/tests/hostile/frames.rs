//! Frames by hand, RFC 9113 section 4.1 and 6; nothing checks them.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Nobody's.
pub(crate) const UNKNOWN: u8 = 0xbe;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// CONNECT to 10.0.0.5:8080: literals without indexing, names of the static table (RFC 7541 section 6.2.2).
pub(crate) const CONNECT: &[u8] = b"\x02\x07CONNECT\x01\x0d10.0.0.5:8080";
/// Status 200, indexed (RFC 7541 section 6.1).
pub(crate) const OK: &[u8] = b"\x88";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len(), kind, flags, stream);
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn head(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut head = (length as u32).to_be_bytes()[1..].to_vec();
    head.extend_from_slice(&[kind, flags]);
    head.extend_from_slice(&stream.to_be_bytes());
    head
}

/// A request for a tunnel.
pub(crate) fn connect(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, CONNECT)
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend_from_slice(&value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// The stream of a client's `turn`th request, from 0.
pub(crate) fn stream(turn: u32) -> u32 {
    turn * 2 + 1
}

/// The frames that `bytes` begin.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Seen> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, i, j, k, l, ..] = *bytes {
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = bytes.get(9..end).unwrap_or_default().to_vec();
        frames.push(Seen { kind, flags, stream: u32::from_be_bytes([i, j, k, l]), payload });
        bytes = bytes.get(end..).unwrap_or_default();
    }
    frames
}

/// A frame that the victim sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The reason of the last GOAWAY among `frames`.
pub(crate) fn farewell(frames: &[Seen]) -> Option<u32> {
    let goaway = frames.iter().rev().find(|seen| seen.kind == GOAWAY)?;
    Some(u32::from_be_bytes(goaway.payload[4..8].try_into().unwrap()))
}

/// RFC 9113 section 7.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
