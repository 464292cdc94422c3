//! Base64 (RFC 4648), one way.

/// §4: padded.
pub(crate) fn encode(bytes: &[u8]) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    digits(bytes, DIGITS)
}

/// §5: for JSON Web Keys, whose values have no padding (RFC 7515 §2).
#[cfg(feature = "bundle-document")]
pub(crate) fn encode_url(bytes: &[u8]) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    digits(bytes, DIGITS).take_while(|digit| *digit != '=')
}

fn digits(bytes: &[u8], digits: &'static [u8; 64]) -> impl Iterator<Item = char> {
    bytes.chunks(3).flat_map(move |chunk| {
        let bits =
            (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        // Each digit is six bits; the digits beyond the chunk's bytes are padding.
        [18, 12, 6, 0].into_iter().enumerate().map(move |(at, shift)| match at > chunk.len() {
            true => '=',
            false => digits.get(bits >> shift & 63).map_or('=', |digit| char::from(*digit)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(bytes.as_bytes()).collect::<String>(), text);
        }
        assert_eq!(encode(&[0xfb, 0xff, 0xfe]).collect::<String>(), "+//+");
    }

    #[test]
    #[cfg(feature = "bundle-document")]
    fn two_digits_and_the_padding_differ_in_json() {
        assert_eq!(encode_url(&[0xfb, 0xff, 0xfe]).collect::<String>(), "-__-");
        assert_eq!(encode_url(b"f").collect::<String>(), "Zg");
    }
}
