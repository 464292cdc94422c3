//! The program behind Debian's bridge plugin, run as a container runtime runs it.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use cni_plugin::message::Answer;
use cni_plugin::server::Limits;
use serde_json::{Value, json};
use testkit::cni::{CniError, Container, Network};
use testkit::kernel::{Case, Outcome, test};
use testkit::netns::Namespace;

use crate::agent::{Agent, Asked, Does};

/// Where Debian has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Its name, and what happens.
type Test = (&'static str, fn() -> Outcome);

pub(crate) fn cases() -> Vec<Case> {
    let tests: [Test; 9] = [
        ("an_add_hands_the_pod_to_the_agent", an_add_hands_the_pod_to_the_agent),
        ("every_version_passes_the_result_on", every_version_passes_the_result_on),
        ("a_pod_that_is_not_ours_starts", a_pod_that_is_not_ours_starts),
        ("without_an_agent_no_pod_starts_and_each_can_go", without_an_agent),
        ("an_agent_that_gives_no_answer_keeps_pods_from_starting", no_answer),
        ("an_agent_that_answers_nonsense_keeps_pods_from_starting", nonsense),
        ("a_refusal_reaches_the_runtime", a_refusal_reaches_the_runtime),
        ("a_check_and_a_gc_reach_the_agent", a_check_and_a_gc_reach_the_agent),
        ("a_status_tells_of_the_agent", a_status_tells_of_the_agent),
    ];
    let case = |(name, body)| test(format!("chain::{name}"), body).needs_path(format!("{PLUGINS}/bridge"));
    tests.into_iter().map(case).collect()
}

/// A node whose network is Debian's bridge plugin and ours, and a pod that is not attached yet.
struct Scene {
    node: Namespace,
    pod: Namespace,
    addresses: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        Ok(Self { node: Namespace::create()?, pod: Namespace::create()?, addresses: tempfile::tempdir()? })
    }

    fn network(&self, socket: &Path) -> Result<Network> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_inpod-cni"));
        let own = program.parent().ok_or("no folder")?.to_owned();
        let ipam = json!({
            "type": "host-local",
            "dataDir": self.addresses.path(),
            "ranges": [[{ "subnet": "10.88.0.0/16" }], [{ "subnet": "fd88::/64" }]],
        });
        let network = Network::new("pods", [own, PLUGINS.into()])?;
        let bridge = json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam });
        let ours = json!({ "type": "inpod-cni", "agentSocket": socket, "answerLimitSeconds": 5 });
        Ok(network.plugin(bridge).plugin(ours))
    }

    fn container(&self) -> Container<'_> {
        Container {
            id: "c1",
            namespace: &self.pod,
            interface: "eth0",
            arguments: &[
                ("IgnoreUnknown", "1"),
                ("K8S_POD_NAMESPACE", "shop"),
                ("K8S_POD_NAME", "web-0"),
                ("K8S_POD_UID", "5d0f"),
                ("K8S_POD_INFRA_CONTAINER_ID", "c1"),
            ],
        }
    }

    /// Nothing is left of an attachment: no interface in the pod, no address taken.
    fn assert_detached(&self) -> Outcome {
        let interfaces = self.pod.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        assert!(!interfaces.contains("eth0"), "{interfaces}");
        let network = self.addresses.path().join("pods");
        let taken: Vec<_> =
            fs::read_dir(network)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let taken: Vec<_> = taken.into_iter().flatten().filter(|name| name != "lock").collect();
        assert!(taken.iter().all(|name| name.to_string_lossy().starts_with("last_reserved")), "{taken:?}");
        Ok(())
    }

    /// An ADD that fails, and the number that our plugin gives.
    fn fails(&self, socket: &Path) -> Result<u64> {
        let container = self.container();
        let failed = self.network(socket)?.add(&self.node, &container).err().ok_or("the pod starts")?;
        self.assert_detached()?;
        code(&failed)
    }
}

