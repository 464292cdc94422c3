//! [`IstioCaConfig`]: where Istio's CA is, and what it is told.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls_pki_types::ServerName;

use super::error::IstioCaError;

/// How long SVIDs are asked to be valid, as ztunnel does (`SECRET_TTL`).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The roots that the CA's server must chain to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// These, in PEM.
    Pem(Vec<u8>),
    /// Those of a PEM file, which is read again for each request: `/var/run/secrets/istio/root-cert.pem` in a pod of Istio.
    File(PathBuf),
}

/// Where Istio's CA is, how to prove to it who asks, and what to ask for.
#[derive(Debug, Clone)]
pub struct IstioCaConfig {
    pub(super) address: String,
    pub(super) server_name: ServerName<'static>,
    pub(super) roots: Roots,
    pub(super) token: PathBuf,
    pub(super) metadata: HeaderMap,
    pub(super) lifetime: Duration,
    pub(super) impersonate: bool,
}

impl IstioCaConfig {
    /// The CA at `address`, `istiod.istio-system.svc:15012` for example. The name in it is the one that the server must
    /// prove. `token` is a file with a bearer token, read again for each request, since it is replaced when it expires:
    /// `/var/run/secrets/tokens/istio-token` in a pod of Istio.
    pub fn new(address: &str, roots: Roots, token: impl Into<PathBuf>) -> Result<Self, IstioCaError> {
        let unusable = || IstioCaError::Address { address: address.to_owned() };
        let (host, port) = address.rsplit_once(':').ok_or_else(unusable)?;
        port.parse::<u16>().map_err(|_| unusable())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self {
            address: address.to_owned(),
            server_name: ServerName::try_from(host.to_owned()).map_err(|_| unusable())?,
            roots,
            token: token.into(),
            metadata: HeaderMap::new(),
            lifetime: LIFETIME,
            impersonate: true,
        })
    }

    /// The server proves another name than the one in the address.
    #[must_use]
    pub fn server_name(self, name: ServerName<'static>) -> Self {
        Self { server_name: name, ..self }
    }

    /// The cluster that the token is of, where there are several (header `clusterid`).
    pub fn cluster(self, cluster: &str) -> Result<Self, IstioCaError> {
        self.header("clusterid", cluster)
    }

    /// A header to go along with each request. It is not printed.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, IstioCaError> {
        let refuse = || IstioCaError::Header { name: name.to_owned() };
        let mut value = HeaderValue::try_from(value).map_err(|_| refuse())?;
        value.set_sensitive(true);
        self.metadata.insert(HeaderName::try_from(name).map_err(|_| refuse())?, value);
        Ok(self)
    }

    /// For how long SVIDs are to be valid; the CA may give less. A day by default.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The token is of the identity itself that is asked for, and not of a node's proxy that asks for its pods.
    #[must_use]
    pub fn for_itself(self) -> Self {
        Self { impersonate: false, ..self }
    }
}
