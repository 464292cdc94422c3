//! Pipe: both ends of a stream in memory, plain or under TLS.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What covers the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    Plain,
    /// TLS 1.3 as rustls chooses it.
    Tls,
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "without TLS",
            Self::Tls => "under TLS",
        })
    }
}

/// Either end of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Bytes that the pipe holds each way: as much as a frame.
const HOLDS: usize = 256 * 1024;

/// A pipe whose ends are ready to be used.
pub(crate) async fn pipe(cover: Cover) -> Result<(Box<dyn Stream>, Box<dyn Stream>)> {
    let (near, far) = tokio::io::duplex(HOLDS);
    if cover == Cover::Plain {
        return Ok((Box::new(near), Box::new(far)));
    }
    let (connector, acceptor) = tls()?;
    let name = ServerName::try_from("peer.example")?;
    let (near, far) = tokio::try_join!(connector.connect(name, near), acceptor.accept(far))?;
    Ok((Box::new(near), Box::new(far)))
}

fn tls() -> Result<(TlsConnector, TlsAcceptor)> {
    let made = rcgen::generate_simple_self_signed(["peer.example".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok((Arc::new(client).into(), Arc::new(server).into()))
}
