//! [`IstioCa`]: Istio's certificate authority as an issuer.

mod answer;
mod config;
mod csr;
mod error;
mod message;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri, header};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::config::{IstioCaConfig, Roots};
pub use self::error::IstioCaError;
use self::message::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse};
use super::clock::Clock;
use super::grpc::Call;
use super::issuer::{Issuer, Issuing};
use super::material::Material;
use crate::pem;
use crate::spiffe_id::SpiffeId;

/// The longest that a connection may take, with TLS (ztunnel's connect timeout).
const CONNECT: Duration = Duration::from_secs(5);

/// The longest that the CA may take to answer, once it is connected. A CA answers within a second or is overloaded.
const ANSWER: Duration = Duration::from_secs(10);

/// The most bytes of an answer: a chain has at most 16 KiB, and roots of many years are as many again.
const MAX_ANSWER: usize = 256 * 1024;

/// Asks Istio's CA (`istio.v1.auth.IstioCertificateService`), by gRPC on TLS, with a new P-256 key each time.
///
/// It needs no driver: each request is a connection of its own, since there is one for a pod in half a day. So roots and
/// token, which are read again each time, are always the current ones, and no dead connection is ever met.
///
/// What the CA answers is checked before anyone sees it: it is of the id that was asked for, for the key that was made,
/// valid now, and believed by those who have the roots that came along.
///
/// ```no_run
/// # #[cfg(feature = "aws-lc-rs")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_identity::source::{Cache, IstioCa, IstioCaConfig, Limits, Roots};
/// use inpod_identity::{ServiceAccount, tls};
///
/// let roots = Roots::File("/var/run/secrets/istio/root-cert.pem".into());
/// let token = "/var/run/secrets/tokens/istio-token";
/// let config = IstioCaConfig::new("istiod.istio-system.svc:15012", roots, token)?.cluster("Kubernetes")?;
/// let (cache, driver) = Cache::new(IstioCa::new(config, tls::aws_lc_rs()), Limits::default());
/// tokio::spawn(driver.run());
///
/// let id = ServiceAccount::new("shop", "cart")?.spiffe_id(&"cluster.local".parse()?);
/// let cart = cache.lease(&id)?;
/// println!("{:?}", cart.material().await?);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "aws-lc-rs"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct IstioCa {
    config: IstioCaConfig,
    provider: Arc<CryptoProvider>,
}

impl IstioCa {
    /// The CA of `config`, with the cryptography of `provider`.
    pub fn new(config: IstioCaConfig, provider: Arc<CryptoProvider>) -> Self {
        Self { config, provider }
    }

    async fn request(&self, id: &SpiffeId, clock: &Clock) -> Result<Material, IstioCaError> {
        let (key, csr) = csr::request(id)?;
        let impersonated = Some(id).filter(|_| self.config.impersonate);
        let request = CertificateRequest::new(csr, self.config.lifetime, impersonated);
        let late = |limit| move |_| IstioCaError::Deadline { limit };
        let stream = timeout(CONNECT, self.connect()).await.map_err(late(CONNECT))??;
        let answer = timeout(ANSWER, self.call(stream, &request)).await.map_err(late(ANSWER))??;
        answer::read(&answer.cert_chain, id, key, &self.provider, clock.now())
    }

    async fn call(
        &self,
        stream: TlsStream<TcpStream>,
        request: &CertificateRequest,
    ) -> Result<CertificateResponse, IstioCaError> {
        let mut metadata = self.config.metadata.clone();
        metadata.insert(header::AUTHORIZATION, bearer(&self.config.token)?);
        let call = Call::open(stream, self.uri()?, metadata, request, MAX_ANSWER).await?;
        Ok(call.only().await?)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, IstioCaError> {
        let address = || self.config.address.clone();
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let tcp = TcpStream::connect(&self.config.address).await;
        let refused = |source| IstioCaError::Connect { address: address(), source };
        let tcp = tcp.map_err(refused)?;
        // A call is a few small writes, each of which the server waits for.
        tcp.set_nodelay(true).map_err(refused)?;
        let tls = connector.connect(self.config.server_name.clone(), tcp).await;
        tls.map_err(|source| IstioCaError::Tls { address: address(), source })
    }

    /// An ordinary TLS client: the CA's server proves a name, and we prove who we are by the token.
    fn tls(&self) -> Result<ClientConfig, IstioCaError> {
        let roots = match &self.config.roots {
            Roots::Pem(roots) => roots.clone(),
            Roots::File(path) => read(path)?,
        };
        let mut store = RootCertStore::empty();
        for root in pem::certificates(&roots).map_err(IstioCaError::RootsPem)? {
            store.add(root).map_err(IstioCaError::Roots)?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IstioCaError::Roots)?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn uri(&self) -> Result<Uri, IstioCaError> {
        let uri = Uri::builder().scheme("https").authority(self.config.address.as_str());
        let uri = uri.path_and_query(CREATE_CERTIFICATE).build();
        uri.map_err(|_| IstioCaError::Address { address: self.config.address.clone() })
    }
}

impl Issuer for IstioCa {
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a> {
        Box::pin(async move { Ok(self.request(id, clock).await?) })
    }
}

/// The token as RFC 6750 §2.1 has it sent. It is never printed.
fn bearer(path: &Path) -> Result<HeaderValue, IstioCaError> {
    let token = read(path)?;
    let token = token.trim_ascii();
    let header = HeaderValue::try_from([b"Bearer ", token].concat());
    match header {
        Ok(mut header) if !token.is_empty() => {
            header.set_sensitive(true);
            Ok(header)
        }
        _ => Err(IstioCaError::Token { path: path.to_owned() }),
    }
}

/// A file of a Kubernetes volume, which is in memory.
fn read(path: &Path) -> Result<Vec<u8>, IstioCaError> {
    fs::read(path).map_err(|source| IstioCaError::Read { path: path.to_owned(), source })
}
