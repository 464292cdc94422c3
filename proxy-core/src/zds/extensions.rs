//! Extensions: what a proxy of this crate understands beyond version 1 of the protocol.

/// A set of extensions. A proxy says its own in its hello, in a field that other agents skip; an agent uses none that was not said. So
/// each side works with any peer of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions(u64);

impl Extensions {
    /// None: version 1 as it is.
    pub const NONE: Self = Self(0);
    /// An add may bring listening sockets, after the namespace's descriptor; the proxy accepts from them and binds none itself.
    pub const LISTENERS: Self = Self(1);
    /// The proxy says what would become of a connection, and why. Such an answer may have [`MAX_EXPLANATION`](super::MAX_EXPLANATION)
    /// bytes.
    pub const EXPLAIN: Self = Self(2);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of `others` are in this set.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// As they are on the wire. Bits that this crate has no name for are kept.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let (one, other) = (Extensions::LISTENERS, Extensions::from_bits(1 << 40));
        assert!(one.and(other).contains(one) && one.and(other).contains(other));
        assert!(!one.contains(other) && !one.contains(one.and(other)));
        assert!(one.contains(Extensions::NONE) && !Extensions::NONE.contains(one));
    }
}
