//! [`Svid`]: what proves an identity.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::{Certificate, Rules, Validity};
use crate::error::{ChainError, SvidError};
use crate::spiffe_id::SpiffeId;
use crate::{chain, pem, private_key};

/// An X.509-SVID: a workload's certificate, those that vouch for it, and the key that proves it.
///
/// Instances keep the rules for a workload's certificate (exactly one URI, which is a SPIFFE id with a path; not a CA)
/// and hold the key of that certificate. Whether a peer believes it depends on the peer's roots and clock, so neither
/// is asked here. Cloning shares; printing hides the key.
#[derive(Clone)]
pub struct Svid(Arc<Inner>);

struct Inner {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    id: SpiffeId,
    validity: Validity,
}

impl Svid {
    /// The SVID of `chain`, the workload's certificate first and without the root, and its private `key`.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, SvidError> {
        let (leaf, intermediates) = chain.split_first().ok_or(ChainError::Empty)?;
        chain::check_size(leaf, intermediates)?;
        let leaf = Certificate::parse(leaf).map_err(|error| SvidError::Leaf(error.into()))?;
        let (id, validity) = (leaf.leaf_id(Rules::Validator)?, leaf.validity());
        private_key::check_matches(&key, leaf.public_key_info())?;
        Ok(Self(Arc::new(Inner { chain, key, id, validity })))
    }

    /// The SVID in two PEM texts: the chain, and the key as PKCS#8, SEC1 or PKCS#1.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, SvidError> {
        let chain = pem::certificates(chain).map_err(SvidError::ChainPem)?;
        Self::new(chain, pem::private_key(key).map_err(SvidError::KeyPem)?)
    }

    /// The chain as PEM, for those who read it from a file.
    pub fn chain_to_pem(&self) -> String {
        self.0.chain.iter().map(pem::encode).collect()
    }

    /// The private key as PEM, in the form in which it is held: whoever reads it is the workload.
    pub fn key_to_pem(&self) -> String {
        pem::encode_key(&self.0.key)
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The certificates, the workload's first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// The private key: whoever has it is the workload.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }

    /// The first moment at which it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.0.validity.not_before()
    }

    /// The last second in which it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.0.validity.not_after()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.0.id)
            .field("not_before", &self.not_before())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}