/// The number in our plugin's error object.
fn code(error: &CniError) -> Result<u64> {
    match error {
        CniError::Failed { plugin, error } if plugin == "inpod-cni" => {
            Ok(error.get("code").and_then(Value::as_u64).ok_or("no code")?)
        }
        other => Err(other.to_string().into()),
    }
}

fn an_add_hands_the_pod_to_the_agent() -> Outcome {
    let scene = Scene::new()?;
    let agent = Agent::done(&scene.node)?;
    let (network, container) = (scene.network(&agent.socket())?, scene.container());
    let attachment = network.add(&scene.node, &container)?;
    let Some(Asked::Add(present)) = agent.asked() else { return Err("no ADD".into()) };
    assert_eq!(present.namespace.id(), scene.pod.id());
    let placed = &present.placed;
    assert_eq!(placed.attachment.to_string(), "eth0 of c1");
    let pod = placed.pod.as_ref().ok_or("no pod")?;
    assert_eq!(
        (pod.to_string().as_str(), pod.uid.as_ref().map(|uid| uid.as_str())),
        ("shop/web-0", Some("5d0f"))
    );
    assert_eq!(placed.addresses, attachment.addresses());
    assert_eq!(placed.addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    network.del(&scene.node, &container, &attachment)?;
    let Some(Asked::Del(leaving)) = agent.asked() else { return Err("no DEL".into()) };
    assert_eq!((leaving.attachment, leaving.pod), (placed.attachment.clone(), placed.pod.clone()));
    network.del(&scene.node, &container, &attachment)?;
    scene.assert_detached()
}

fn every_version_passes_the_result_on() -> Outcome {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let scene = Scene::new()?;
        let agent = Agent::done(&scene.node)?;
        let (network, container) = (scene.network(&agent.socket())?.version(version), scene.container());
        let attachment = match network.add(&scene.node, &container) {
            Ok(attachment) => attachment,
            // Debian's plugins are of before 1.1.0 in its older releases; ours is asked by itself then.
            Err(CniError::Failed { plugin, .. }) if plugin == "bridge" && version == "1.1.0" => continue,
            Err(error) => return Err(error.into()),
        };
        let [bridges, ours] = attachment.texts() else { return Err("two results".into()) };
        assert_eq!(bridges.trim(), ours);
        assert_eq!(attachment.result().get("cniVersion"), Some(&json!(version)));
        network.del(&scene.node, &container, &attachment)?;
    }
    Ok(())
}

fn a_pod_that_is_not_ours_starts() -> Outcome {
    let scene = Scene::new()?;
    let agent = Agent::start(&scene.node, Does::Answers(Answer::NotOurs), Limits::default())?;
    let attachment = scene.network(&agent.socket())?.add(&scene.node, &scene.container())?;
    assert_eq!(attachment.addresses().len(), 2);
    Ok(())
}

fn without_an_agent() -> Outcome {
    let scene = Scene::new()?;
    let agent = Agent::done(&scene.node)?;
    let socket = agent.socket();
    let (network, container) = (scene.network(&socket)?, scene.container());
    let attachment = network.add(&scene.node, &container)?;
    drop(agent);
    let check = network.check(&scene.node, &container, &attachment).err().ok_or("it is checked")?;
    assert_eq!(code(&check)?, 100);
    network.del(&scene.node, &container, &attachment)?;
    scene.assert_detached()?;
    assert_eq!(scene.fails(&socket)?, 100);
    assert_eq!(scene.fails(Path::new("/nowhere/agent.sock"))?, 100);
    Ok(())
}

