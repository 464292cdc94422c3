//! What can be wrong, one type per operation, but for the CA's (`ca/error.rs`). Messages do not repeat their cause:
//! print the chain of sources.

use thiserror::Error;

use crate::expected::Expected;
use crate::revocation::RevocationError;
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// Why a text is not a [`TrustDomain`] or not a [`SpiffeId`]. Positions are byte offsets into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Longer than SPIFFE asks anyone to support.
    #[error("id has {actual} bytes, more than {limit}")]
    IdTooLong {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// It does not begin with `spiffe://`, in lower case.
    #[error("id does not begin with spiffe://")]
    NotSpiffe,
    /// There is nothing where the trust domain should be.
    #[error("trust domain is empty")]
    NoTrustDomain,
    /// The trust domain is longer than SPIFFE allows.
    #[error("trust domain has {actual} bytes, more than {limit}")]
    TrustDomainTooLong {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// A byte that no trust domain may have: a capital, a port's colon, a user's at-sign, ...
    #[error("trust domain has '{}' at byte {at}; only a-z, 0-9, '.', '-' and '_' are allowed", byte.escape_ascii())]
    TrustDomainByte {
        /// The byte.
        byte: u8,
        /// Where it stands.
        at: usize,
    },
    /// The path that an id should be made of does not begin with a slash.
    #[error("path does not begin with a slash")]
    PathWithoutSlash,
    /// Two slashes in a row, or a slash at the end.
    #[error("path has an empty segment at byte {at}")]
    EmptySegment {
        /// Where the segment should stand.
        at: usize,
    },
    /// A segment `.` or `..`.
    #[error("path has a relative segment at byte {at}")]
    RelativeSegment {
        /// Where the segment begins.
        at: usize,
    },
    /// A byte that no path may have: a percent sign, a question mark, a control character, ...
    #[error("path has '{}' at byte {at}; only letters, digits, '.', '-' and '_' are allowed", byte.escape_ascii())]
    PathByte {
        /// The byte.
        byte: u8,
        /// Where it stands.
        at: usize,
    },
}

/// Why something is not a [`ServiceAccount`](crate::ServiceAccount).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServiceAccountError {
    /// The id's path has another shape.
    #[error("path is not /ns/NAMESPACE/sa/NAME")]
    Path,
    /// Kubernetes allows no such namespace.
    #[error("namespace is not an RFC 1123 label of at most 63 bytes")]
    Namespace,
    /// Kubernetes allows no such service account.
    #[error("service account is not an RFC 1123 subdomain of at most 253 bytes")]
    Name,
}

/// Why a PEM text does not give what was asked of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PemError {
    /// There is no `CERTIFICATE` section.
    #[error("no certificate in PEM")]
    NoCertificate,
    /// There is no unencrypted `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY` section.
    #[error("no private key in PEM")]
    NoPrivateKey,
    /// A section is cut short or is not base64.
    #[error("malformed PEM")]
    Malformed(#[source] rustls_pki_types::pem::Error),
}

