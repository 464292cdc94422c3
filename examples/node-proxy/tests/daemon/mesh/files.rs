//! Files: a folder with what `node-proxy` is given: a CA, the workloads, and a place for the socket.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;

use super::{APPLICATION, Member, Result};

pub(crate) struct Files {
    folder: TempDir,
    members: Vec<Member>,
}

impl Files {
    /// A new CA, and a mesh of these members.
    pub(crate) fn new(members: &[&Member]) -> Result<Self> {
        let files = Self { folder: TempDir::new()?, members: members.iter().copied().cloned().collect() };
        let (certificate, key) = new_root()?;
        fs::write(files.ca_cert(), certificate)?;
        fs::write(files.ca_key(), key)?;
        files.write_workloads("")?;
        Ok(files)
    }

    /// Writes the workloads file: the members, and `more` (`services:`, `policies:`) in YAML.
    pub(crate) fn write_workloads(&self, more: &str) -> Result<()> {
        Ok(fs::write(self.workloads(), workloads(&self.members, more)?)?)
    }

    /// The proxy with all that it must be given.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.command_without_ca();
        command.arg("--ca-cert").arg(self.ca_cert()).arg("--ca-key").arg(self.ca_key());
        command
    }

    pub(crate) fn command_without_ca(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node-proxy"));
        command.arg("--zds").arg(self.zds()).arg("--workloads").arg(self.workloads());
        command.args(["--workers", "2", "--drain", "60"]).env_remove("RUST_LOG");
        command
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn zds(&self) -> PathBuf {
        self.path().join("zds/agent.sock")
    }

    pub(crate) fn workloads(&self) -> PathBuf {
        self.path().join("workloads.yaml")
    }

    pub(crate) fn ca_cert(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(crate) fn ca_key(&self) -> PathBuf {
        self.path().join("ca.key")
    }

    /// Where a program writes what it has to say.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.path().join(format!("{program}.log"))
    }
}

/// A root certificate and its key, in PEM.
pub(crate) fn new_root() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((params_of_root().self_signed(&key)?.pem(), key.serialize_pem()))
}

/// A revocation list of the root with this key, in PEM, of the certificates with these serial numbers.
pub(crate) fn revocation_list(key: &str, serials: &[Vec<u8>]) -> Result<String> {
    let now = SystemTime::now();
    let revoked = |serial: &Vec<u8>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: (now - Duration::from_secs(60)).into(),
        next_update: (now + Duration::from_secs(3600)).into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(&Issuer::new(params_of_root(), KeyPair::from_pem(key)?))?.pem()?)
}

fn params_of_root() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A workloads file, with all that ztunnel demands too. Each pod is an endpoint of the service `NAME.test`, port 80, if
/// `more` has it.
fn workloads(members: &[Member], more: &str) -> Result<String> {
    let mut text = String::from("workloads:\n");
    for Member { name, addresses, network, trust_domain, fields, .. } in members {
        let addresses: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let addresses = addresses.join(", ");
        writeln!(
            text,
            "- {{uid: cluster1//v1/Pod/test/{name}, name: {name}, namespace: test, serviceAccount: {name}, \
             workloadIps: [{addresses}], trustDomain: {trust_domain}, protocol: HBONE, node: node, network: \"{network}\", \
             {fields} services: {{\"test/{name}.test\": {{80: {APPLICATION}}}}}}}"
        )?;
    }
    text.push_str(more);
    Ok(text)
}
