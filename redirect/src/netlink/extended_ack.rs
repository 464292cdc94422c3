//! Extended ack: what the kernel says in words when it refuses a message.
//!
//! A `NLMSG_ERROR` message holds the error, the header of the message refused, perhaps its payload, and then
//! attributes (`linux/netlink.h`, `enum nlmsgerr_attrs`; the kernel's documentation, "Extended ACK").

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NlasIterator};

/// The length of the refused message's header, in bytes (`struct nlmsghdr`).
const HEADER_LEN: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the words, with a NUL.
const MSG: u16 = 1;

/// The words, if there are any. `flags` are those of the `NLMSG_ERROR` message, `after_error` is its payload after
/// the error number.
pub(super) fn words(flags: u16, after_error: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let echoed = if flags & NLM_F_CAPPED == 0 { message_len(after_error)? } else { HEADER_LEN };
    let attributes = after_error.get(echoed..)?;
    NlasIterator::new(attributes).map_while(Result::ok).find(|attribute| attribute.kind() == MSG).map(
        |words| {
            let words = words.value();
            String::from_utf8_lossy(words.strip_suffix(&[0]).unwrap_or(words)).into_owned()
        },
    )
}

/// The refused message's length, rounded up to `NLMSG_ALIGNTO`.
fn message_len(message: &[u8]) -> Option<usize> {
    let length = message.first_chunk().copied().map(u32::from_ne_bytes)?;
    usize::try_from(length).ok()?.checked_next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after_error(message: &[u8], words: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER_LEN + message.len()).unwrap().to_ne_bytes().to_vec();
        bytes.resize(HEADER_LEN, 0);
        bytes.extend_from_slice(message);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        // An attribute that is not the words comes first: NLMSGERR_ATTR_OFFS.
        for (kind, value) in [(2_u16, &7_u32.to_ne_bytes()[..]), (MSG, words)] {
            bytes.extend_from_slice(&u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_words_stand_after_the_message_or_after_its_header() {
        let flags = NLM_F_ACK_TLVS;
        let no = Some("no such device".into());
        assert_eq!(words(flags, &after_error(b"12345", b"no such device\0")), no);
        assert_eq!(words(flags | NLM_F_CAPPED, &after_error(b"", b"no such device\0")), no);
        assert_eq!(words(0, &after_error(b"", b"no such device\0")), None);
    }

    proptest! {
        #[test]
        fn no_payload_is_too_strange(flags: u16, bytes: Vec<u8>) {
            let _ = words(flags, &bytes);
        }
    }
}
