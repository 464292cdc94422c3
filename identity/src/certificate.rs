//! What one X.509 certificate says of itself. Nothing here proves it: [`verify`](crate::verify()) does.
//!
//! Path building leaves to its user the rules that make a certificate a workload's; they are here, and so is the only
//! use of a second X.509 parser.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::error::{AuthorityError, LeafError, MalformedCertificate};
use crate::spiffe_id::SpiffeId;

/// The most alternative names of a leaf. Meshes put one there, and issuers for gateways a few dozen.
const MAX_NAMES: usize = 64;

/// How much of X509-SVID is asked of what a peer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rules {
    /// What the text makes who validates check (§2, §3.1, §4.4, §5), and that what is said is right: a key usage that is
    /// there has digitalSignature.
    ///
    /// Meshes exist whose leafs have no key usage, or one that is not critical.
    #[default]
    Validator,
    /// What the text asks of who issues, too: the key usage is there and critical (§4.3), also of intermediates; the names
    /// are critical when the subject is empty (§3.1); an intermediate's SPIFFE id, if it has one, has no path (§3.2).
    ///
    /// Roots are who they are for being in the bundle, and are not asked.
    Issuer,
}

/// A parsed certificate.
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            Ok(_) => Err(MalformedCertificate(X509Error::InvalidCertificate)),
            Err(error) => Err(MalformedCertificate(error.into())),
        }
    }

    /// The id of a workload, if this certificate keeps the rules for one (X509-SVID §4, §5.2).
    pub(crate) fn leaf_id(&self, rules: Rules) -> Result<SpiffeId, LeafError> {
        if self.is_authority()? {
            return Err(LeafError::Authority);
        }
        self.check_leaf_usage(rules)?;
        let id: SpiffeId = self.only_uri(rules)?.parse().map_err(LeafError::NotSpiffe)?;
        match id.path().is_empty() {
            true => Err(LeafError::NoPath { trust_domain: id.trust_domain() }),
            false => Ok(id),
        }
    }

    /// X509-SVID §4.3 and §4.4, for leafs.
    fn check_leaf_usage(&self, rules: Rules) -> Result<(), LeafError> {
        match (self.0.key_usage().map_err(MalformedCertificate)?, rules) {
            (Some(usage), _) if usage.value.key_cert_sign() || usage.value.crl_sign() => {
                return Err(LeafError::MaySign);
            }
            (Some(usage), _) if !usage.value.digital_signature() => {
                return Err(LeafError::NoDigitalSignature);
            }
            (Some(usage), Rules::Issuer) if !usage.critical => return Err(LeafError::KeyUsageNotCritical),
            (None, Rules::Issuer) => return Err(LeafError::NoKeyUsage),
            _ => {}
        }
        match self.0.extended_key_usage().map_err(MalformedCertificate)? {
            Some(usage) if !(usage.value.server_auth && usage.value.client_auth) => {
                Err(LeafError::ExtendedKeyUsage)
            }
            _ => Ok(()),
        }
    }

    /// Checks that this certificate may vouch for others (X509-SVID §4, RFC 5280 §6.1.4 (k) and (n)).
    pub(crate) fn check_authority(&self) -> Result<(), AuthorityError> {
        if !self.is_authority()? {
            return Err(AuthorityError::NotAuthority);
        }
        match self.0.key_usage().map_err(MalformedCertificate)? {
            Some(usage) if !usage.value.key_cert_sign() => Err(AuthorityError::MayNotSign),
            _ => Ok(()),
        }
    }

    /// Checks what X509-SVID §3.2 and §4.3 ask of who issues a signing certificate, beyond
    /// [`check_authority`](Self::check_authority).
    pub(crate) fn check_as_issued(&self) -> Result<(), AuthorityError> {
        match self.0.key_usage().map_err(MalformedCertificate)? {
            None => return Err(AuthorityError::NoKeyUsage),
            Some(usage) if !usage.critical => return Err(AuthorityError::KeyUsageNotCritical),
            Some(_) => {}
        }
        let names = self.0.subject_alternative_name().map_err(MalformedCertificate)?;
        let has_path = names.is_some_and(|names| {
            let ids = names.value.general_names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => uri.parse::<SpiffeId>().ok(),
                _ => None,
            });
            ids.into_iter().any(|id| !id.path().is_empty())
        });
        match has_path {
            true => Err(AuthorityError::IdWithPath),
            false => Ok(()),
        }
    }

    /// Whether it may sign revocation lists (RFC 5280 §6.3.3 (f)).
    pub(crate) fn may_sign_crls(&self) -> bool {
        self.0.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()))
    }

    /// The SubjectPublicKeyInfo, in DER.
    pub(crate) fn public_key_info(&self) -> &[u8] {
        self.0.public_key().raw
    }

    pub(crate) fn validity(&self) -> Validity {
        let validity = self.0.validity();
        Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() }
    }

    fn is_authority(&self) -> Result<bool, MalformedCertificate> {
        Ok(self.0.basic_constraints()?.is_some_and(|constraints| constraints.value.ca))
    }

    /// The one URI among the alternative names. Other kinds of names may be there, in any number.
    fn only_uri(&self, rules: Rules) -> Result<&str, LeafError> {
        let Some(extension) = self.0.subject_alternative_name().map_err(MalformedCertificate)? else {
            return Err(LeafError::NoUri);
        };
        if rules == Rules::Issuer && !extension.critical && self.0.subject().iter_rdn().next().is_none() {
            return Err(LeafError::NamesNotCritical);
        }
        let names = extension.value.general_names.as_slice();
        if names.len() > MAX_NAMES {
            return Err(LeafError::TooManyNames { limit: MAX_NAMES, actual: names.len() });
        }
        // A name that cannot be read could be a second URI.
        if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
            return Err(MalformedCertificate(X509Error::InvalidExtensions).into());
        }
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.count()) {
            (None, _) => Err(LeafError::NoUri),
            (Some(uri), 0) => Ok(uri),
            (Some(_), others) => Err(LeafError::SeveralUris { count: others.saturating_add(1) }),
        }
    }
}

/// What an issuer must know of its own certificate.
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
impl Certificate<'_> {
    /// The subject's name, in DER.
    pub(crate) fn subject(&self) -> &[u8] {
        self.0.subject().as_raw()
    }

    /// The issuer's name, in DER.
    pub(crate) fn issuer(&self) -> &[u8] {
        self.0.issuer().as_raw()
    }

    /// The subject key identifier, if it has one.
    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.0.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
    }
}

/// From when until when a certificate is valid, both ends included: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    not_before: i64,
    not_after: i64,
}

impl Validity {
    pub(crate) fn contains(self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.not_before..=self.not_after).contains(&now))
    }

    pub(crate) fn not_before(self) -> SystemTime {
        system_time(self.not_before)
    }

    pub(crate) fn not_after(self) -> SystemTime {
        system_time(self.not_after)
    }

    /// When both are valid.
    #[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// X.509 counts years from 0 to 9999, which every clock we run on can hold; were it not so, the epoch fails closed.
fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
