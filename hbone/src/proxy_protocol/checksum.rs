//! CRC32c of a header (section 2.2.3), computed with its own four bytes as zeros.

use bytes::BytesMut;

use super::ParseError;

/// Writes the checksum into `header`, whose four bytes at `at` are zeros.
pub(super) fn fill(header: &mut BytesMut, at: usize) {
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    if let Some(place) = header.get_mut(at..at + sum.len()) {
        place.copy_from_slice(&sum);
    }
}

/// Whether `value`, which is at `at` in `header`, is its checksum.
pub(super) fn verify(header: &[u8], at: usize, value: &[u8]) -> Result<(), ParseError> {
    let stated = value.try_into().map(u32::from_be_bytes).map_err(|_| ParseError::Checksum)?;
    let own = at..at + value.len();
    let zeroed = header.iter().enumerate().map(|(index, byte)| if own.contains(&index) { 0 } else { *byte });
    if crc32c(zeroed) == stated { Ok(()) } else { Err(ParseError::Checksum) }
}

/// RFC 3720 appendix B.4. Bit by bit: headers are short and rarely have one.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let remainder = bytes.fold(u32::MAX, |remainder, byte| {
        (0..8).fold(remainder ^ u32::from(byte), |remainder, _| {
            let carry = if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
            (remainder >> 1) ^ carry
        })
    });
    !remainder
}

/// Of Castagnoli, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4, and the check value that catalogues of CRCs give.
    #[test]
    fn crc32c_has_its_published_values() {
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
        assert_eq!(crc32c([0xff; 32].into_iter()), 0x62a8_ab43);
        assert_eq!(crc32c(0..32), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    }
}
