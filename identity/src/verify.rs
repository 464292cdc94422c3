//! [`verify()`]: does this chain prove an identity?

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain;
use crate::error::{ChainError, LeafError, PathError, VerifyError};
use crate::spiffe_id::SpiffeId;

/// Which end of the connection the chain's owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It connected.
    Client,
    /// It was connected to.
    Server,
}

/// The identity that `chain`, the workload's certificate first, proves to those who trust `bundle`.
///
/// In this order: the chain is at most four certificates and 16 KiB; the leaf keeps the rules of X509-SVID §4 and §5.2,
/// so that it has exactly one URI, which is a SPIFFE id with a path; the id is of the bundle's trust domain; a path of
/// valid signatures and dates leads to a root that is valid too (RFC 5280 §6), with `algorithms` only.
///
/// Whether the identity is the one that was expected is the [`Authorizer`](crate::Authorizer)'s to say, and whether the
/// peer holds the key is TLS's: this function alone does not authenticate anyone.
pub fn verify(
    chain: &[CertificateDer<'_>],
    bundle: &Bundle,
    role: Role,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    let (leaf, intermediates) = chain.split_first().ok_or(ChainError::Empty)?;
    verify_leaf(leaf, intermediates, bundle, role, algorithms, now)
}

/// [`verify()`], for those who have the leaf apart.
pub(crate) fn verify_leaf(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &Bundle,
    role: Role,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    chain::check_size(leaf, intermediates)?;
    let id = Certificate::parse(leaf).map_err(LeafError::from)?.leaf_id()?;
    if id.trust_domain() != *bundle.trust_domain() {
        return Err(VerifyError::TrustDomain {
            expected: bundle.trust_domain().clone(),
            actual: id.trust_domain(),
        });
    }
    let anchors = bundle.anchors(now);
    if anchors.is_empty() {
        return Err(VerifyError::NoRootNow { trust_domain: bundle.trust_domain().clone() });
    }
    let usage = match role {
        Role::Client => KeyUsage::client_auth(),
        Role::Server => KeyUsage::server_auth(),
    };
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| {
            leaf.verify_for_usage(algorithms, &anchors, intermediates, now, usage, None, None).map(|_path| ())
        })
        .map_err(PathError)?;
    Ok(id)
}
