//! [`Frames`]: messages in the bytes of a stream, each after a flag and its length (gRPC over HTTP/2,
//! Length-Prefixed-Message). Pure.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use super::error::GrpcError;

/// The flag, and four bytes of length.
const HEAD: usize = 5;

/// Bytes that came, and were not taken yet.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    limit: usize,
}

impl Frames {
    /// For messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, GrpcError> {
        let Some((&[flag, a, b, c, d], _)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        if flag != 0 {
            return Err(GrpcError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(GrpcError::TooLarge { limit: self.limit, actual: length });
        }
        let end = HEAD.saturating_add(length);
        if self.buffer.len() < end {
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(end).freeze().slice(HEAD..)))
    }

    /// Checks that nothing is left of a message that began.
    pub(super) fn finish(&self) -> Result<(), GrpcError> {
        match self.buffer.is_empty() {
            true => Ok(()),
            false => Err(GrpcError::Truncated),
        }
    }
}

/// A message with its head.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(HEAD.saturating_add(length));
    framed.put_u8(0);
    // Requests are a few kilobytes.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put(&message.encode_to_vec()[..]);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            cut in 1..20_usize,
        ) {
            let wire: Vec<u8> = messages.iter().flat_map(|message| frame(message).to_vec()).collect();
            let (mut frames, mut out) = (Frames::new(100), Vec::new());
            for bytes in wire.chunks(cut) {
                frames.push(bytes);
                while let Some(message) = frames.next().unwrap() {
                    out.push(Vec::<u8>::decode(message).unwrap());
                }
            }
            frames.finish().unwrap();
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::new(10);
            frames.push(&bytes);
            while let Ok(Some(message)) = frames.next() {
                prop_assert!(message.len() <= 10);
            }
        }
    }

    #[test]
    fn a_length_is_believed_only_up_to_the_limit() {
        let mut frames = Frames::new(9);
        frames.push(&[0, 0, 0, 0, 10]);
        assert!(matches!(frames.next(), Err(GrpcError::TooLarge { limit: 9, actual: 10 })));
        let mut frames = Frames::new(9);
        frames.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(frames.next(), Err(GrpcError::TooLarge { .. })));
        let mut frames = Frames::new(9);
        frames.push(&[1, 0, 0, 0, 0]);
        assert!(matches!(frames.next(), Err(GrpcError::Compressed)));
        let mut frames = Frames::new(9);
        frames.push(&[0, 0, 0, 0, 2, 7]);
        assert!(matches!(frames.next(), Ok(None)));
        assert!(matches!(frames.finish(), Err(GrpcError::Truncated)));
    }
}
