//! Where frames begin in a stream of bytes. Pure: bytes come in, heads go out, payloads are passed over.

/// The fixed part of a frame, RFC 9113 section 4.1, and how much room a WINDOW_UPDATE gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Of a WINDOW_UPDATE, else 0.
    pub(super) increment: u32,
}

impl Head {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;

    /// Of DATA and HEADERS.
    const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    const ACK: u8 = 0x1;
    /// Of HEADERS, PUSH_PROMISE and CONTINUATION.
    const END_HEADERS: u8 = 0x4;

    fn parse([a, b, c, kind, flags, s, t, u, v, w, x, y, z]: [u8; MOST]) -> Self {
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]) & NOT_RESERVED,
            increment: u32::from_be_bytes([w, x, y, z]) & NOT_RESERVED,
        }
    }

    /// Whether it says that our settings are in force.
    pub(super) fn acknowledges_settings(self) -> bool {
        self.kind == Self::SETTINGS && self.is_acknowledgement()
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, Self::DATA | Self::HEADERS) && self.flags & Self::END_STREAM != 0
    }

    /// Whether its receiver must answer it, RFC 9113 sections 6.5.3 and 6.7.
    pub(super) fn is_to_be_acknowledged(self) -> bool {
        matches!(self.kind, Self::SETTINGS | Self::PING) && self.flags & Self::ACK == 0
    }

    /// Whether it is such an answer.
    pub(super) fn is_acknowledgement(self) -> bool {
        matches!(self.kind, Self::SETTINGS | Self::PING) && self.flags & Self::ACK != 0
    }

    /// Whether it is a part of a block of headers, RFC 9113 section 4.3.
    pub(super) fn is_of_headers(self) -> bool {
        matches!(self.kind, Self::HEADERS | Self::PUSH_PROMISE | Self::CONTINUATION)
    }

    fn leaves_headers_open(self) -> bool {
        self.is_of_headers() && self.flags & Self::END_HEADERS == 0
    }
}

/// Follows one direction of a connection.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Of a WINDOW_UPDATE with its payload.
    head: [u8; MOST],
    /// Bytes of `head` that are there.
    have: usize,
    /// Bytes to pass over before the next head.
    skip: u64,
    /// Headers have begun and not ended.
    in_headers: bool,
}

impl Scanner {
    /// For the direction that a server begins: frames from the first byte.
    pub(super) fn new() -> Self {
        Self { head: [0; MOST], have: 0, skip: 0, in_headers: false }
    }

    /// For the direction that a client begins, with the preface of RFC 9113 section 3.4.
    pub(super) fn after_preface() -> Self {
        Self { skip: PREFACE, ..Self::new() }
    }

    /// Calls `each` with the frames whose heads are complete with these bytes.
    pub(super) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Head) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(rest) = self.pass_over(bytes) {
            bytes = rest;
            while let Some((byte, rest)) = bytes.split_first() {
                bytes = rest;
                if let Some(place) = self.head.get_mut(self.have) {
                    *place = *byte;
                }
                self.have += 1;
                if let Some(head) = self.complete() {
                    self.in_headers = head.leaves_headers_open();
                    each(head)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether a frame or a block of headers has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.have > 0 || self.skip > 0 || self.in_headers
    }

    /// The head, if it is all there. What follows is passed over.
    fn complete(&mut self) -> Option<Head> {
        if self.have < HEAD {
            return None;
        }
        let head = Head::parse(self.head);
        let payload = if head.kind == Head::WINDOW_UPDATE { head.length.min(INCREMENT) } else { 0 };
        if self.have < HEAD + usize::try_from(payload).unwrap_or(usize::MAX) {
            return None;
        }
        *self = Self { skip: u64::from(head.length - payload), ..Self::new() };
        // What is shorter gives no room; who receives it sees the error.
        Some(if payload == INCREMENT { head } else { Head { increment: 0, ..head } })
    }

    /// What is left of `bytes` when what is to be passed over is; `None` if nothing.
    fn pass_over<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        bytes.get(skipped..).filter(|rest| !rest.is_empty())
    }
}

/// Bytes of a head, RFC 9113 section 4.1.
const HEAD: usize = 9;
/// Bytes of a WINDOW_UPDATE's payload, RFC 9113 section 6.9.
const INCREMENT: u32 = 4;
/// The most bytes that are looked at.
const MOST: usize = HEAD + 4;
/// What is left of 32 bits when the reserved one is taken away, RFC 9113 sections 4.1 and 6.9.
const NOT_RESERVED: u32 = (1 << 31) - 1;
/// Bytes of a client's preface, RFC 9113 section 3.4.
const PREFACE: u64 = 24;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn wire(frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (kind, flags, payload) in frames {
            wire.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
            wire.extend_from_slice(&[*kind, *flags, 0, 0, 0, 1]);
            wire.extend_from_slice(payload);
        }
        wire
    }

    fn head(kind: u8, flags: u8, payload: &[u8]) -> Head {
        let increment = payload.first_chunk().filter(|_| kind == Head::WINDOW_UPDATE);
        let increment = increment.map_or(0, |bytes| u32::from_be_bytes(*bytes) & NOT_RESERVED);
        Head { length: u32::try_from(payload.len()).unwrap(), kind, flags, stream: 1, increment }
    }

    fn heads(scanner: &mut Scanner, bytes: &[u8]) -> Vec<Head> {
        let mut heads = Vec::new();
        scanner
            .feed(bytes, |head| {
                heads.push(head);
                Ok::<_, Infallible>(())
            })
            .unwrap();
        heads
    }

    #[test]
    fn a_preface_is_passed_over() {
        let mut scanner = Scanner::after_preface();
        assert!(scanner.is_within());
        assert_eq!(heads(&mut scanner, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []);
        assert!(!scanner.is_within());
        assert_eq!(heads(&mut scanner, &wire(&[(4, 0, vec![])])), [head(4, 0, &[])]);
    }

    #[test]
    fn headers_are_open_until_they_end() {
        let mut scanner = Scanner::new();
        heads(&mut scanner, &wire(&[(Head::HEADERS, 0, vec![1])]));
        assert!(scanner.is_within());
        heads(&mut scanner, &wire(&[(Head::CONTINUATION, 0, vec![])]));
        assert!(scanner.is_within());
        heads(&mut scanner, &wire(&[(Head::CONTINUATION, Head::END_HEADERS, vec![])]));
        assert!(!scanner.is_within());
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_frames_are_the_same(
            frames in prop::collection::vec((prop_oneof![any::<u8>(), Just(Head::WINDOW_UPDATE)], any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(1..30_usize, 1..100),
        ) {
            let wire = wire(&frames);
            let mut scanner = Scanner::new();
            let (mut seen, mut rest) = (Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle().take(wire.len()) {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                seen.extend(heads(&mut scanner, now));
                rest = later;
            }
            let sent: Vec<_> = frames
                .iter()
                .map(|(kind, flags, payload)| head(*kind, *flags, payload))
                .collect();
            let open = sent.last().is_some_and(|head| head.leaves_headers_open());
            prop_assert_eq!(seen, sent);
            prop_assert_eq!(scanner.is_within(), open);
        }
    }
}
