//! What a CA's answer means. Pure: the time comes in.

use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::PrivateKeyDer;

use super::error::IstioCaError;
use crate::bundle::Bundle;
use crate::error::SvidError;
use crate::pem;
use crate::source::material::Material;
use crate::spiffe_id::SpiffeId;
use crate::svid::Svid;

/// The SVID and the roots in `answer`: PEM texts, of which the first are the chain and the last one is the roots. They must
/// be for `id` and `key`, and such that peers with these roots believe them at `now`.
pub(super) fn read(
    answer: &[String],
    id: &SpiffeId,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Material, IstioCaError> {
    let (roots, chain) = match answer.split_last() {
        Some((roots, chain)) if !chain.is_empty() => (roots, chain),
        _ => return Err(IstioCaError::Short { count: answer.len() }),
    };
    // A text need not end with a line's end.
    let chain = pem::certificates(chain.join("\n").as_bytes()).map_err(SvidError::ChainPem)?;
    let svid = Svid::new(chain, key)?;
    let bundle = Bundle::from_pem(id.trust_domain(), roots.as_bytes())?;
    let material = Material::new(svid, bundle)?;
    material.check_id(id)?;
    material.check(provider, now)?;
    Ok(material)
}
