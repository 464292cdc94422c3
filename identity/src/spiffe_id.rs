//! [`SpiffeId`]: the name of a workload.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ParseError;
use crate::trust_domain::TrustDomain;

const SCHEME: &str = "spiffe://";

/// The longest id, in bytes. SPIFFE-ID §2.3 asks to support this many and not to generate more; we accept no more either.
const MAX_ID: usize = 2048;

/// A SPIFFE id: `spiffe://` trust domain, then a path of zero or more segments.
///
/// Instances are always valid (SPIFFE-ID §2): at most 2048 ASCII bytes, no port, user, query, fragment or percent
/// encoding, no empty, `.` or `..` segment, no slash at the end. Nothing is normalised: two ids are the same exactly
/// when their bytes are. Cloning shares the text.
///
/// ```
/// use inpod_identity::SpiffeId;
///
/// let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
/// assert_eq!(id.trust_domain().as_str(), "cluster.local");
/// assert_eq!(id.path(), "/ns/shop/sa/cart");
/// # Ok::<(), inpod_identity::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// The id of `path` in `trust_domain`. The path is empty or begins with a slash.
    pub fn new(trust_domain: &TrustDomain, path: &str) -> Result<Self, ParseError> {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(ParseError::PathWithoutSlash);
        }
        format!("{SCHEME}{trust_domain}{path}").parse()
    }

    /// The id that `path`, already known to be well-formed and short, has in `trust_domain`.
    pub(crate) fn of_valid_path(trust_domain: &TrustDomain, path: fmt::Arguments<'_>) -> Self {
        let text = format!("{SCHEME}{trust_domain}{path}");
        debug_assert_eq!(text.parse::<Self>().map(|id| id.text.len()), Ok(text.len()));
        Self { text: text.into(), trust_domain: trust_domain.clone() }
    }

    /// Whose word this id rests on.
    pub fn trust_domain(&self) -> TrustDomain {
        self.trust_domain.clone()
    }

    /// The path with its leading slash, or the empty string when the id names the trust domain itself.
    pub fn path(&self) -> &str {
        let before = SCHEME.len().saturating_add(self.trust_domain.as_str().len());
        self.text.get(before..).unwrap_or_default()
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_ID {
            return Err(ParseError::IdTooLong { limit: MAX_ID, actual: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(ParseError::NotSpiffe)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The path first: it allocates nothing, so that a refused id costs no memory.
        check_path(path, text.len().saturating_sub(path.len()))?;
        Ok(Self { trust_domain: TrustDomain::parse_at(domain, SCHEME.len())?, text: text.into() })
    }
}

/// Checks every segment of `path`, which is empty or begins with a slash at byte `start` of the id.
fn check_path(path: &str, start: usize) -> Result<(), ParseError> {
    let mut at = start;
    for segment in path.split('/').skip(1) {
        at = at.saturating_add(1);
        match segment {
            "" => return Err(ParseError::EmptySegment { at }),
            "." | ".." => return Err(ParseError::RelativeSegment { at }),
            _ => {}
        }
        if let Some((before, byte)) = segment.bytes().enumerate().find(|(_, byte)| !is_allowed(*byte)) {
            return Err(ParseError::PathByte { byte, at: at.saturating_add(before) });
        }
        at = at.saturating_add(segment.len());
    }
    Ok(())
}

/// SPIFFE-ID §2.2.
const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.text)
    }
}

