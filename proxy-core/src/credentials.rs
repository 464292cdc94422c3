//! Credentials: one pod's SVID from the embedded CA, renewed at half of its life, and the TLS configurations made of it.
//!
//! Renewal happens when a handshake needs the SVID and finds it half used: no task and no timer for pods that nobody talks
//! to. An expired SVID is never used: if renewal fails, the current one is used only while it is valid.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use identity::{Bundle, Ca, Expected, SpiffeId, Svid};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};

use crate::error::CredentialsError;

/// ALPN of HBONE: HTTP/2 (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";

/// What all pods of a node share: the CA, and the cryptography to use.
#[derive(Debug)]
pub struct Authority {
    ca: Ca,
    provider: Arc<CryptoProvider>,
    lifetime: Duration,
}

impl Authority {
    /// SVIDs from `ca`, each valid for `lifetime`.
    #[must_use]
    pub fn new(ca: Ca, provider: Arc<CryptoProvider>, lifetime: Duration) -> Self {
        Self { ca, provider, lifetime }
    }

    /// The roots that peers must chain to.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        self.ca.bundle()
    }
}

/// One pod's credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    authority: Arc<Authority>,
    id: SpiffeId,
    current: ArcSwapOption<Current>,
    /// Held while renewing, so that handshakes that meet a half-used SVID renew it once.
    renewing: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    svid: Svid,
    server: Arc<ServerConfig>,
    renew_at: SystemTime,
    expires: SystemTime,
}

impl Credentials {
    pub(crate) fn new(authority: Arc<Authority>, id: SpiffeId) -> Self {
        Self { authority, id, current: ArcSwapOption::empty(), renewing: Mutex::new(()) }
    }

    /// Whom they prove.
    pub(crate) fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Until when the SVID in use is valid; none: nobody has needed one yet.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.current.load().as_ref().map(|current| current.expires)
    }

    /// The configuration for peers that come to this pod: any identity of the trust domain; policy decides further.
    pub(crate) fn server(&self, now: SystemTime) -> Result<Arc<ServerConfig>, CredentialsError> {
        Ok(Arc::clone(&self.at(now)?.server))
    }

    /// The configuration for a peer that must prove one of `expected`.
    pub(crate) fn client(
        &self,
        expected: &[SpiffeId],
        now: SystemTime,
    ) -> Result<Arc<ClientConfig>, CredentialsError> {
        let (provider, bundle) = (&self.authority.provider, self.authority.bundle());
        let expected = Arc::new(Expected::any_of(expected.iter().cloned()));
        let current = self.at(now)?;
        let config = identity::tls::client_config(provider, &current.svid, bundle, expected);
        let mut config = config.map_err(CredentialsError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    fn at(&self, now: SystemTime) -> Result<Arc<Current>, CredentialsError> {
        if let Some(current) = self.current.load_full().filter(|current| now < current.renew_at) {
            return Ok(current);
        }
        // Nothing that can panic runs under the lock in a way that leaves state behind.
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        if let Some(current) = before.as_ref().filter(|current| now < current.renew_at) {
            return Ok(Arc::clone(current));
        }
        match self.issue(now) {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                self.current.store(Some(Arc::clone(&fresh)));
                Ok(fresh)
            }
            Err(error) => before.filter(|current| now < current.expires).ok_or(error),
        }
    }

    fn issue(&self, now: SystemTime) -> Result<Current, CredentialsError> {
        let Authority { ca, provider, lifetime } = &*self.authority;
        let bundle = ca.bundle();
        let svid = ca.issue(&self.id, *lifetime, now).map_err(CredentialsError::Issue)?;
        let peers = Arc::new(Expected::in_trust_domain(bundle.trust_domain().clone()));
        let config = identity::tls::server_config(provider, &svid, bundle, peers);
        let mut server = config.map_err(CredentialsError::Tls)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let expires = svid.not_after();
        let half = expires.duration_since(now).unwrap_or_default() / 2;
        Ok(Current { svid, server: Arc::new(server), renew_at: now + half, expires })
    }
}
