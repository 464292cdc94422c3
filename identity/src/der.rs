//! The little DER (X.690 §10) that is read and written by hand.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[1] IMPLICIT`, of something without parts.
pub(crate) const IMPLICIT_1: u8 = 0x81;
/// `[0] EXPLICIT`.
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub(crate) const EXPLICIT_0: u8 = 0xa0;
/// `[1] EXPLICIT`.
pub(crate) const EXPLICIT_1: u8 = 0xa1;

/// The contents of the element with `tag` that `der` begins with, and what follows it.
pub(crate) fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, der) = der.split_first()?;
    let (&length, der) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (length, der) = match length {
        0..=0x7f => (usize::from(length), der),
        // Two bytes hold the length of any key or certificate that there is, and three that of any revocation list.
        0x81..=0x83 => {
            let (length, der) = der.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), der)
        }
        _ => return None,
    };
    der.split_at_checked(length)
}

/// The contents of the first element with `tag` among those in a row.
pub(crate) fn find(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    while let Some((&first, _)) = der.split_first() {
        let (contents, rest) = take(der, first)?;
        if first == tag {
            return Some(contents);
        }
        der = rest;
    }
    None
}

/// The contents of a bit string of whole bytes, as those of keys and signatures are.
pub(crate) fn whole_bytes(bits: &[u8]) -> Option<&[u8]> {
    match bits.split_first() {
        Some((0, bytes)) => Some(bytes),
        _ => None,
    }
}

/// `contents` as an element with `tag`.
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub(crate) fn wrap(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let significant = length.get(zeros..).unwrap_or_default();
    let mut der = vec![tag];
    match contents.len() {
        0 => der.push(0),
        1..=0x7f => der.extend(significant),
        _ => {
            der.extend(u8::try_from(significant.len()).map(|count| 0x80 | count));
            der.extend(significant);
        }
    }
    der.extend(contents);
    der
}

#[cfg(all(test, feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_taken() {
        for (length, head) in
            [(0, &[4, 0][..]), (127, &[4, 127]), (128, &[4, 0x81, 128]), (256, &[4, 0x82, 1, 0])]
        {
            let contents = vec![7; length];
            let der = wrap(OCTET_STRING, &contents);
            assert_eq!(der, [head, &contents].concat());
            let followed = [&der[..], &[9]].concat();
            assert_eq!(take(&followed, OCTET_STRING), Some((&contents[..], &[9][..])));
            assert_eq!(take(&der, SEQUENCE), None);
            assert_eq!(take(&der[..der.len() - 1], OCTET_STRING), None);
        }
    }

    #[test]
    fn the_right_element_is_found() {
        let row = [wrap(INTEGER, &[1]), wrap(IMPLICIT_1, &[2, 3]), wrap(IMPLICIT_1, &[4])].concat();
        assert_eq!(find(&row, IMPLICIT_1), Some(&[2, 3][..]));
        assert_eq!(find(&row, SEQUENCE), None);
        assert_eq!(find(&[], SEQUENCE), None);
    }
}
