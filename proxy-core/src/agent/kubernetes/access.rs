//! Access: how the API server is reached, and as whom.
//!
//! What is needed for TLS is read anew for each connection, so a CA, a certificate or a kubeconfig that is replaced is used from the next
//! connection on. A token in a file is read again by kube itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, pem};
use secrecy::ExposeSecret as _;
use tower::{BoxError, ServiceBuilder};

use super::connector::Connector;

/// How the API server is reached.
#[derive(Clone)]
pub struct Access {
    place: Place,
    provider: Arc<CryptoProvider>,
}

/// Where that is written.
#[derive(Debug, Clone)]
enum Place {
    InCluster,
    Kubeconfig(PathBuf),
}

/// Why the API server cannot be reached at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// This is no pod with a service account.
    #[error("no service account of a pod")]
    InCluster(#[source] InClusterError),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// It says that the server need not prove who it is.
    #[error("\"insecure-skip-tls-verify\" is not honoured: name a certificate authority")]
    Unverified,
    /// It wants another proxy in between.
    #[error("\"proxy-url\" is not honoured")]
    Proxied,
    /// It names no certificate authority, and the server speaks TLS.
    #[error("no certificate authority is named")]
    NoAuthority,
    /// The certificate authority, the client's certificate or its key cannot be read.
    #[error("{what} cannot be read")]
    Read {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not in base64.
    #[error("{what} is not in base64")]
    Base64 {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        source: base64::DecodeError,
    },
    /// It is not in PEM.
    #[error("{what} is not in PEM")]
    Pem {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// The name that the server is to prove is none.
    #[error("\"tls-server-name\" is no name")]
    ServerName(#[source] InvalidDnsNameError),
    /// TLS does not take it.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// kube does not take how the agent is to prove who it is.
    #[error("authentication")]
    Authentication(#[source] Box<kube::Error>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Access {
    /// As the service account of the pod that this runs in.
    #[must_use]
    pub fn in_cluster(provider: Arc<CryptoProvider>) -> Self {
        Self { place: Place::InCluster, provider }
    }

    /// As the current context of a kubeconfig says. Paths in it count from its folder.
    #[must_use]
    pub fn kubeconfig(path: impl Into<PathBuf>, provider: Arc<CryptoProvider>) -> Self {
        Self { place: Place::Kubeconfig(path.into()), provider }
    }

    /// A client, which connects when it is first asked.
    pub(super) async fn client(&self) -> Result<Client, AccessError> {
        let config = self.config().await?;
        if config.proxy_url.is_some() {
            return Err(AccessError::Proxied);
        }
        // So that what is wrong with it is said at once.
        self.tls().await?;
        let auth = config.auth_layer().map_err(|error| AccessError::Authentication(Box::new(error)))?;
        let connector = Connector::new(self.clone());
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(auth)
            .map_err(BoxError::from)
            .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
        Ok(Client::new(service, config.default_namespace))
    }

    /// What TLS needs, as it is written now; and the server's name, where that is not what the address says.
    pub(super) async fn tls(&self) -> Result<(ClientConfig, Option<ServerName<'static>>), AccessError> {
        let config = self.config().await?;
        if config.accept_invalid_certs {
            return Err(AccessError::Unverified);
        }
        let mut roots = RootCertStore::empty();
        for certificate in config.root_cert.unwrap_or_default() {
            roots.add(CertificateDer::from(certificate))?;
        }
        if roots.is_empty() && config.cluster_url.scheme_str() != Some("http") {
            return Err(AccessError::NoAuthority);
        }
        let tls = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let tls = match own_certificate(&config.auth_info)? {
            Some((chain, key)) => tls.with_client_auth_cert(chain, key)?,
            None => tls.with_no_client_auth(),
        };
        let name =
            config.tls_server_name.map(ServerName::try_from).transpose().map_err(AccessError::ServerName)?;
        Ok((tls, name))
    }

    async fn config(&self) -> Result<Config, AccessError> {
        let path = match &self.place {
            Place::InCluster => return Config::incluster().map_err(AccessError::InCluster),
            Place::Kubeconfig(path) => path,
        };
        let failed = |source| AccessError::Kubeconfig { path: path.clone(), source: Box::new(source) };
        let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
    }
}

/// The certificate by which the agent proves who it is, if it does by one.
fn own_certificate(
    auth: &AuthInfo,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, AccessError> {
    let (what, whose) = ("the client's certificate", "the client's key");
    let data = auth.client_certificate_data.as_deref();
    let Some(chain) = bytes(what, data, auth.client_certificate.as_deref())? else { return Ok(None) };
    let data = auth.client_key_data.as_ref().map(|key| key.expose_secret());
    let Some(key) = bytes(whose, data, auth.client_key.as_deref())? else { return Ok(None) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|source| AccessError::Pem { what, source })?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|source| AccessError::Pem { what: whose, source })?;
    Ok(Some((chain, key)))
}

/// What is in the data, else in the file.
fn bytes(what: &'static str, data: Option<&str>, path: Option<&str>) -> Result<Option<Vec<u8>>, AccessError> {
    match (data, path) {
        (Some(data), _) => {
            let decoded = STANDARD.decode(data);
            decoded.map(Some).map_err(|source| AccessError::Base64 { what, source })
        }
        (None, Some(path)) => {
            std::fs::read(path).map(Some).map_err(|source| AccessError::Read { what, source })
        }
        (None, None) => Ok(None),
    }
}
