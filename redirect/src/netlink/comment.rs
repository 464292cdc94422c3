//! Comment: the text that a rule carries in its user data, where `nft list ruleset` finds it.
//!
//! User data is a list of type (one byte), length (one byte), value; a comment has type 0 and ends with NUL. The
//! kernel does not read it; the form is libnftnl's (`libnftnl/udata.h`, `NFTNL_UDATA_RULE_COMMENT`).

/// `NFTNL_UDATA_RULE_COMMENT`.
const COMMENT: u8 = 0;

/// The user data of a comment. One that is too long for nft is cut at a character.
pub(super) fn encode(comment: &str) -> Vec<u8> {
    let comment = prefix(comment, crate::rule::MAX_WHY);
    // At most MAX_WHY and the NUL, which one byte can say.
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![COMMENT, length];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in the user data, if there is one.
pub(super) fn decode(mut user_data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = user_data {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        user_data = after;
    }
    None
}

fn prefix(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_has_the_form_of_libnftnl() {
        assert_eq!(encode("why"), b"\x00\x04why\x00");
    }

    #[test]
    fn other_user_data_is_passed_over_and_a_cut_one_is_none() {
        assert_eq!(decode(b"\x01\x02xx\x00\x04why\x00").as_deref(), Some("why"));
        assert_eq!(decode(b"\x00\x09why\x00"), None);
        assert_eq!(decode(b"\x00"), None);
        assert_eq!(decode(b""), None);
    }

    proptest! {
        #[test]
        fn what_nft_takes_round_trips(why in "[ -~]{0,128}") {
            prop_assert_eq!(decode(&encode(&why)), Some(why));
        }

        #[test]
        fn a_longer_one_is_cut_at_a_character(why in ".{120,300}") {
            let kept = decode(&encode(&why)).unwrap();
            prop_assert!(why.starts_with(&kept) && kept.len() <= 128);
        }

        #[test]
        fn no_user_data_is_too_strange(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
