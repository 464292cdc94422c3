//! [`verify()`]: does this chain prove an identity?

use std::cell::Cell;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::bundle::Bundle;
use crate::certificate::{Certificate, Rules};
use crate::chain;
use crate::error::{AuthorityError, ChainError, LeafError, PathError, VerifyError};
use crate::spiffe_id::SpiffeId;
use crate::trust::Trust;

/// Which end of the connection the chain's owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It was connected to.
    Server,
}

/// The identity that `chain`, the workload's certificate first, proves to those who believe `trust`.
///
/// In this order: the chain is at most four certificates and 16 KiB; the leaf keeps the rules of X509-SVID §4 and §5.2,
/// so that it has exactly one URI, which is a SPIFFE id with a path; `trust` has a bundle for the id's trust domain; a
/// path of valid signatures, dates and usages leads to a root of that bundle which is valid too (RFC 5280 §6), with
/// `algorithms` only, at most a hundred signatures being tried; nothing on the path is revoked.
///
/// Whether the identity is the one that was expected is the [`Authorizer`](crate::Authorizer)'s to say, and whether the
/// peer holds the key is TLS's: this function alone does not authenticate anyone.
///
/// Name constraints on URIs are not understood: a chain with one is refused (X509-SVID §4.2).
pub fn verify(
    chain: &[CertificateDer<'_>],
    trust: impl Into<Trust>,
    role: Role,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    let (leaf, intermediates) = chain.split_first().ok_or(ChainError::Empty)?;
    verify_leaf(leaf, intermediates, &trust.into(), role, algorithms, now)
}

/// [`verify()`], for those who have the leaf apart.
pub(crate) fn verify_leaf(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    role: Role,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    chain::check_size(leaf, intermediates)?;
    let id = Certificate::parse(leaf).map_err(LeafError::from)?.leaf_id(trust.rules())?;
    let trust_domain = id.trust_domain();
    let Some(bundle) = trust.bundle(&trust_domain) else {
        return Err(VerifyError::TrustDomain { trust_domain });
    };
    let anchors = bundle.anchors(now);
    if anchors.is_empty() {
        return Err(VerifyError::NoRootNow { trust_domain: bundle.trust_domain().clone() });
    }
    let usage = match role {
        Role::Client => KeyUsage::client_auth(),
        Role::Server => KeyUsage::server_auth(),
    };
    // Path building takes only its own errors from us, so that ours wait here until no other path is found.
    let refusal = Cell::new(None);
    let check = |path: &VerifiedPath<'_>| {
        check_path(path, trust, bundle, algorithms, now).map_err(|error| {
            refusal.set(Some(error));
            webpki::Error::CertRevoked
        })
    };
    let found = EndEntityCert::try_from(leaf).and_then(|leaf| {
        leaf.verify_for_usage(algorithms, &anchors, intermediates, now, usage, None, Some(&check))
            .map(|_path| ())
    });
    match found {
        Ok(()) => Ok(id),
        Err(error) => Err(refusal.take().unwrap_or_else(|| PathError(error).into())),
    }
}

/// `time`, as verification has it; before 1970 there is nothing.
pub(crate) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What is asked of a path beyond what path building looks at.
fn check_path(
    path: &VerifiedPath<'_>,
    trust: &Trust,
    bundle: &Bundle,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<(), VerifyError> {
    for intermediate in path.intermediate_certificates() {
        let intermediate = intermediate.der();
        let intermediate = Certificate::parse(&intermediate).map_err(AuthorityError::from)?;
        intermediate.check_authority()?;
        if trust.rules() == Rules::Issuer {
            intermediate.check_as_issued()?;
        }
    }
    if !trust.revocation().is_idle() {
        trust.revocation().check(path, bundle, algorithms, now)?;
    }
    Ok(())
}
