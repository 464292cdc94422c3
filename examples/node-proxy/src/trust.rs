//! Trust: whom to believe, from files that are read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use identity::{Bundle, BundleDocument, Crls, RevocationPolicy, SharedTrust, Trust, TrustDomain};
use rustls::crypto::CryptoProvider;

use crate::args::Args;

/// Files of bundles and revocation lists, and what is believed by them.
pub(crate) struct TrustFiles {
    bundles: Vec<BundleFile>,
    crls: Vec<PathBuf>,
    provider: Arc<CryptoProvider>,
    shared: SharedTrust,
}

/// The roots of one trust domain.
struct BundleFile {
    trust_domain: TrustDomain,
    path: PathBuf,
    /// The document that it was last, if it is one.
    document: Option<BundleDocument>,
}

impl TrustFiles {
    /// Reads all files. `own` vouches for the proxy's own trust domain, if no file does.
    pub(crate) fn read(args: &Args, own: Bundle, provider: Arc<CryptoProvider>) -> Result<Self> {
        let own_domain = own.trust_domain().clone();
        let mut bundles = bundle_files(args, &own_domain)?;
        let mut trust = Trust::from(own);
        for file in &mut bundles {
            trust = trust.with_bundle(file.read()?)?;
        }
        for alias in &args.trust_domain_alias {
            let flag = || format!("--trust-domain-alias {alias:?}");
            trust =
                trust.with_alias(alias.parse().with_context(flag)?, own_domain.clone()).with_context(flag)?;
        }
        let shared = SharedTrust::new(trust);
        let files = Self { bundles, crls: args.crl.clone(), provider, shared };
        files.shared.replace(files.with_crls(&files.shared.current())?);
        Ok(files)
    }

    /// What is believed, now and when files are read again.
    pub(crate) fn shared(&self) -> &SharedTrust {
        &self.shared
    }

    /// Reads all files again. What cannot be used changes nothing: a bundle stays as it was, and so do all revocation lists.
    pub(crate) fn read_again(&mut self) {
        if self.bundles.is_empty() && self.crls.is_empty() {
            return;
        }
        let mut trust = self.shared.current();
        for file in &mut self.bundles {
            match file.read().and_then(|bundle| Ok(trust.with_bundle(bundle)?)) {
                Ok(changed) => trust = changed,
                Err(error) => tracing::error!("trust bundle kept as it was: {error:#}"),
            }
        }
        match self.with_crls(&trust) {
            Ok(changed) => trust = changed,
            Err(error) => tracing::error!("revocation lists kept as they were: {error:#}"),
        }
        self.shared.replace(trust);
        tracing::info!(bundles = self.bundles.len(), crls = self.crls.len(), "trust replaced");
    }

    /// `trust` with the lists of all files, if there are any.
    fn with_crls(&self, trust: &Trust) -> Result<Trust> {
        if self.crls.is_empty() {
            return Ok(trust.clone());
        }
        let mut all = Vec::new();
        for path in &self.crls {
            let name = || format!("--crl {}", path.display());
            let pem = fs::read(path).with_context(name)?;
            // By itself, so that the file is named.
            Crls::from_pem(&pem).with_context(name)?;
            all.extend(pem);
            all.push(b'\n');
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let lists = Crls::from_pem(&all).context("all of --crl")?;
        trust.with_crls(&lists, RevocationPolicy::default(), algorithms).context("all of --crl")
    }
}

/// A file for each trust domain at most.
fn bundle_files(args: &Args, own: &TrustDomain) -> Result<Vec<BundleFile>> {
    let mut files: Vec<BundleFile> = Vec::new();
    for flag in &args.trust_bundle {
        let file = BundleFile::of(flag)?;
        if files.iter().any(|other| other.trust_domain == file.trust_domain) {
            bail!("--trust-bundle {flag:?}: there is another for this trust domain");
        }
        files.push(file);
    }
    if let Some(path) = args.own_roots()
        && files.iter().all(|file| file.trust_domain != *own)
    {
        files.push(BundleFile { trust_domain: own.clone(), path: path.to_owned(), document: None });
    }
    Ok(files)
}

impl BundleFile {
    /// `DOMAIN=FILE`.
    fn of(flag: &str) -> Result<Self> {
        let name = || format!("--trust-bundle {flag:?}");
        let Some((domain, path)) = flag.split_once('=') else {
            bail!("{}: there is no '=' in it", name());
        };
        Ok(Self { trust_domain: domain.parse().with_context(name)?, path: path.into(), document: None })
    }

    fn read(&mut self) -> Result<Bundle> {
        let bytes = fs::read(&self.path).with_context(|| self.name())?;
        let is_document = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if !is_document {
            return Bundle::from_pem(self.trust_domain.clone(), &bytes).with_context(|| self.name());
        }
        let document = BundleDocument::parse(&bytes).with_context(|| self.name())?;
        if self.document.as_ref().is_some_and(|before| !document.supersedes(before)) {
            bail!("{}: its sequence number is lower than it was", self.name());
        }
        let bundle = document.bundle(self.trust_domain.clone()).with_context(|| self.name())?;
        self.document = Some(document);
        Ok(bundle)
    }

    fn name(&self) -> String {
        format!("bundle of {} in {}", self.trust_domain, Path::display(&self.path))
    }
}
