//! Enrolment: whether a pod is in the mesh, by Istio's rules. No API server, no kernel, no clock.
//!
//! ```text
//!   ended > on the node's network > of an excluded namespace > the agent's own > from a file > has a sidecar     the first that is so decides
//!   > its own label: ambient, none > its namespace's label: ambient > not in the mesh
//! ```

use redirect::{DnsCapture, Inbound, Intent, IntentError};

use super::facts::{Mode, PodFacts};
use super::overrides::Notice;
use super::settings::Settings;

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Enrolment {
    /// It is in the mesh, and this is captured.
    Member(Box<Intent>),
    /// It is not in the mesh.
    Outside(Outside),
    /// Its containers have ended: there is nothing to capture.
    Ended,
}

/// Why a pod is not in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Outside {
    #[error("it is on its node's network")]
    NodesNetwork,
    #[error("its namespace is excluded")]
    ExcludedNamespace,
    #[error("it is the agent's or the proxy's own")]
    Own,
    #[error("it is from a file on its node")]
    FromFile,
    #[error("it has a sidecar")]
    Sidecar,
    #[error("its label says so")]
    OptedOut,
    #[error("nobody says that it is to be")]
    Unlabelled,
}

/// Decides on a pod by what it says, what its namespace's label says, and the settings; and what of that is not honoured.
///
/// # Errors
/// When the settings and the pod's annotations make no intent: then nothing is known of the pod.
pub(super) fn enrolment(
    pod: &PodFacts,
    namespace: &Mode,
    settings: &Settings,
) -> Result<(Enrolment, Vec<Notice>), IntentError> {
    if pod.ended {
        return Ok((Enrolment::Ended, Vec::new()));
    }
    let mut notices: Vec<Notice> = [&pod.mode, namespace].into_iter().filter_map(unknown).collect();
    if let Some(outside) = outside(pod, namespace, settings) {
        return Ok((Enrolment::Outside(outside), notices));
    }
    notices.extend(pod.notices.iter().cloned());
    let intent = intent(pod, settings, &mut notices)?;
    Ok((Enrolment::Member(Box::new(intent)), notices))
}

/// Whether a pod is out of the mesh that nothing but the settings decides on.
pub(super) fn is_never(settings: &Settings, namespace: &str, name: &str) -> bool {
    let own = |(own_namespace, own_name): &(String, String)| own_namespace == namespace && own_name == name;
    settings.excluded_namespaces.contains(namespace) || settings.own_pods.iter().any(own)
}

fn outside(pod: &PodFacts, namespace: &Mode, settings: &Settings) -> Option<Outside> {
    if pod.host_network {
        return Some(Outside::NodesNetwork);
    }
    if settings.excluded_namespaces.contains(&pod.name.namespace) {
        return Some(Outside::ExcludedNamespace);
    }
    if is_never(settings, &pod.name.namespace, &pod.name.name) {
        return Some(Outside::Own);
    }
    if pod.mirror_of.is_some() {
        return Some(Outside::FromFile);
    }
    if pod.sidecar {
        return Some(Outside::Sidecar);
    }
    match (&pod.mode, namespace) {
        (Mode::Ambient, _) => None,
        (Mode::None, _) => Some(Outside::OptedOut),
        (Mode::Unsaid | Mode::Other(_), Mode::Ambient) => None,
        (Mode::Unsaid | Mode::Other(_), _) => Some(Outside::Unlabelled),
    }
}

fn unknown(mode: &Mode) -> Option<Notice> {
    match mode {
        Mode::Other(value) => Some(Notice::Mode { value: value.clone() }),
        Mode::Unsaid | Mode::Ambient | Mode::None => None,
    }
}

