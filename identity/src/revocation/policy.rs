//! What follows from what revocation lists do not say.

/// What is made of certificates about which the lists in force say nothing.
///
/// What a list revokes is refused whatever stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RevocationPolicy {
    /// For certificates whose issuer has no list in force.
    pub unknown: UnknownStatus,
    /// For lists whose next update is overdue.
    pub expired: ExpiredCrl,
}

/// What is made of a certificate whose issuer has no list in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownStatus {
    /// It is good. Short-lived certificates need no lists, and most meshes have none for most issuers.
    #[default]
    Accept,
    /// It is refused: every issuer of a path must have a list, for leafs and for intermediates alike.
    Refuse,
}

/// What is made of a list whose next update (RFC 5280 §5.1.2.5) is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiredCrl {
    /// What it revokes stays revoked. Of other certificates it says nothing any more, so that [`UnknownStatus`] decides.
    ///
    /// It is what Istio's proxies do with the default of that: a CA that is late does not stop the mesh.
    #[default]
    StillRevokes,
    /// Everything of that issuer is refused until there is a new list. Whoever can keep a new list from arriving can
    /// stop the mesh; who takes this takes it because the other way round is worse: what was revoked since then.
    Refuse,
}
