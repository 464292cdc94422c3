//! The end that connects.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::ServerName;

use super::verifier::PeerVerifier;
use crate::error::TlsError;
use crate::expected::Authorizer;
use crate::shared_trust::SharedTrust;
use crate::svid::Svid;

/// What a client needs to prove `svid` and to accept a server that `trust` believes and `authorizer` lets in.
///
/// `trust` is a [`Bundle`](crate::Bundle), a [`Trust`](crate::Trust), or a [`SharedTrust`], which can be replaced later.
pub fn client_config(
    provider: &Arc<CryptoProvider>,
    svid: &Svid,
    trust: impl Into<SharedTrust>,
    authorizer: Arc<dyn Authorizer>,
) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(PeerVerifier::new(provider, trust.into(), authorizer));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(svid.chain().to_vec(), svid.key().clone_key())
        .map_err(|source| TlsError::Key { id: svid.id().clone(), source })?;
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The server name to connect with: rustls demands one, and nobody sees or checks this one.
pub fn unnamed() -> ServerName<'static> {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()
}
