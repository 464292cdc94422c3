//! The finder over the kernel's own `/proc`, with pods whose processes are recognised by their number.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};

use inpod_netns::find::{Container, FindError, Finder, PodUid, Recognise};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("find::a_pod_is_found_by_its_uid_and_by_its_addresses", found),
        test("find::a_pod_in_two_namespaces_is_ambiguous", ambiguous),
    ]
}

/// Knows processes by their numbers.
struct Known(BTreeMap<String, Container>);

impl Recognise for Known {
    fn recognise(&self, process: &Path) -> Option<Container> {
        self.0.get(process.file_name()?.to_str()?).cloned()
    }
}

/// A process that is ended with the test.
struct Inhabitant(Child);

impl Drop for Inhabitant {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn inhabitant(pod: &Pod) -> std::io::Result<Inhabitant> {
    pod.spawn(Command::new("sleep").arg("60")).map(Inhabitant)
}

fn container(uid: &str, digit: &str) -> Result<Container, Box<dyn std::error::Error>> {
    Ok(Container { pod: Some(uid.parse()?), id: digit.repeat(64).parse()?, runtime: None })
}

fn found() -> Outcome {
    let lab = Lab::new()?;
    let pods = [lab.pod("one")?, lab.pod("two")?];
    let [one, two] = &pods;
    let inhabitants = [inhabitant(one)?, inhabitant(two)?];
    let mut known = BTreeMap::new();
    for (inhabitant, name) in inhabitants.iter().zip(["a", "b"]) {
        known.insert(inhabitant.0.id().to_string(), container(name, name)?);
    }
    let finder = Finder::new("/proc", Known(known));
    assert_eq!(finder.all()?.len(), 2);
    for (pod, uid) in pods.iter().zip(["a", "b"]) {
        let uid: PodUid = uid.parse()?;
        let by_uid = finder.by_pod_uid(&uid)?.ok_or("not found by its uid")?;
        assert_eq!(by_uid.namespace.id(), pod.namespace().id());
        for address in [pod.v4().into(), pod.v6().into()] {
            let by_address = finder.by_address(address)?.ok_or("not found by its address")?;
            assert_eq!(by_address.container.pod.as_ref(), Some(&uid), "{address}");
        }
    }
    let error = finder.by_address([127, 0, 0, 1].into()).err().ok_or("one of two")?;
    assert!(matches!(error, FindError::Ambiguous { .. }), "both have 127.0.0.1: {error}");
    drop(inhabitants);
    assert!(finder.all()?.is_empty(), "processes that have ended are of no pod");
    Ok(())
}

fn ambiguous() -> Outcome {
    let lab = Lab::new()?;
    let (one, two) = (inhabitant(&lab.pod("one")?)?, inhabitant(&lab.pod("two")?)?);
    let known =
        [(one.0.id().to_string(), container("a", "a")?), (two.0.id().to_string(), container("a", "b")?)];
    let finder = Finder::new("/proc", Known(known.into()));
    let error = finder.by_pod_uid(&"a".parse()?).err().ok_or("one of two")?;
    assert!(matches!(error, FindError::Ambiguous { .. }), "{error}");
    Ok(())
}
