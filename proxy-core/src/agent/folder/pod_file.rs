//! Pod file: one pod, as a file says it. No file system.
//!
//! ```yaml
//! name: cart-0
//! namespace: shop
//! serviceAccount: cart            # default
//! netns: /run/netns/cart-0        # without it, a container runtime's word by CNI is waited for
//! labels: {istio.io/dataplane-mode: ambient}   # none: its rules are taken away
//! existing: keep                  # or reset: what becomes of connections that it has when it is enrolled
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use redirect::Existing;
use serde::Deserialize;

use crate::agent::name::{MAX_NAME, excerpt, is_name};
use crate::workload::PodName;

/// Longest file, in bytes. 64 KiB: Kubernetes allows 256 KiB of annotations, and nothing here needs a fraction of it.
pub const MAX_FILE: usize = 64 << 10;

/// Istio's label that says whether a pod is in the mesh.
const MODE: &str = "istio.io/dataplane-mode";

/// What a file says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodFile {
    /// If it says so; else the file's own name is it.
    pub(super) uid: Option<String>,
    pub(super) name: PodName,
    pub(super) netns: Option<PathBuf>,
    pub(super) in_mesh: bool,
    pub(super) existing: Existing,
}

/// Why a file is none of a pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodFileError {
    /// It is not YAML or JSON of the documented shape; the source names line and column.
    #[error("not a pod file")]
    Shape(#[source] yaml_serde::Error),
    /// A name is not one.
    #[error("{field} {value:?} is not a name: letters, digits, '-' and '.', at most {MAX_NAME}")]
    Name {
        /// Which.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// The namespace's path depends on where the reader is.
    #[error("netns {} is not an absolute path", path.display())]
    Netns {
        /// The path.
        path: PathBuf,
    },
    /// The label that says whether the pod is in the mesh says something else.
    #[error("{MODE} {value:?} is neither \"ambient\" nor \"none\"")]
    Mode {
        /// What it says.
        value: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shape {
    uid: Option<String>,
    name: String,
    namespace: String,
    #[serde(default = "default_account")]
    service_account: String,
    netns: Option<PathBuf>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    existing: ExistingShape,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
enum ExistingShape {
    #[default]
    Keep,
    Reset,
}

/// Kubernetes' own.
fn default_account() -> String {
    "default".into()
}

impl PodFile {
    pub(super) fn parse(text: &str) -> Result<Self, PodFileError> {
        let shape: Shape = yaml_serde::from_str(text).map_err(PodFileError::Shape)?;
        let uid = shape.uid.map(|uid| name("uid", uid)).transpose()?;
        let name = PodName {
            namespace: name("namespace", shape.namespace)?,
            name: name("name", shape.name)?,
            service_account: name("serviceAccount", shape.service_account)?,
        };
        if let Some(path) = shape.netns.as_ref().filter(|path| !path.is_absolute()) {
            return Err(PodFileError::Netns { path: path.clone() });
        }
        let in_mesh = match shape.labels.get(MODE).map(String::as_str) {
            None | Some("ambient") => true,
            Some("none") => false,
            Some(value) => return Err(PodFileError::Mode { value: value.into() }),
        };
        let existing = match shape.existing {
            ExistingShape::Keep => Existing::Keep,
            ExistingShape::Reset => Existing::Reset,
        };
        Ok(Self { uid, name, netns: shape.netns, in_mesh, existing })
    }
}

pub(super) fn name(field: &'static str, value: String) -> Result<String, PodFileError> {
    if is_name(&value) { Ok(value) } else { Err(PodFileError::Name { field, value: excerpt(&value) }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_says_all_there_is_to_say() {
        let text = "{uid: 0b6c-1, name: cart-0, namespace: shop, serviceAccount: cart, netns: /run/netns/cart-0, \
                    labels: {istio.io/dataplane-mode: none, app: cart}, existing: reset}";
        let name =
            PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() };
        let (uid, netns) = (Some("0b6c-1".into()), Some("/run/netns/cart-0".into()));
        let wanted = PodFile { uid, name, netns, in_mesh: false, existing: Existing::Reset };
        assert_eq!(PodFile::parse(text).unwrap(), wanted);
    }

    #[test]
    fn what_is_left_away_is_as_documented() {
        let file = PodFile::parse("name: cart-0\nnamespace: shop\n").unwrap();
        assert_eq!((file.uid, file.netns, file.in_mesh, file.existing), (None, None, true, Existing::Keep));
        assert_eq!(file.name.service_account, "default");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |text: &str| PodFile::parse(text).unwrap_err();
        assert!(matches!(refused("["), PodFileError::Shape(_)));
        assert!(matches!(refused("{name: a, namespace: b, labls: {}}"), PodFileError::Shape(_)));
        assert!(matches!(refused("{name: a}"), PodFileError::Shape(_)));
        let name = refused("{name: \"a\\nb\", namespace: b}");
        assert_eq!(
            name.to_string(),
            "name \"a\\nb\" is not a name: letters, digits, '-' and '.', at most 253"
        );
        for namespace in ["''", "-a", "a.", "\"a/b\"", "\"a\\0\"", "ä"] {
            let text = format!("{{name: a, namespace: {namespace}}}");
            assert!(matches!(refused(&text), PodFileError::Name { field: "namespace", .. }), "{text}");
        }
        assert!(matches!(refused("{name: a, namespace: b, netns: ns/a}"), PodFileError::Netns { .. }));
        let mode = refused("{name: a, namespace: b, labels: {istio.io/dataplane-mode: on}}");
        assert!(mode.to_string().ends_with("is neither \"ambient\" nor \"none\""), "{mode}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = PodFile::parse(&text);
        }

        #[test]
        fn names_are_as_long_as_allowed(length in 1..600_usize) {
            prop_assert_eq!(name("name", "a".repeat(length)).is_ok(), length <= MAX_NAME);
        }
    }
}
