//! The node's side: health probes have an address of their own when they come to captured pods, and nothing else has.

use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use inpod_redirect::{
    ApplyError, Cgroup, Exception, Families, Family, Intent, Mark, Owner, Plan, ProbeAddresses,
    ProbeExemption, Prober, Verdict, apply_with, elements, remove, set_elements, verify, verify_with,
};
use socket2::{Domain, Socket, Type};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::backend::Backend;
use crate::escapes::run;
use crate::scene::{PATIENCE, SOME, Scene, accept, connect, ip, listen, talk, unmarked, wildcard};

/// Its name, and what happens.
type Test = (&'static str, fn(Family) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 5] = [
        ("a_probe_reaches_the_application_of_a_captured_pod", probe),
        ("what_the_node_passes_on_is_no_probe", passed_on),
        ("other_users_are_not_the_prober", other_users),
        ("thousands_of_pods_come_and_go_by_difference", thousands),
        ("nothing_is_left_and_others_stay", removed),
    ];
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (name, body) in tests {
            let case = test(format!("probes::{family}_{name}"), move || body(family));
            cases.push(case.needs_program("nft").needs_program("ip"));
        }
        for (name, body) in [
            ("a_control_group_is_the_prober", by_cgroup as fn(Family) -> Outcome),
            ("a_control_group_is_excepted_from_capture", excepted_cgroup),
        ] {
            let case = test(format!("probes::{family}_{name}"), move || body(family));
            cases.push(case.needs_root().needs_program("curl"));
        }
    }
    cases
}

/// A captured pod and another one, on a node whose network plugin masquerades all that leaves the node's sockets.
fn scene(family: Family) -> Result<Scene, Box<dyn Error>> {
    let scene = Scene::new(Intent::ambient(), family)?;
    let node = scene.lab.node();
    let plugin = "add table inet plugin; \
                  add chain inet plugin postrouting { type nat hook postrouting priority 100; }; \
                  add rule inet plugin postrouting meta l4proto tcp meta skuid 0-4294967294 masquerade";
    let loaded = node.run(|| Command::new("nft").arg(plugin).output())??;
    assert!(loaded.status.success(), "{loaded:?}");
    Ok(scene)
}

fn exempt(scene: &Scene, exemption: &ProbeExemption, pods: &[IpAddr]) -> Outcome {
    let plan = exemption.plan();
    let elements = exemption.pods(pods.iter().copied());
    scene.lab.node().run(|| apply_with(&plan, &elements))??;
    assert_eq!(scene.lab.node().run(|| verify(&plan))??, Verdict::Same);
    assert_eq!(scene.lab.node().run(|| verify_with(&plan, &elements))??, Verdict::Same);
    Ok(())
}

