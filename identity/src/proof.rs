//! [`Proof`]: what a peer has proved, kept so that it can be judged again.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};

use crate::certificate::{Certificate, Rules};
use crate::error::{ChainError, LeafError, VerifyError};
use crate::spiffe_id::SpiffeId;
use crate::trust::Trust;
use crate::verify::{Role, unix_time, verify_leaf};

/// The chain that a peer has shown in a handshake which it passed: for those who keep connections for longer than they
/// believe the same roots. Equal proofs stand and fall together.
///
/// By itself it proves nothing. [`tls::peer_proof`](crate::tls::peer_proof) makes it of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proof {
    chain: Box<[CertificateDer<'static>]>,
    role: Role,
    id: SpiffeId,
    /// The last second in which all of the chain is valid.
    until: UnixTime,
}

impl Proof {
    /// The proof of `chain`, the workload's certificate first, by a peer that has this role.
    pub fn new(chain: &[CertificateDer<'_>], role: Role) -> Result<Self, VerifyError> {
        let (leaf, intermediates) = chain.split_first().ok_or(ChainError::Empty)?;
        let leaf = Certificate::parse(leaf).map_err(LeafError::from)?;
        let id = leaf.leaf_id(Rules::Validator)?;
        let mut until = unix_time(leaf.validity().not_after());
        for certificate in intermediates {
            let validity = Certificate::parse(certificate).map_err(LeafError::from)?.validity();
            until = until.min(unix_time(validity.not_after()));
        }
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Self { chain, role, id, until })
    }

    /// Who the peer is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Whether those who believe `trust` would accept it: [`verify`](crate::verify()), but that it has expired meanwhile is no
    /// reason. The peer was there in time, and proves who it is by another certificate by now.
    ///
    /// So it is judged by the clock of `now`, or by the last second in which all of the chain was valid.
    pub fn check(
        &self,
        trust: &Trust,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        now: SystemTime,
    ) -> Result<(), VerifyError> {
        let (leaf, intermediates) = self.chain.split_first().ok_or(ChainError::Empty)?;
        let at = unix_time(now).min(self.until);
        verify_leaf(leaf, intermediates, trust, self.role, algorithms, at).map(drop)
    }
}

#[cfg(test)]
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ca::Ca;
    use crate::error::PathError;

    const HOUR: Duration = Duration::from_secs(3600);

    fn check(proof: &Proof, trust: impl Into<Trust>, now: SystemTime) -> Result<(), VerifyError> {
        proof.check(&trust.into(), webpki::ALL_VERIFICATION_ALGS, now)
    }

    #[test]
    fn it_outlives_the_certificate_and_not_the_root() {
        let (now, id) = (SystemTime::now(), "spiffe://td/cart".parse().unwrap());
        let ca = Ca::generate_at("td".parse().unwrap(), now).unwrap();
        let svid = ca.issue(&id, HOUR, now).unwrap();
        let proof = Proof::new(svid.chain(), Role::Client).unwrap();
        assert_eq!(proof.id(), &id);
        for later in [Duration::ZERO, HOUR, 100 * HOUR] {
            assert_eq!(check(&proof, ca.bundle(), now + later), Ok(()), "{later:?}");
        }
        let other = Ca::generate_at("td".parse().unwrap(), now).unwrap();
        for later in [Duration::ZERO, 100 * HOUR] {
            assert!(matches!(
                check(&proof, other.bundle(), now + later),
                Err(VerifyError::Path(PathError(_)))
            ));
        }
        let nobody = Trust::new([]).unwrap();
        assert_eq!(
            check(&proof, &nobody, now),
            Err(VerifyError::TrustDomain { trust_domain: "td".parse().unwrap() })
        );
    }

    #[test]
    fn what_proves_nothing_is_no_proof() {
        assert!(matches!(Proof::new(&[], Role::Client), Err(VerifyError::Chain(ChainError::Empty))));
        let garbage = [CertificateDer::from_slice(b"garbage")];
        assert!(matches!(Proof::new(&garbage, Role::Client), Err(VerifyError::Leaf(_))));
    }
}
