//! [`TrustDomain`]: whose word an identity rests on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ParseError;

/// The longest trust domain, in bytes (SPIFFE-ID §2.3).
pub(crate) const MAX_TRUST_DOMAIN: usize = 255;

/// A SPIFFE trust domain: the authority behind identities, such as `cluster.local`.
///
/// Instances are always valid (SPIFFE-ID §2.1): 1 to 255 bytes of `a-z`, `0-9`, `.`, `-` and `_`. Upper case is refused
/// and never folded, so that two trust domains are the same exactly when their bytes are. An address or a host name is
/// nothing special here. Cloning shares the text.
///
/// ```
/// use inpod_identity::TrustDomain;
///
/// let domain: TrustDomain = "cluster.local".parse()?;
/// assert_eq!(domain.as_str(), "cluster.local");
/// assert!("Cluster.local".parse::<TrustDomain>().is_err());
/// # Ok::<(), inpod_identity::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, without scheme or slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses `text`, which stands at byte `start` of what the caller was given.
    pub(crate) fn parse_at(text: &str, start: usize) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::NoTrustDomain);
        }
        if text.len() > MAX_TRUST_DOMAIN {
            return Err(ParseError::TrustDomainTooLong { limit: MAX_TRUST_DOMAIN, actual: text.len() });
        }
        match text
            .bytes()
            .position(|byte| !is_allowed(byte))
            .and_then(|at| Some((at, *text.as_bytes().get(at)?)))
        {
            Some((at, byte)) => Err(ParseError::TrustDomainByte { byte, at: start.saturating_add(at) }),
            None => Ok(Self(text.into())),
        }
    }
}

const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

impl FromStr for TrustDomain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse_at(text, 0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

impl AsRef<str> for TrustDomain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_allowed_or_refused_where_it_stands() {
        let allowed = b"abcdefghijklmnopqrstuvwxyz0123456789.-_";
        for byte in 0..=u8::MAX {
            let bytes = [b'a', b'b', byte, b'c'];
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            let expected = match allowed.contains(&byte) {
                true => Ok(()),
                false => Err(ParseError::TrustDomainByte { byte, at: 2 }),
            };
            assert_eq!(text.parse::<TrustDomain>().map(|_| ()), expected, "byte {byte:#04x}");
        }
    }

    #[test]
    fn bytes_beyond_ascii_are_refused() {
        for text in ["ä", "cluster.lo\u{441}al", "\u{7f}", "a\u{0}b", "名"] {
            assert!(
                matches!(text.parse::<TrustDomain>(), Err(ParseError::TrustDomainByte { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn length_is_1_to_255() {
        assert_eq!("".parse::<TrustDomain>(), Err(ParseError::NoTrustDomain));
        assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
        let actual = 256;
        assert_eq!(
            "a".repeat(actual).parse::<TrustDomain>(),
            Err(ParseError::TrustDomainTooLong { limit: 255, actual })
        );
    }

    proptest! {
        #[test]
        fn display_is_the_inverse_of_parse(text in "[a-z0-9._-]{1,255}") {
            let domain: TrustDomain = text.parse().unwrap();
            prop_assert_eq!(domain.to_string(), text);
        }

        #[test]
        fn what_parses_is_what_was_written(text in ".{0,300}") {
            if let Ok(domain) = text.parse::<TrustDomain>() {
                prop_assert_eq!(domain.as_str(), text);
            }
        }
    }
}
