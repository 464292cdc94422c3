//! [`Layout`]: where the files are.

use std::path::{Path, PathBuf};

/// The three files of a folder: certificate chain, private key, and roots, each in PEM.
///
/// Chain and key may be one file. A path that is not relative is not looked for in the folder; such a file is not
/// replaced together with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    folder: PathBuf,
    chain: PathBuf,
    key: PathBuf,
    roots: PathBuf,
}

impl Layout {
    /// `tls.crt`, `tls.key` and `ca.crt`: a Kubernetes secret that cert-manager writes, and the volume of its CSI driver
    /// for SPIFFE.
    pub fn cert_manager(folder: impl Into<PathBuf>) -> Self {
        Self::new(folder, "tls.crt", "tls.key", "ca.crt")
    }

    /// `svid.pem`, `svid_key.pem` and `svid_bundle.pem`: what spiffe-helper's documentation has it write.
    pub fn spiffe_helper(folder: impl Into<PathBuf>) -> Self {
        Self::new(folder, "svid.pem", "svid_key.pem", "svid_bundle.pem")
    }

    /// Files of any name in `folder`.
    pub fn new(
        folder: impl Into<PathBuf>,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        Self { folder: folder.into(), chain: chain.into(), key: key.into(), roots: roots.into() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Chain, key and roots, in this order.
    pub(super) fn files(&self) -> [&Path; 3] {
        [&self.chain, &self.key, &self.roots]
    }
}
