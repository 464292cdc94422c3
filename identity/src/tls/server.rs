//! The end that is connected to.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;

use super::verifier::PeerVerifier;
use crate::bundle::Bundle;
use crate::error::TlsError;
use crate::expected::Authorizer;
use crate::svid::Svid;

/// What a server needs to prove `svid` and to accept a client that `bundle` vouches for and `authorizer` lets in.
pub fn server_config(
    provider: &Arc<CryptoProvider>,
    svid: &Svid,
    bundle: &Bundle,
    authorizer: Arc<dyn Authorizer>,
) -> Result<ServerConfig, TlsError> {
    let verifier = Arc::new(PeerVerifier::new(provider, bundle, authorizer));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(svid.chain().to_vec(), svid.key().clone_key())
        .map_err(|source| TlsError::Key { id: svid.id().clone(), source })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
