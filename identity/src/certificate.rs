//! What one X.509 certificate says of itself. Nothing here proves it: [`verify`](crate::verify()) does.
//!
//! Path building leaves to its user the rules that make a certificate a workload's; they are here, and so is the only
//! use of a second X.509 parser.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
#[cfg(feature = "ca")]
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::error::{AuthorityError, LeafError, MalformedCertificate};
use crate::spiffe_id::SpiffeId;

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
    ///
    /// Meshes exist whose leafs have no key usage, or one that is not critical; both are accepted, a wrong one is not.
    pub(crate) fn leaf_id(&self) -> Result<SpiffeId, LeafError> {
        if self.is_authority()? {
            return Err(LeafError::Authority);
        }
        if let Some(usage) = self.0.key_usage().map_err(MalformedCertificate)? {
            if usage.value.key_cert_sign() || usage.value.crl_sign() {
                return Err(LeafError::MaySign);
            }
            if !usage.value.digital_signature() {
                return Err(LeafError::NoDigitalSignature);
            }
        }
        match self.0.extended_key_usage().map_err(MalformedCertificate)? {
            Some(usage) if !(usage.value.server_auth && usage.value.client_auth) => {
                return Err(LeafError::ExtendedKeyUsage);
            }
            _ => {}
        }
        let id: SpiffeId = self.only_uri()?.parse().map_err(LeafError::NotSpiffe)?;
        match id.path().is_empty() {
            true => Err(LeafError::NoPath { trust_domain: id.trust_domain() }),
            false => Ok(id),
        }
    }

    /// Checks that this certificate may vouch for others (X509-SVID §4).
    pub(crate) fn check_authority(&self) -> Result<(), AuthorityError> {
        if !self.is_authority()? {
            return Err(AuthorityError::NotAuthority);
        }
        match self.0.key_usage().map_err(MalformedCertificate)? {
            Some(usage) if !usage.value.key_cert_sign() => Err(AuthorityError::MayNotSign),
            _ => Ok(()),
        }
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
    fn only_uri(&self) -> Result<&str, LeafError> {
        let names = match self.0.subject_alternative_name().map_err(MalformedCertificate)? {
            Some(names) => names.value.general_names.as_slice(),
            None => return Err(LeafError::NoUri),
        };
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
#[cfg(feature = "ca")]
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
    #[cfg(feature = "ca")]
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
