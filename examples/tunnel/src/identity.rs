//! [`Identity`]: who this end is, and whom it expects, from the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use inpod_identity::{Bundle, Expected, SpiffeId, Svid, tls};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

/// ALPN of HTTP/2 (RFC 9113, section 3.2).
const ALPN: &[u8] = b"h2";

/// Who this end is, and who the other has to be.
#[derive(Debug, clap::Args)]
pub struct Identity {
    /// This end's certificate, and those that vouch for it
    #[arg(long, value_name = "PEM")]
    svid: PathBuf,
    /// Its private key
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The roots of the other end's trust domain
    #[arg(long, value_name = "PEM")]
    roots: PathBuf,
    /// Who the other end has to be, such as spiffe://example.org/ns/shop/sa/cart
    #[arg(long, value_name = "ID")]
    expect: SpiffeId,
}

impl Identity {
    /// For the end that listens.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let (svid, bundle, expected) = self.read()?;
        let mut config = tls::server_config(&tls::aws_lc_rs(), &svid, &bundle, expected)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    /// For the end that connects.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let (svid, bundle, expected) = self.read()?;
        let mut config = tls::client_config(&tls::aws_lc_rs(), &svid, &bundle, expected)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    fn read(&self) -> Result<(Svid, Bundle, Arc<Expected>)> {
        let svid = Svid::from_pem(&read(&self.svid)?, &read(&self.key)?)
            .with_context(|| format!("{} and {}", self.svid.display(), self.key.display()))?;
        let bundle = Bundle::from_pem(self.expect.trust_domain().clone(), &read(&self.roots)?)
            .with_context(|| self.roots.display().to_string())?;
        Ok((svid, bundle, Arc::new(Expected::one(self.expect.clone()))))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
