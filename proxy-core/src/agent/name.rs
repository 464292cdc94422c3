//! Name: what Kubernetes takes for one, and proxies put into identities.

/// Longest name of any kind: RFC 1123 §2.1's host names, which Kubernetes' names are.
pub(super) const MAX_NAME: usize = 253;

/// Whether it is one: letters, digits, `-` and `.` of ASCII, and neither of the last two at its ends.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let edges = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME
        && bytes.iter().copied().all(allowed)
        && edges(bytes.first().copied())
        && edges(bytes.last().copied())
}

/// The beginning of a text that is not as it should be, for people: others make it as long as they like.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}