impl AsRef<str> for SpiffeId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts() {
        for (text, domain, path) in [
            ("spiffe://cluster.local/ns/default/sa/default", "cluster.local", "/ns/default/sa/default"),
            ("spiffe://td", "td", ""),
            ("spiffe://td/A.b-c_9", "td", "/A.b-c_9"),
            ("spiffe://10.0.0.1/x", "10.0.0.1", "/x"),
            ("spiffe://td/...", "td", "/..."),
            ("spiffe://td/..a/.b/c.", "td", "/..a/.b/c."),
            ("spiffe://_/-", "_", "/-"),
            ("spiffe://../x", "..", "/x"),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!((id.trust_domain().as_str(), id.path(), id.as_str()), (domain, path, text));
        }
    }

    #[test]
    fn refuses_and_says_why_and_where() {
        use ParseError::{
            EmptySegment, NoTrustDomain, NotSpiffe, PathByte, RelativeSegment, TrustDomainByte,
        };
        for (text, error) in [
            ("", NotSpiffe),
            ("spiffe:/td/x", NotSpiffe),
            ("Spiffe://td/x", NotSpiffe),
            ("SPIFFE://td/x", NotSpiffe),
            (" spiffe://td/x", NotSpiffe),
            ("https://td/x", NotSpiffe),
            ("spiffe://", NoTrustDomain),
            ("spiffe:///x", NoTrustDomain),
            ("spiffe://TD/x", TrustDomainByte { byte: b'T', at: 9 }),
            ("spiffe://td:80/x", TrustDomainByte { byte: b':', at: 11 }),
            ("spiffe://user@td/x", TrustDomainByte { byte: b'@', at: 13 }),
            ("spiffe://[::1]/x", TrustDomainByte { byte: b'[', at: 9 }),
            ("spiffe://td?q", TrustDomainByte { byte: b'?', at: 11 }),
            ("spiffe://td/x?q", PathByte { byte: b'?', at: 13 }),
            ("spiffe://td/x#f", PathByte { byte: b'#', at: 13 }),
            ("spiffe://td/%41", PathByte { byte: b'%', at: 12 }),
            ("spiffe://td/a b", PathByte { byte: b' ', at: 13 }),
            ("spiffe://td/a\0", PathByte { byte: 0, at: 13 }),
            ("spiffe://td/a\n", PathByte { byte: b'\n', at: 13 }),
            ("spiffe://td/", EmptySegment { at: 12 }),
            ("spiffe://td/x/", EmptySegment { at: 14 }),
            ("spiffe://td//x", EmptySegment { at: 12 }),
            ("spiffe://td/.", RelativeSegment { at: 12 }),
            ("spiffe://td/x/../y", RelativeSegment { at: 14 }),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn every_byte_of_a_path_is_allowed_or_refused_where_it_stands() {
        for byte in 0..=u8::MAX {
            let mut bytes = b"spiffe://td/a".to_vec();
            bytes.extend([byte, b'b']);
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            let expected = match byte.is_ascii_alphanumeric() || b"./-_".contains(&byte) {
                true => Ok(()),
                false => Err(ParseError::PathByte { byte, at: 13 }),
            };
            assert_eq!(text.parse::<SpiffeId>().map(|_| ()), expected, "byte {byte:#04x}");
        }
    }

    #[test]
    fn bytes_beyond_ascii_are_refused() {
        for text in ["spiffe://td/ä", "spiffe://td/\u{2025}", "spiffe://t\u{131}/x", "\u{feff}spiffe://td/x"]
        {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn length_is_at_most_2048() {
        let domain = "d".repeat(255);
        let id = |path: usize| format!("spiffe://{domain}/{}", "p".repeat(path));
        let fits = 2048 - SCHEME.len() - 255 - 1;
        assert_eq!(id(fits).parse::<SpiffeId>().unwrap().to_string().len(), 2048);
        assert_eq!(
            id(fits + 1).parse::<SpiffeId>(),
            Err(ParseError::IdTooLong { limit: 2048, actual: 2049 })
        );
    }

    #[test]
    fn a_path_is_joined_only_with_its_slash() {
        let domain: TrustDomain = "td".parse().unwrap();
        assert_eq!(SpiffeId::new(&domain, "/x").unwrap().as_str(), "spiffe://td/x");
        assert_eq!(SpiffeId::new(&domain, "").unwrap().as_str(), "spiffe://td");
        assert_eq!(SpiffeId::new(&domain, "x"), Err(ParseError::PathWithoutSlash));
        assert_eq!(SpiffeId::new(&domain, "/"), Err(ParseError::EmptySegment { at: 12 }));
    }

    proptest! {
        #[test]
        fn display_is_the_inverse_of_parse(
            domain in "[a-z0-9._-]{1,255}",
            path in "(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,20}){0,20}",
        ) {
            let text = format!("spiffe://{domain}{path}");
            let id: SpiffeId = text.parse().unwrap();
            prop_assert_eq!(id.to_string(), text);
            prop_assert_eq!(id.path(), &path);
            prop_assert_eq!(&SpiffeId::new(&id.trust_domain(), &path).unwrap(), &id);
        }

        #[test]
        fn what_parses_is_what_was_written(text in "(spiffe://)?[a-zA-Z0-9./_%:@\\x00-\\x20é-]{0,60}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
            }
        }
    }
}
