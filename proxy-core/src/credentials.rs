//! Credentials: one pod's share of its identity's SVID, and the TLS configurations made of it.
//!
//! Whoever needs a configuration finds the one that is there by an atomic load; it is made again when the SVID has been
//! renewed, by the first who needs it then. An expired SVID is never used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use identity::source::{CacheError, Lease, LeaseError, Source as _, Watch};
use identity::{SpiffeId, Svid};
use rustls::{ClientConfig, ServerConfig};

use crate::authority::Authority;
use crate::error::CredentialsError;
use crate::policy::Principal;

/// ALPN of HBONE: HTTP/2 (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";

/// One pod's credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    authority: Arc<Authority>,
    lease: Lease,
    current: ArcSwapOption<Current>,
    /// Held while making another, so that handshakes that find the SVID renewed do it once.
    making: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    svid: Svid,
    server: Arc<ServerConfig>,
    /// Has seen what this was made of.
    watch: Watch,
}

impl Credentials {
    /// Those of `id`. Its SVID is asked for, if no other pod has it.
    ///
    /// # Errors
    /// There is no room for another identity.
    pub(crate) fn new(authority: Arc<Authority>, id: &SpiffeId) -> Result<Self, LeaseError> {
        let lease = authority.lease(id)?;
        Ok(Self { authority, lease, current: ArcSwapOption::empty(), making: Mutex::new(()) })
    }

    /// Whom they prove.
    pub(crate) fn id(&self) -> &SpiffeId {
        self.lease.id()
    }

    /// What they come from.
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Until when the SVID is valid that is there; none: there is none.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        let material = self.lease.watch().at(SystemTime::now()).ok()?;
        Some(material.svid().not_after())
    }

    /// The configuration for peers that come to this pod: whoever is believed; policy decides further. Waits for the SVID if there is
    /// none.
    pub(crate) async fn server(&self) -> Result<Arc<ServerConfig>, CredentialsError> {
        Ok(Arc::clone(&self.current().await?.server))
    }

    /// The configuration for a peer that must prove one of `expected`. Waits for the SVID if there is none.
    pub(crate) async fn client(&self, expected: &[SpiffeId]) -> Result<Arc<ClientConfig>, CredentialsError> {
        let current = self.current().await?;
        let (provider, trust) = (self.authority.provider(), self.authority.trust());
        let expected = self.authority.any_of(expected);
        let config = identity::tls::client_config(provider, &current.svid, trust, expected);
        let mut config = config.map_err(CredentialsError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    /// Who has proved `id` to this pod.
    pub(crate) fn principal(&self, id: SpiffeId) -> Principal {
        self.authority.principal(id)
    }

    async fn current(&self) -> Result<Arc<Current>, CredentialsError> {
        if let Some(current) = self.usable(SystemTime::now()) {
            return Ok(current);
        }
        self.lease.material().await?;
        // Nothing that can panic runs under the lock in a way that leaves state behind.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if let Some(current) = self.usable(now) {
            return Ok(current);
        }
        let made = Arc::new(self.make(now)?);
        self.current.store(Some(Arc::clone(&made)));
        Ok(made)
    }

    /// What is there, if it is of the newest SVID and that is valid.
    fn usable(&self, now: SystemTime) -> Option<Arc<Current>> {
        self.current.load_full().filter(|current| current.is_usable(now))
    }

    fn make(&self, now: SystemTime) -> Result<Current, CredentialsError> {
        let mut watch = self.lease.watch();
        // Before it is looked at: what changes after that is seen.
        watch.see();
        let svid = watch.at(now).map_err(CacheError::from)?.svid().clone();
        let before = self.current.load_full().filter(|before| before.svid.chain() == svid.chain());
        let server = match before {
            // Only what is in the way of the next one has changed.
            Some(before) => Arc::clone(&before.server),
            None => self.server_of(&svid)?,
        };
        Ok(Current { svid, server, watch })
    }

    fn server_of(&self, svid: &Svid) -> Result<Arc<ServerConfig>, CredentialsError> {
        let (provider, trust) = (self.authority.provider(), self.authority.trust());
        let config = identity::tls::server_config(provider, svid, trust, self.authority.anyone());
        let mut config = config.map_err(CredentialsError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

impl Current {
    fn is_usable(&self, now: SystemTime) -> bool {
        self.svid.not_before() <= now && now <= self.svid.not_after() && !self.watch.has_changed()
    }
}