/// One that accepts and is silent, one that does not even accept, one whose handler fails, and one whose handler is too slow.
fn no_answer() -> Outcome {
    let scene = Scene::new()?;
    let place = tempfile::tempdir()?;
    let silent = place.path().join("silent");
    let _listener = UnixListener::bind(&silent)?;
    assert_eq!(scene.fails(&silent)?, 101);
    let panics = Agent::start(&scene.node, Does::Panics, Limits::default())?;
    assert_eq!(scene.fails(&panics.socket())?, 101);
    let limits = Limits { handling: std::time::Duration::from_millis(50), ..Limits::default() };
    let slow = Agent::start(&scene.node, Does::NeverAnswers, limits)?;
    assert_eq!(scene.fails(&slow.socket())?, 11);
    Ok(())
}

fn nonsense() -> Outcome {
    let scene = Scene::new()?;
    let place = tempfile::tempdir()?;
    let answers: [(&[u8], u64); 6] = [
        (b"", 101),
        (b"yes", 102),
        (br#"{"version":2,"message":"done"}"#, 102),
        (br#"{"version":1,"message":"don"#, 102),
        (br#"{"version":1,"message":"done"}{"version":1,"message":"done"}"#, 102),
        (&[b' '; 100_000], 102),
    ];
    for (number, (answer, expected)) in answers.into_iter().enumerate() {
        let socket = place.path().join(number.to_string());
        let listener = UnixListener::bind(&socket)?;
        // An ADD, and the DEL that undoes it.
        let agent = thread::spawn(move || {
            for stream in listener.incoming().take(2).flatten() {
                // The plugin may have heard enough.
                let _ = (&stream).write_all(answer);
                // What it says is read, so that closing does not break what it has not heard yet.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            }
        });
        assert_eq!(scene.fails(&socket)?, expected, "{}", String::from_utf8_lossy(answer));
        agent.join().map_err(|_| "the agent")?;
    }
    Ok(())
}

fn a_refusal_reaches_the_runtime() -> Outcome {
    let scene = Scene::new()?;
    let refuses = Does::Answers(Answer::refused("no\u{1b}[2J identity"));
    let agent = Agent::start(&scene.node, refuses, Limits::default())?;
    let container = scene.container();
    let failed =
        scene.network(&agent.socket())?.add(&scene.node, &container).err().ok_or("the pod starts")?;
    assert_eq!(code(&failed)?, 103);
    let CniError::Failed { error, .. } = failed else { return Err("failed".into()) };
    assert_eq!(error.get("msg"), Some(&json!("the node agent refuses: no\\u{1b}[2J identity")));
    scene.assert_detached()
}

fn a_check_and_a_gc_reach_the_agent() -> Outcome {
    let scene = Scene::new()?;
    let agent = Agent::done(&scene.node)?;
    let network = scene.network(&agent.socket())?;
    let container = scene.container();
    let attachment = network.add(&scene.node, &container)?;
    agent.asked();
    network.check(&scene.node, &container, &attachment)?;
    let Some(Asked::Check(present)) = agent.asked() else { return Err("no CHECK".into()) };
    assert_eq!(present.namespace.id(), scene.pod.id());
    let newest = scene.network(&agent.socket())?.version("1.1.0");
    assert_eq!(newest.ask("GC", &scene.node, "inpod-cni", &[&container])?, "");
    let Some(Asked::Gc(valid)) = agent.asked() else { return Err("no GC".into()) };
    assert_eq!(valid.attachments, [present.placed.attachment]);
    Ok(())
}

fn a_status_tells_of_the_agent() -> Outcome {
    let scene = Scene::new()?;
    let agent = Agent::done(&scene.node)?;
    let network = scene.network(&agent.socket())?.version("1.1.0");
    assert_eq!(network.ask("STATUS", &scene.node, "inpod-cni", &[])?, "");
    assert!(matches!(agent.asked(), Some(Asked::Status)));
    let versions = network.ask("VERSION", &scene.node, "inpod-cni", &[])?;
    assert_eq!(versions, r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}"#);
    drop(agent);
    let failed = network.ask("STATUS", &scene.node, "inpod-cni", &[]).err().ok_or("it is well")?;
    assert_eq!(code(&failed)?, 50);
    Ok(())
}