/// A connection that a process of the node makes.
fn from_node(scene: &Scene, to: SocketAddr) -> Result<TcpStream, Box<dyn Error>> {
    let socket = scene.lab.node().run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// What the family has for an address of the node among the pods.
fn node_ip(scene: &Scene) -> IpAddr {
    match scene.family {
        Family::V4 => scene.lab.v4().into(),
        Family::V6 => scene.lab.v6().into(),
    }
}

fn probe(family: Family) -> Outcome {
    let scene = scene(family)?;
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let not_enrolled = listen(&scene.peer, scene.peer_ip(), SOME)?;
    exempt(&scene, &ProbeExemption::ISTIO, &[scene.app_ip()])?;

    let client = from_node(&scene, application.local_addr()?)?;
    let served = accept(&application)?;
    assert_eq!(served.peer_addr()?.ip(), ProbeAddresses::ISTIO.of(family));
    talk(&client, &served)?;
    scene.assert_proxy_idle()?;

    let client = from_node(&scene, not_enrolled.local_addr()?)?;
    let served = accept(&not_enrolled)?;
    assert_eq!(served.peer_addr()?.ip(), node_ip(&scene), "a pod that is not enrolled sees the node");
    talk(&client, &served)
}

/// A peer whose way to the pod leads through the node.
fn passed_on(family: Family) -> Outcome {
    let scene = scene(family)?;
    exempt(&scene, &ProbeExemption::ISTIO, &[scene.app_ip()])?;
    let (flag, length, forward) = match family {
        Family::V4 => ("-4", 32, "/proc/sys/net/ipv4/ip_forward"),
        Family::V6 => ("-6", 128, "/proc/sys/net/ipv6/conf/all/forwarding"),
    };
    scene.lab.node().run(|| std::fs::write(forward, "1"))??;
    let (node, app) = (node_ip(&scene), scene.app_ip());
    run(&scene.peer, &format!("ip {flag} route add {app}/{length} via {node} dev eth0"))?;
    let client = connect(&scene.peer, SocketAddr::new(app, SOME), unmarked)?;
    let captured = accept(&scene.plaintext)?;
    assert_eq!(captured.peer_addr()?.ip(), scene.peer_ip());
    talk(&client, &captured)
}

fn other_users(family: Family) -> Outcome {
    let scene = scene(family)?;
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let by = |users: &str| -> Result<ProbeExemption, Box<dyn Error>> {
        Ok(ProbeExemption { prober: Prober::Users(vec![users.parse()?]), ..ProbeExemption::ISTIO })
    };
    exempt(&scene, &by("12345")?, &[scene.app_ip()])?;
    let _captured = from_node(&scene, application.local_addr()?)?;
    assert_eq!(accept(&scene.plaintext)?.peer_addr()?.ip(), node_ip(&scene));
    // The user of this test, in its user namespace as well.
    exempt(&scene, &by("0")?, &[scene.app_ip()])?;
    let _probe = from_node(&scene, application.local_addr()?)?;
    assert_eq!(accept(&application)?.peer_addr()?.ip(), ProbeAddresses::ISTIO.of(family));
    Ok(())
}

fn thousands(family: Family) -> Outcome {
    let scene = scene(family)?;
    let exemption = ProbeExemption::ISTIO;
    let plan = exemption.plan();
    let other = |number: u16| -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match family {
            Family::V4 => [10, 9, high, low].into(),
            Family::V6 => [0xfd09, 0, 0, 0, 0, 0, 0, number].into(),
        }
    };
    let node = scene.lab.node();
    let not_there = node.run(|| set_elements(&plan, &exemption.pods([scene.app_ip()])))?;
    assert!(matches!(not_there, Err(ApplyError::Rejected { .. })), "{not_there:?}");
    exempt(&scene, &exemption, &[])?;
    for pods in [0..1000, 500..10_000, 0..0, 7..8] {
        let wanted = exemption.pods(pods.map(other).chain([scene.app_ip()]));
        node.run(|| set_elements(&plan, &wanted))??;
        assert_eq!(node.run(|| verify_with(&plan, &wanted))??, Verdict::Same);
        assert_eq!(node.run(|| elements(&plan))??, wanted);
    }
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let _probe = from_node(&scene, application.local_addr()?)?;
    assert_eq!(accept(&application)?.peer_addr()?.ip(), ProbeAddresses::ISTIO.of(family));
    // It is enrolled no more.
    node.run(|| set_elements(&plan, &exemption.pods([])))??;
    let _captured = from_node(&scene, application.local_addr()?)?;
    accept(&scene.plaintext)?;
    Ok(())
}

fn removed(family: Family) -> Outcome {
    let scene = scene(family)?;
    let node = scene.lab.node();
    let list = || -> Result<String, Box<dyn Error>> {
        Ok(String::from_utf8(node.run(|| Command::new("nft").args(["list", "ruleset"]).output())??.stdout)?)
    };
    let before = list()?;
    let families = if family == Family::V4 { Families::V4 } else { Families::V4AndV6 };
    let exemption = ProbeExemption { families, ..ProbeExemption::ISTIO };
    exempt(&scene, &exemption, &[scene.app_ip()])?;
    let with = list()?;
    assert!(with.contains("table inet inpod-host") && with.contains("table inet plugin"), "{with}");
    assert_eq!(with.contains("pods6"), families == Families::V4AndV6, "{with}");
    node.run(|| remove(&exemption.plan()))??;
    assert_eq!(list()?, before);
    Ok(())
}

/// A hierarchy of control groups of the test's own, with one group, and its end.
struct Groups(tempfile::TempDir);

