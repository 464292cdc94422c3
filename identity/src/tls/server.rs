//! The end that is connected to.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;

use super::verifier::PeerVerifier;
use crate::error::TlsError;
use crate::expected::Authorizer;
use crate::shared_trust::SharedTrust;
use crate::svid::Svid;

/// What a server needs to prove `svid` and to accept a client that `trust` believes and `authorizer` lets in.
///
/// `trust` is a [`Bundle`](crate::Bundle), a [`Trust`](crate::Trust), or a [`SharedTrust`], which can be replaced later.
pub fn server_config(
    provider: &Arc<CryptoProvider>,
    svid: &Svid,
    trust: impl Into<SharedTrust>,
    authorizer: Arc<dyn Authorizer>,
) -> Result<ServerConfig, TlsError> {
    let verifier = Arc::new(PeerVerifier::new(provider, trust.into(), authorizer));
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
