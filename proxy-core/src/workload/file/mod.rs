//! The workloads file: facts in YAML, in the shape of ztunnel's local configuration.
//!
//! ```yaml
//! workloads:
//! - uid: cluster1//v1/Pod/shop/client
//!   name: client
//!   namespace: shop
//!   serviceAccount: client
//!   workloadIps: ["10.0.0.1"]
//!   protocol: HBONE
//!   services: {"shop/web.shop.svc.cluster.local": {80: 8080}}
//! services:
//! - name: web
//!   namespace: shop
//!   hostname: web.shop.svc.cluster.local
//!   vips: ["/10.1.0.1"]
//!   ports: {80: 8080}
//! policies:
//! - {name: strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false,
//!    rules: [[[{notPrincipals: [Presence: []]}]]]}
//! ```
//!
//! A field that this proxy does not know is an error, never ignored: a policy or an address that is silently lost would
//! be a hole.

use identity::TrustDomain;

use super::Snapshot;
use convert::Malformed;

mod convert;
mod shape;
#[cfg(test)]
mod tests;

/// Why a workloads file makes no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not YAML of the documented shape; the source names line and column.
    #[error("not a workloads file")]
    Shape(#[source] yaml_serde::Error),
    /// One entry has a value that cannot be used.
    #[error("{kind} {name:?}: {problem}")]
    Entry {
        /// `workload`, `service` or `policy`.
        kind: &'static str,
        /// The entry's name as written.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a snapshot from the text of a workloads file. Workloads that name no trust domain are of `trust_domain`.
///
/// # Errors
/// [`FileError`] names the line or the entry, and what is wrong there.
pub fn parse(text: &str, trust_domain: &TrustDomain) -> Result<Snapshot, FileError> {
    let file: shape::File = yaml_serde::from_str(text).map_err(FileError::Shape)?;
    let mut builder = Snapshot::builder();
    for entry in file.workloads {
        let name = format!("{}/{}", entry.namespace, entry.name);
        let wrong = |error: Malformed| FileError::Entry {
            kind: "workload",
            name: name.clone(),
            problem: error.to_string(),
        };
        let (workload, services) = convert::workload(entry, trust_domain).map_err(wrong)?;
        builder.workload(workload, services).map_err(|error| FileError::Entry {
            kind: "workload",
            name: name.clone(),
            problem: error.to_string(),
        })?;
    }
    for entry in file.services {
        let name = format!("{}/{}", entry.namespace, entry.name);
        let service = convert::service(entry).map_err(|error| FileError::Entry {
            kind: "service",
            name,
            problem: error.to_string(),
        })?;
        builder.service(service);
    }
    for entry in file.policies {
        builder.policy(convert::policy(entry));
    }
    Ok(builder.build())
}
