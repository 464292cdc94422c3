//! Issuer: who gives the pods their SVIDs: a CA in this process, or Istio's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::source::{EmbeddedCa, Issuer};
use identity::{Bundle, Ca, TrustDomain};

use crate::args::Args;

/// The issuer that `args` name, and the roots of what it issues.
pub(crate) fn issuer(
    args: &Args,
    trust_domain: &TrustDomain,
    lifetime: Duration,
) -> Result<(Arc<dyn Issuer>, Bundle)> {
    #[cfg(feature = "istio-ca")]
    if let Some(address) = &args.istio.ca_address {
        return istio(address, &args.istio, trust_domain);
    }
    let ca = embedded(args, trust_domain)?;
    let bundle = ca.bundle().clone();
    Ok((Arc::new(EmbeddedCa::new(ca, lifetime)), bundle))
}

fn embedded(args: &Args, trust_domain: &TrustDomain) -> Result<Ca> {
    let cert_path = args.ca_cert.as_deref().context("--ca-cert is missing")?;
    let key_path = args.ca_key.as_deref().context("--ca-key is missing")?;
    let read = |what: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("CA {what} {}", path.display()))
    };
    let (cert, key) = (read("certificate", cert_path)?, read("key", key_path)?);
    Ca::from_pem(trust_domain.clone(), &cert, &key)
        .with_context(|| format!("CA {} with key {}", cert_path.display(), key_path.display()))
}

#[cfg(feature = "istio-ca")]
fn istio(
    address: &str,
    args: &crate::args::Istio,
    trust_domain: &TrustDomain,
) -> Result<(Arc<dyn Issuer>, Bundle)> {
    use identity::source::{IstioCa, IstioCaConfig, Roots};

    let name = || format!("--ca-address {address:?}");
    let roots =
        std::fs::read(&args.ca_roots).with_context(|| format!("--ca-roots {}", args.ca_roots.display()))?;
    let bundle = Bundle::from_pem(trust_domain.clone(), &roots)
        .with_context(|| format!("--ca-roots {}", args.ca_roots.display()))?;
    let config = IstioCaConfig::new(address, Roots::File(args.ca_roots.clone()), &args.ca_token);
    let config = config.and_then(|config| config.cluster(&args.cluster_id)).with_context(name)?;
    Ok((Arc::new(IstioCa::new(config, identity::tls::aws_lc_rs())), bundle))
}