fn intent(pod: &PodFacts, settings: &Settings, notices: &mut Vec<Notice>) -> Result<Intent, IntentError> {
    let overrides = &pod.overrides;
    let mut intent = settings.intent.clone();
    if overrides.bypass_inbound {
        intent = intent.with_inbound(Inbound::Bypassed)?;
    }
    match overrides.dns {
        Some(false) => intent = intent.with_dns(DnsCapture::Off)?,
        Some(true) if intent.dns() == DnsCapture::Off => notices.push(Notice::NoDns),
        Some(true) | None => {}
    }
    if !overrides.virtual_interfaces.is_empty() {
        intent = intent.with_virtual_interfaces(overrides.virtual_interfaces.clone())?;
    }
    Ok(intent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::overrides::Overrides;
    use super::*;
    use crate::workload::PodName;

    fn pod() -> PodFacts {
        PodFacts {
            uid: "1".parse().unwrap(),
            name: PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() },
            node: None,
            mode: Mode::Unsaid,
            host_network: false,
            sidecar: false,
            mirror_of: None,
            ended: false,
            terminating: false,
            addresses: [].into(),
            redirection: None,
            overrides: Overrides::default(),
            notices: Vec::new(),
        }
    }

    fn decided(pod: &PodFacts, namespace: &Mode) -> Enrolment {
        enrolment(pod, namespace, &Settings::new("n1")).unwrap().0
    }

    fn why_not(pod: &PodFacts, namespace: &Mode) -> Option<Outside> {
        match decided(pod, namespace) {
            Enrolment::Outside(outside) => Some(outside),
            Enrolment::Member(_) => None,
            Enrolment::Ended => panic!("it has ended"),
        }
    }

    #[test]
    fn the_pods_label_counts_before_its_namespaces() {
        let other = || Mode::Other("Ambient".into());
        let table = [
            (Mode::Unsaid, Mode::Unsaid, Some(Outside::Unlabelled)),
            (Mode::Unsaid, Mode::Ambient, None),
            (Mode::Unsaid, Mode::None, Some(Outside::Unlabelled)),
            (Mode::Unsaid, other(), Some(Outside::Unlabelled)),
            (Mode::Ambient, Mode::Unsaid, None),
            (Mode::Ambient, Mode::None, None),
            (Mode::None, Mode::Ambient, Some(Outside::OptedOut)),
            (other(), Mode::Ambient, None),
            (other(), Mode::Unsaid, Some(Outside::Unlabelled)),
        ];
        for (mode, namespace, wanted) in table {
            let pod = PodFacts { mode: mode.clone(), ..pod() };
            assert_eq!(why_not(&pod, &namespace), wanted, "{mode:?} in {namespace:?}");
        }
    }

    #[test]
    fn what_keeps_a_pod_out_whatever_its_label_says() {
        let member = || PodFacts { mode: Mode::Ambient, ..pod() };
        let name = |namespace: &str, name: &str| PodName {
            namespace: namespace.into(),
            name: name.into(),
            service_account: "a".into(),
        };
        let table = [
            (PodFacts { host_network: true, ..member() }, Outside::NodesNetwork),
            (PodFacts { name: name("kube-system", "dns"), ..member() }, Outside::ExcludedNamespace),
            (PodFacts { name: name("mesh", "agent-x"), ..member() }, Outside::Own),
            (PodFacts { mirror_of: Some(String::new()), ..member() }, Outside::FromFile),
            (PodFacts { sidecar: true, ..member() }, Outside::Sidecar),
        ];
        let mut settings = Settings::new("n1");
        settings.own_pods.insert(("mesh".into(), "agent-x".into()));
        for (pod, wanted) in table {
            let (decided, _) = enrolment(&pod, &Mode::Ambient, &settings).unwrap();
            assert_eq!(decided, Enrolment::Outside(wanted));
        }
        assert_eq!(decided(&PodFacts { ended: true, ..member() }, &Mode::Ambient), Enrolment::Ended);
        // One that is about to end is in the mesh for as long as it runs.
        assert_eq!(why_not(&PodFacts { terminating: true, ..member() }, &Mode::Unsaid), None);
    }

    #[test]
    fn annotations_change_what_is_captured() {
        let of = |overrides: Overrides, settings: &Settings| {
            let pod = PodFacts { overrides, mode: Mode::Ambient, ..pod() };
            match enrolment(&pod, &Mode::Unsaid, settings).unwrap() {
                (Enrolment::Member(intent), notices) => (*intent, notices),
                other => panic!("{other:?}"),
            }
        };
        let plain = Settings::new("n1");
        let (intent, notices) = of(Overrides { bypass_inbound: true, ..Overrides::default() }, &plain);
        assert_eq!((intent.inbound(), notices), (Inbound::Bypassed, vec![]));
        let (intent, notices) = of(Overrides { dns: Some(true), ..Overrides::default() }, &plain);
        assert_eq!((intent, notices), (Intent::ambient(), vec![Notice::NoDns]));
        let port = DnsCapture::To(15053.try_into().unwrap());
        let with_dns = Settings { intent: Intent::ambient().with_dns(port).unwrap(), ..plain.clone() };
        for (dns, wanted) in [(None, port), (Some(true), port), (Some(false), DnsCapture::Off)] {
            assert_eq!(of(Overrides { dns, ..Overrides::default() }, &with_dns).0.dns(), wanted);
        }
        let virtual_interfaces = vec!["k6t-eth0".parse().unwrap()];
        let (intent, _) = of(Overrides { virtual_interfaces, ..Overrides::default() }, &plain);
        assert_eq!(intent.virtual_interfaces().len(), 1);
    }

    #[test]
    fn a_label_that_nobody_knows_is_said() {
        let pod = PodFacts { mode: Mode::Other("on".into()), ..pod() };
        let (_, notices) = enrolment(&pod, &Mode::Ambient, &Settings::new("n1")).unwrap();
        let said: Vec<String> = notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "label istio.io/dataplane-mode \"on\" is neither \"ambient\" nor \"none\": it counts as not there"
            ]
        );
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![
            Just(Mode::Unsaid),
            Just(Mode::Ambient),
            Just(Mode::None),
            "[a-z]{0,8}".prop_map(Mode::Other)
        ]
    }

    proptest! {
        /// Istio's two default selectors, and what overrules them.
        #[test]
        fn a_member_is_whom_one_of_istios_selectors_selects(
            own in mode(), namespace in mode(), host_network: bool, sidecar: bool, excluded: bool, terminating: bool,
        ) {
            let mut settings = Settings::new("n1");
            if excluded {
                settings.excluded_namespaces.insert("shop".into());
            }
            let selected = own == Mode::Ambient || (namespace == Mode::Ambient && own != Mode::None);
            let pod = PodFacts { mode: own, host_network, sidecar, terminating, ..pod() };
            let (decided, _) = enrolment(&pod, &namespace, &settings).unwrap();
            let wanted = selected && !host_network && !sidecar && !excluded;
            prop_assert_eq!(matches!(decided, Enrolment::Member(_)), wanted);
        }
    }
}