/// The bytes are not an X.509 certificate, or one of its extensions cannot be read.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(transparent)]
pub struct MalformedCertificate(#[from] pub(crate) x509_parser::error::X509Error);

/// Why a certificate is not a workload's (X509-SVID §4 and §5.2).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LeafError {
    /// It cannot be read.
    #[error("certificate is malformed")]
    Malformed(#[from] MalformedCertificate),
    /// Its basic constraints say that it is a CA.
    #[error("certificate is a CA")]
    Authority,
    /// Its key usage has keyCertSign or cRLSign.
    #[error("key usage lets it sign certificates or revocation lists")]
    MaySign,
    /// It has a key usage, without digitalSignature.
    #[error("key usage lacks digitalSignature")]
    NoDigitalSignature,
    /// It has no key usage, and the rules ask for one.
    #[error("certificate has no key usage")]
    NoKeyUsage,
    /// Its key usage is not critical, and the rules ask for that.
    #[error("key usage is not critical")]
    KeyUsageNotCritical,
    /// It has an extended key usage, without both serverAuth and clientAuth.
    #[error("extended key usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage,
    /// Its subject is empty and its names are not critical, and the rules ask for that.
    #[error("alternative names are not critical although the subject is empty")]
    NamesNotCritical,
    /// It has more names than are looked at.
    #[error("certificate has {actual} alternative names, more than {limit}")]
    TooManyNames {
        /// The most that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// It names no URI.
    #[error("certificate has no URI name")]
    NoUri,
    /// It names more than one URI, whatever they are.
    #[error("certificate has {count} URI names, not one")]
    SeveralUris {
        /// How many there are.
        count: usize,
    },
    /// Its URI is not a SPIFFE id.
    #[error("URI name is not a SPIFFE id")]
    NotSpiffe(#[source] ParseError),
    /// Its id names a trust domain and no workload in it.
    #[error("id names the trust domain {trust_domain} and no workload")]
    NoPath {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
}

/// Why a certificate cannot vouch for others.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// It cannot be read.
    #[error("certificate is malformed")]
    Malformed(#[from] MalformedCertificate),
    /// Its basic constraints do not say that it is a CA.
    #[error("certificate is not a CA")]
    NotAuthority,
    /// Its key usage lacks keyCertSign.
    #[error("key usage does not let it sign certificates")]
    MayNotSign,
    /// It has no key usage, and the rules ask for one.
    #[error("certificate has no key usage")]
    NoKeyUsage,
    /// Its key usage is not critical, and the rules ask for that.
    #[error("key usage is not critical")]
    KeyUsageNotCritical,
    /// It has a SPIFFE id with a path, as only workloads may, and the rules ask for that.
    #[error("id of a signing certificate has a path")]
    IdWithPath,
}

/// Why a chain is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// It has no certificate.
    #[error("chain is empty")]
    Empty,
    /// It has too many certificates.
    #[error("chain has {actual} certificates, more than {limit}")]
    TooLong {
        /// The most that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// Its certificates are too large together.
    #[error("chain has {actual} bytes, more than {limit}")]
    TooLarge {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
}

/// Why a private key is not the one of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not a PKCS#8, SEC1 or PKCS#1 structure of an RSA, ECDSA or Ed25519 key.
    #[error("private key is malformed or of an unknown kind")]
    Malformed,
    /// Its public half is another.
    #[error("key does not match certificate")]
    Mismatch,
}

/// Why a chain and a key are not an [`Svid`](crate::Svid).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SvidError {
    /// The PEM text of the chain.
    #[error("certificate chain is unreadable")]
    ChainPem(#[source] PemError),
    /// The PEM text of the key.
    #[error("private key is unreadable")]
    KeyPem(#[source] PemError),
    /// The chain as a whole.
    #[error("certificate chain is not acceptable")]
    Chain(#[from] ChainError),
    /// The chain's first certificate.
    #[error("first certificate is not a workload's")]
    Leaf(#[from] LeafError),
    /// The key.
    #[error("private key is not usable")]
    Key(#[from] KeyError),
}

/// Why roots are not a [`Bundle`](crate::Bundle).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no root: such a bundle would trust nobody, which is never meant.
    #[error("bundle has no root")]
    Empty,
    /// There are too many roots.
    #[error("bundle has {actual} roots, more than {limit}")]
    TooMany {
        /// The most that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// The PEM text.
    #[error("bundle is unreadable")]
    Pem(#[from] PemError),
    /// One of the certificates cannot vouch for others.
    #[error("certificate {index} of the bundle is not a root")]
    Root {
        /// Which one, from zero.
        index: usize,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// One of the certificates cannot be the end of a path.
    #[error("certificate {index} of the bundle cannot be trusted")]
    Anchor {
        /// Which one, from zero.
        index: usize,
        /// What is wrong with it.
        source: PathError,
    },
}

/// Why bundles and aliases are not a [`Trust`](crate::Trust).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Two bundles are of one trust domain.
    #[error("trust domain {trust_domain} has two bundles")]
    TwoBundles {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// The bundle is of a trust domain that is an alias of another.
    #[error("trust domain {trust_domain} is an alias and can have no bundle")]
    IsAlias {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// What should be an alias has a bundle of its own.
    #[error("trust domain {trust_domain} has a bundle and can be no alias")]
    HasBundle {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// What should have an alias has no bundle.
    #[error("trust domain {trust_domain} has no bundle that an alias could use")]
    NoBundle {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
}

/// What path building (RFC 5280 §6) found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathError(pub(crate) webpki::Error);

impl std::error::Error for PathError {}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            // It would list every usage of a certificate that a peer shows.
            webpki::Error::RequiredEkuNotFoundContext(_) => f.write_str("RequiredEkuNotFound"),
            error => write!(f, "{error}"),
        }
    }
}

/// Why a chain does not prove an identity.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The chain as a whole.
    #[error("certificate chain is not acceptable")]
    Chain(#[from] ChainError),
    /// The chain's first certificate.
    #[error("certificate is not a workload's")]
    Leaf(#[from] LeafError),
    /// The id is of a trust domain that nobody here vouches for.
    #[error("id is of trust domain {trust_domain}, which is not trusted")]
    TrustDomain {
        /// The id's trust domain.
        trust_domain: TrustDomain,
    },
    /// The bundle has no root, or each has expired or is not valid yet.
    #[error("no root of trust domain {trust_domain} is valid now")]
    NoRootNow {
        /// The bundle's trust domain.
        trust_domain: TrustDomain,
    },
    /// No valid path leads from the chain to a root.
    #[error("certificate is not vouched for")]
    Path(#[from] PathError),
    /// A signing certificate of the path breaks a rule that was asked for.
    #[error("intermediate certificate is not as its issuer should have made it")]
    Intermediate(#[from] AuthorityError),
    /// A path leads to a root, and is revoked, or may be.
    #[error("certificate is not in good standing")]
    Revocation(#[from] RevocationError),
}

/// The peer proved who it is, and is not who was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub struct Unexpected {
    /// Who the peer is.
    pub peer: SpiffeId,
    /// Who was expected, where that can be said.
    pub expected: Option<Expected>,
}

impl Unexpected {
    /// The error of an authorizer that has no [`Expected`] to show.
    pub fn new(peer: SpiffeId) -> Self {
        Self { peer, expected: None }
    }
}

impl std::fmt::Display for Unexpected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.expected {
            Some(expected) => write!(f, "peer is {}, expected was {expected}", self.peer),
            None => write!(f, "peer is {}, who is not expected", self.peer),
        }
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The crypto provider has no TLS 1.3.
    #[error("crypto provider cannot do TLS 1.3")]
    Provider(#[source] rustls::Error),
    /// The crypto provider cannot use the SVID's key, or finds that it is not the certificate's.
    #[error("key of {id} is not usable in TLS")]
    Key {
        /// Whose key.
        id: SpiffeId,
        /// What the provider says.
        source: rustls::Error,
    },
}