impl Groups {
    fn new(name: &str) -> Result<(Self, Cgroup), Box<dyn Error>> {
        let mount = tempfile::tempdir()?;
        let mounted = Command::new("mount").args(["-t", "cgroup2", "none"]).arg(mount.path()).status()?;
        assert!(mounted.success());
        let groups = Self(mount);
        std::fs::create_dir(groups.0.path().join(name))?;
        let cgroup = Cgroup::find(groups.0.path(), name)?;
        Ok((groups, cgroup))
    }

    /// Runs curl in a namespace, as a process of the group or of none; whether it was answered.
    fn fetch(
        &self,
        namespace: &testkit::netns::Namespace,
        group: Option<&Cgroup>,
        to: SocketAddr,
    ) -> Result<bool, Box<dyn Error>> {
        let join = match group {
            Some(group) => format!("echo $$ > {}/cgroup.procs; ", self.0.path().join(group.path()).display()),
            None => String::new(),
        };
        let line = format!("{join}exec curl -s -m 5 --http0.9 telnet://{to} < /dev/null");
        let output = namespace.run(|| Command::new("sh").args(["-c", &line]).output())??;
        Ok(output.stdout == b"hello")
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let entries = std::fs::read_dir(self.0.path()).into_iter().flatten().flatten();
        for name in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("inpod-test-")) {
            let _ = std::fs::remove_dir(name.path());
        }
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Says hello to whoever comes, and ends.
fn greeter(listener: &TcpListener) -> Result<std::thread::JoinHandle<Vec<IpAddr>>, Box<dyn Error>> {
    let listener = listener.try_clone()?;
    Ok(std::thread::spawn(move || {
        let mut peers = Vec::new();
        while let Ok((mut stream, peer)) = listener.accept() {
            peers.push(peer.ip());
            let _ = std::io::Write::write_all(&mut stream, b"hello");
        }
        peers
    }))
}

fn by_cgroup(family: Family) -> Outcome {
    let scene = scene(family)?;
    let (groups, cgroup) = Groups::new(&format!("inpod-test-prober-{family}"))?;
    let mark = Mark::new(0x10_0000, 0x10_0000)?;
    let prober = Prober::Cgroup { cgroup: cgroup.clone(), mark };
    exempt(&scene, &ProbeExemption { prober, ..ProbeExemption::ISTIO }, &[scene.app_ip()])?;
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let to = application.local_addr()?;
    let greeting = greeter(&application)?;
    assert!(groups.fetch(scene.lab.node(), Some(&cgroup), to)?);
    let _captured = from_node(&scene, to)?;
    accept(&scene.plaintext)?;
    socket2::SockRef::from(&application).shutdown(std::net::Shutdown::Both)?;
    assert_eq!(greeting.join().map_err(|_| "the peer has panicked")?, [ProbeAddresses::ISTIO.of(family)]);
    Ok(())
}

fn excepted_cgroup(family: Family) -> Outcome {
    let scene = Scene::bare(Intent::ambient(), family)?;
    let (groups, cgroup) = Groups::new(&format!("inpod-test-excepted-{family}"))?;
    let excepted = vec![Exception::SentBy(Owner::Cgroup(cgroup.clone()))];
    Backend::Nftables.apply(&scene.app, &Plan::new(&Intent::ambient().with_exceptions(excepted)?))?;
    let far = listen(&scene.peer, wildcard(family), SOME)?;
    let to = SocketAddr::new(ip(&scene.peer, family), SOME);
    let greeting = greeter(&far)?;
    assert!(groups.fetch(scene.app.namespace(), Some(&cgroup), to)?);
    assert!(!greeted(&scene.app, to)?, "it is at the proxy, which says nothing");
    accept(&scene.outbound)?;
    socket2::SockRef::from(&far).shutdown(std::net::Shutdown::Both)?;
    assert_eq!(greeting.join().map_err(|_| "the peer has panicked")?, [scene.app_ip()]);
    Ok(())
}

fn greeted(pod: &Pod, to: SocketAddr) -> Result<bool, Box<dyn Error>> {
    let mut stream = connect(pod, to, unmarked)?;
    stream.set_read_timeout(Some(PATIENCE / 20))?;
    Ok(std::io::Read::read(&mut stream, &mut [0; 8]).is_ok())
}
