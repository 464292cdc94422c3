//! The extra arguments of a command (`CNI_ARGS`): `KEY=VALUE;KEY=VALUE`, in which Kubernetes runtimes name the pod.

use crate::attachment::Pod;
use crate::name::{NameError, PodName, PodNamespace, PodUid};

/// Why extra arguments cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// There are more bytes than any runtime writes.
    #[error("CNI_ARGS has {actual} bytes; at most {MAX_ARGUMENTS} are allowed")]
    TooLong {
        /// How many there are.
        actual: usize,
    },
    /// A piece without `=`.
    #[error("CNI_ARGS: {pair:?} is no KEY=VALUE")]
    NotPair {
        /// The piece.
        pair: String,
    },
    /// A key that we do not know, where `IgnoreUnknown` is not set.
    #[error("CNI_ARGS: {key:?} is not one of {}, and IgnoreUnknown is not set", KNOWN.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key of ours that comes twice: nobody can say which value is meant.
    #[error("CNI_ARGS: {key} is there twice")]
    Twice {
        /// The key.
        key: &'static str,
    },
    /// `IgnoreUnknown` is neither yes nor no.
    #[error("CNI_ARGS: IgnoreUnknown={value:?} is not one of 1, true, 0, false")]
    IgnoreUnknown {
        /// Its value.
        value: String,
    },
    /// A value is no such name.
    #[error("CNI_ARGS: {key}")]
    Name {
        /// The key.
        key: &'static str,
        /// What is wrong with the value.
        #[source]
        source: NameError,
    },
    /// A pod has both a name and a namespace; one alone names none.
    #[error("CNI_ARGS: {missing} is missing")]
    HalfPod {
        /// The key that is not there.
        missing: &'static str,
    },
}

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
const NAME: &str = "K8S_POD_NAME";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";
const UID: &str = "K8S_POD_UID";
/// The sandbox's id, which containerd and CRI-O give a second time here.
const SANDBOX: &str = "K8S_POD_INFRA_CONTAINER_ID";

/// All keys that we know.
const KNOWN: [&str; 5] = [IGNORE_UNKNOWN, NAME, NAMESPACE, UID, SANDBOX];

/// Far above the five keys that runtimes give, each with its longest value.
const MAX_ARGUMENTS: usize = 8192;

/// The pod that the extra arguments name; `None` for a container that is in no pod.
///
/// # Errors
/// [`ArgumentsError`].
pub fn pod(arguments: &str) -> Result<Option<Pod>, ArgumentsError> {
    if arguments.len() > MAX_ARGUMENTS {
        return Err(ArgumentsError::TooLong { actual: arguments.len() });
    }
    let pairs = pairs(arguments)?;
    let is_lenient = ignores_unknown(value(&pairs, IGNORE_UNKNOWN)?)?;
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !is_lenient && !KNOWN.contains(key)) {
        return Err(ArgumentsError::UnknownKey { key: (*key).to_owned() });
    }
    let name = parse::<PodName>(&pairs, NAME)?;
    let namespace = parse::<PodNamespace>(&pairs, NAMESPACE)?;
    let uid = parse::<PodUid>(&pairs, UID)?;
    match (namespace, name) {
        (Some(namespace), Some(name)) => Ok(Some(Pod { namespace, name, uid })),
        (None, None) if uid.is_none() => Ok(None),
        (None, _) => Err(ArgumentsError::HalfPod { missing: NAMESPACE }),
        (_, None) => Err(ArgumentsError::HalfPod { missing: NAME }),
    }
}

/// Some runtimes end the list with a semicolon, so empty pieces are nothing.
fn pairs(arguments: &str) -> Result<Vec<(&str, &str)>, ArgumentsError> {
    let pieces = arguments.split(';').filter(|piece| !piece.is_empty());
    pieces
        .map(|pair| pair.split_once('=').ok_or_else(|| ArgumentsError::NotPair { pair: pair.to_owned() }))
        .collect()
}

fn value<'a>(pairs: &[(&str, &'a str)], key: &'static str) -> Result<Option<&'a str>, ArgumentsError> {
    let mut values = pairs.iter().filter(|(found, _)| *found == key).map(|(_, value)| *value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(ArgumentsError::Twice { key }),
        (first, None) => Ok(first),
    }
}

fn ignores_unknown(value: Option<&str>) -> Result<bool, ArgumentsError> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(other) => Err(ArgumentsError::IgnoreUnknown { value: other.to_owned() }),
    }
}

/// An empty value is as if it were not there: so runtimes write what they do not know.
fn parse<T: std::str::FromStr<Err = NameError>>(
    pairs: &[(&str, &str)],
    key: &'static str,
) -> Result<Option<T>, ArgumentsError> {
    let value = value(pairs, key)?.filter(|value| !value.is_empty());
    value.map(str::parse).transpose().map_err(|source| ArgumentsError::Name { key, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn containerd_names_a_pod() {
        let uid = "5d0f5b1c-0000-4000-8000-0123456789ab";
        let arguments = format!(
            "K8S_POD_UID={uid};IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=ab;X=y=z"
        );
        let pod = pod(&arguments).unwrap().unwrap();
        assert_eq!(pod.to_string(), "shop/web-0");
        assert_eq!(pod.uid.unwrap().as_str(), uid);
    }

    #[test]
    fn no_arguments_are_no_pod() {
        for arguments in ["", ";", "IgnoreUnknown=true", "K8S_POD_NAME=;K8S_POD_NAMESPACE="] {
            assert_eq!(pod(arguments), Ok(None), "{arguments}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (arguments, expected) in [
            ("A", "CNI_ARGS: \"A\" is no KEY=VALUE"),
            ("IgnoreUnknown=maybe", "CNI_ARGS: IgnoreUnknown=\"maybe\" is not one of 1, true, 0, false"),
            ("K8S_POD_NAME=a", "CNI_ARGS: K8S_POD_NAMESPACE is missing"),
            ("K8S_POD_UID=a", "CNI_ARGS: K8S_POD_NAMESPACE is missing"),
            ("K8S_POD_NAMESPACE=a", "CNI_ARGS: K8S_POD_NAME is missing"),
            ("K8S_POD_NAME=a;K8S_POD_NAME=b", "CNI_ARGS: K8S_POD_NAME is there twice"),
            ("K8S_POD_NAME=../a", "CNI_ARGS: K8S_POD_NAME"),
        ] {
            assert_eq!(pod(arguments).unwrap_err().to_string(), expected);
        }
        assert!(pod("IgnoreUnknown=0;X=1").unwrap_err().to_string().contains("K8S_POD_UID"));
        assert_eq!(pod(&"a".repeat(8193)), Err(ArgumentsError::TooLong { actual: 8193 }));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pod_or_an_error(text in "((K8S_POD_(NAME|NAMESPACE|UID)|IgnoreUnknown|\\PC)=?[a-z1./]{0,3};?){0,5}") {
            if let Ok(Some(pod)) = pod(&text) {
                let (name, namespace) =
                    (format!("K8S_POD_NAME={}", pod.name), format!("K8S_POD_NAMESPACE={}", pod.namespace));
                prop_assert!(text.contains(&name) && text.contains(&namespace));
            }
        }
    }
}
