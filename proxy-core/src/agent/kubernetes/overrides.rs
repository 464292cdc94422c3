//! Overrides: what a pod's annotations change of its capture, as Istio's node agent has them. What cannot be read changes nothing, so that
//! never less is captured than without it; and that is said.

use std::collections::BTreeMap;

use redirect::{InterfaceName, InterfaceNameError};

use crate::agent::name::excerpt;

/// Connections to the application go past the proxy. Istio: alpha.
pub(super) const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
/// Whether DNS is captured, whatever is captured elsewhere. Istio: alpha.
pub(super) const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";
/// Interfaces behind which a virtual machine is. Istio: alpha.
pub(super) const VIRTUAL_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";

/// Most interfaces. 64: what an intent takes.
const MOST_INTERFACES: usize = 64;

/// What a pod says of its own capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) bypass_inbound: bool,
    /// None: as elsewhere.
    pub(super) dns: Option<bool>,
    /// Each once, none of them the loopback.
    pub(super) virtual_interfaces: Vec<InterfaceName>,
}

/// What a pod or its namespace says that is not honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// An annotation that says yes or no says something else.
    #[error("annotation {annotation} is not honoured: {value:?} is no boolean")]
    NotBoolean {
        /// Which.
        annotation: &'static str,
        /// The beginning of what it says.
        value: String,
    },
    /// One of the interfaces that are named cannot be one.
    #[error("interface {value:?} in annotation {VIRTUAL_INTERFACES} is not honoured: {reason}")]
    NotInterface {
        /// The beginning of what it says.
        value: String,
        /// Why it cannot be.
        reason: InterfaceNameError,
    },
    /// The proxy's own connections to the application go by the loopback.
    #[error("the loopback interface in annotation {VIRTUAL_INTERFACES} is not honoured")]
    Loopback,
    /// More interfaces are named than are taken.
    #[error(
        "annotation {VIRTUAL_INTERFACES} names {actual} interfaces, of which the first {limit} are honoured"
    )]
    TooManyInterfaces {
        /// How many are taken.
        limit: usize,
        /// How many are named.
        actual: usize,
    },
    /// A pod wants its DNS captured, and nobody answers it.
    #[error(
        "annotation {DNS_CAPTURE} is not honoured: the agent was not told of a port where DNS is answered"
    )]
    NoDns,
    /// The label that says whether a pod is in the mesh says something that nobody knows.
    #[error(
        "label {} {value:?} is neither \"ambient\" nor \"none\": it counts as not there",
        super::facts::MODE
    )]
    Mode {
        /// The beginning of what it says.
        value: String,
    },
}

impl Overrides {
    pub(super) fn parse(annotations: &BTreeMap<String, String>) -> (Self, Vec<Notice>) {
        let mut notices = Vec::new();
        let mut boolean = |annotation: &'static str| {
            let value = annotations.get(annotation)?;
            let parsed = parse_bool(value);
            if parsed.is_none() {
                notices.push(Notice::NotBoolean { annotation, value: excerpt(value) });
            }
            parsed
        };
        let bypass_inbound = boolean(BYPASS_INBOUND).unwrap_or(false);
        let dns = boolean(DNS_CAPTURE);
        let named = annotations.get(VIRTUAL_INTERFACES).map_or("", String::as_str);
        let virtual_interfaces = interfaces(named, &mut notices);
        (Self { bypass_inbound, dns, virtual_interfaces }, notices)
    }
}

/// As Go's `strconv.ParseBool`, by which Istio reads them.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Names between commas; what is empty says nothing.
fn interfaces(text: &str, notices: &mut Vec<Notice>) -> Vec<InterfaceName> {
    let mut interfaces: Vec<InterfaceName> = Vec::new();
    let named = || text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let actual = named().count();
    if actual > MOST_INTERFACES {
        notices.push(Notice::TooManyInterfaces { limit: MOST_INTERFACES, actual });
    }
    for name in named().take(MOST_INTERFACES) {
        match name.parse::<InterfaceName>() {
            Ok(name) if name == InterfaceName::loopback() => notices.push(Notice::Loopback),
            Ok(name) if interfaces.contains(&name) => {}
            Ok(name) => interfaces.push(name),
            Err(reason) => notices.push(Notice::NotInterface { value: excerpt(name), reason }),
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(annotations: &[(&str, &str)]) -> (Overrides, Vec<String>) {
        let annotations = annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let (overrides, notices) = Overrides::parse(&annotations);
        (overrides, notices.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_istio_reads_is_read() {
        for (text, wanted) in [("true", Some(true)), ("T", Some(true)), ("0", Some(false)), ("yes", None)] {
            assert_eq!(parse(&[(DNS_CAPTURE, text)]).0.dns, wanted, "{text}");
            assert_eq!(parse(&[(BYPASS_INBOUND, text)]).0.bypass_inbound, wanted == Some(true), "{text}");
        }
        let (overrides, notices) = parse(&[(VIRTUAL_INTERFACES, " k6t-eth0,, net1 ,net1")]);
        let names: Vec<_> = overrides.virtual_interfaces.iter().map(InterfaceName::as_str).collect();
        assert_eq!((names, notices), (vec!["k6t-eth0", "net1"], vec![]));
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_and_is_said() {
        let long = "é".repeat(100_000);
        let (overrides, notices) = parse(&[(BYPASS_INBOUND, &long), (VIRTUAL_INTERFACES, "lo,eth0\naccept")]);
        assert_eq!(overrides, Overrides::default());
        assert_eq!(notices.len(), 3);
        assert!(notices.iter().all(|notice| notice.chars().count() < 250), "{notices:?}");
        let many = (0..100).map(|number| format!("eth{number}")).collect::<Vec<_>>().join(",");
        let (overrides, notices) = parse(&[(VIRTUAL_INTERFACES, &many)]);
        assert_eq!(overrides.virtual_interfaces.len(), MOST_INTERFACES);
        assert!(notices.concat().contains("names 100 interfaces"), "{notices:?}");
    }

    proptest! {
        #[test]
        fn no_text_lets_more_past_the_proxy(text in "\\PC{0,40}") {
            let (overrides, _) = parse(&[(BYPASS_INBOUND, &text), (VIRTUAL_INTERFACES, &text), (DNS_CAPTURE, &text)]);
            let says_true = ["1", "t", "T", "true", "TRUE", "True"].contains(&text.as_str());
            prop_assert_eq!(overrides.bypass_inbound, says_true);
            prop_assert!(!overrides.virtual_interfaces.contains(&InterfaceName::loopback()));
        }
    }
}
