//! The node's agent: pods are brought where they are wanted, and stay there whoever goes and comes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use inpod_proxy_core::agent::{Captured, Heard, PutError, WaitError, Wanted};
use inpod_proxy_core::{Direction, Node, capture};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_socket, recv, send, socket,
};
use redirect::{Existing, Verdict};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::mesh::{
    APPLICATION, Following, LIMIT, Mesh, NodeAgent, Place, Result, accept, connect, is_cut, listen,
    listening, pair, read_to_end, settings, wait_for, wanted,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_pod_is_captured_once_a_proxy_listens", a_pod_is_captured_once_a_proxy_listens),
        test("a_pod_is_offered_from_when_it_is_put", a_pod_is_offered_from_when_it_is_put),
        test("a_released_pod_lives_on", a_released_pod_lives_on),
        test("a_release_waits_no_longer_than_patience", a_release_waits_no_longer_than_patience),
        test("a_pod_that_is_gone_stays_closed", a_pod_that_is_gone_stays_closed),
        test("rules_that_are_taken_away_come_back", rules_that_are_taken_away_come_back),
        test("the_kernel_tells_what_is_taken_away", the_kernel_tells_what_is_taken_away),
        test("connections_wait_for_the_next_proxy", connections_wait_for_the_next_proxy),
        test("each_proxy_is_told_and_the_newest_counts", each_proxy_is_told_and_the_newest_counts),
        test("a_pod_in_another_namespace_is_enrolled_there", a_pod_in_another_namespace_is_enrolled_there),
        test("an_agent_that_comes_back_breaks_nothing", an_agent_that_comes_back_breaks_nothing),
        test("connections_from_before_are_kept_or_reset", connections_from_before_are_kept_or_reset),
        test("namespaces_of_others_are_refused", namespaces_of_others_are_refused),
        test("a_proxy_that_does_not_answer_is_left", a_proxy_that_does_not_answer_is_left),
        test("a_proxy_that_cannot_listen_is_asked_again", a_proxy_that_cannot_listen_is_asked_again),
        test("pod_files_are_followed", pod_files_are_followed),
        test("bad_pod_files_change_nothing", bad_pod_files_change_nothing),
    ]
}

/// A mesh whose proxy follows the agent.
fn enrolled<const N: usize>(names: [&str; N]) -> Result<(Mesh, Place, NodeAgent, Following, [Pod; N])> {
    let (mesh, pods) = Mesh::of(names)?;
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    pods.iter().try_for_each(|pod| agent.put(pod))?;
    agent.agent.complete();
    let following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    pods.iter().try_for_each(|pod| agent.enrolled(pod))?;
    Ok((mesh, place, agent, following, pods))
}

fn is_captured(mesh: &Mesh, pod: &Pod) -> Result<bool> {
    let plan = capture::plan(&mesh.shared.config)?;
    Ok(capture::verify(pod.namespace(), &plan)? == Verdict::Same)
}

/// All that netfilter and routing have in a pod.
fn state(pod: &Pod) -> Result<String> {
    let mut state = String::new();
    let commands = [
        "nft list ruleset",
        "ip rule",
        "ip -6 rule",
        "ip route show table all",
        "ip -6 route show table all",
    ];
    for command in commands {
        let mut words = command.split(' ');
        let mut command = std::process::Command::new(words.next().unwrap_or_default());
        command.args(words);
        let output = pod.run(|| command.output())??;
        let lines = String::from_utf8(output.stdout)?;
        // What the kernel itself adds and drops with the time.
        lines.lines().filter(|line| !line.contains("fe80::") && !line.contains("ff00::")).for_each(|line| {
            state.push_str(line);
            state.push('\n');
        });
    }
    Ok(state)
}

fn converse(near: &TcpStream, far: &TcpStream) -> Outcome {
    for (mut from, mut to) in [(near, far), (far, near)] {
        from.write_all(b"still there?")?;
        let mut heard = [0; 12];
        to.read_exact(&mut heard)?;
        assert_eq!(&heard, b"still there?");
    }
    Ok(())
}

fn a_pod_is_captured_once_a_proxy_listens() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    agent.put(&client)?;
    agent.put(&server)?;
    agent.agent.complete();
    agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.captured == Captured::No))?;
    let error = agent.enrolled_within("client", Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, WaitError::Proxy { .. }), "{error}");
    assert_eq!(agent.status_of("client").map(|pod| pod.proxy), Some(Heard::NoProxy));
    assert!(!is_captured(&mesh, &client)?);
    assert_eq!(agent.enrolled_within("nobody", Duration::ZERO), Err(WaitError::Unknown));

    let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    for pod in [&client, &server] {
        agent.enrolled(pod)?;
        assert!(is_captured(&mesh, pod)?);
        assert!(listening(pod, 15008)? > 0);
    }
    let status = agent.status_of("client").unwrap();
    assert!(status.is_enrolled() && status.last_error.is_none() && status.failures == 0, "{status:?}");
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    for address in [SocketAddr::from((server.v4(), APPLICATION)), (server.v6(), APPLICATION).into()] {
        assert_eq!(http::request(client.namespace(), address, "/", b"")?.status(), 200);
        assert!(mesh.reports.next(Direction::Outbound, &client)?.tunnel.is_some());
    }
    Ok(())
}

/// If it were a moment later, a proxy that comes in between could be told that there are no pods, and would leave all that it serves.
fn a_pod_is_offered_from_when_it_is_put() -> Outcome {
    let (_mesh, pods) = Mesh::of(["a", "b", "c", "d"])?;
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    for pod in &pods {
        agent.put(pod)?;
        assert_eq!(agent.status_of(pod.name()).map(|pod| pod.proxy), Some(Heard::NoProxy));
    }
    Ok(())
}

fn a_released_pod_lives_on() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let before = [state(&client)?, state(&server)?];
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    let mut following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    for pod in [&client, &server] {
        agent.put(pod)?;
        agent.enrolled(pod)?;
    }
    agent.agent.complete();
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    converse(&near, &far)?;
    agent.agent.release("client");
    agent.agent.release("server");
    agent.wait_for("server", |pod| pod.is_some_and(|pod| matches!(pod.captured, Captured::Draining(1..))))?;
    // New ones are nobody's business, and the captured one goes on.
    assert!(pair(&client, &server, (server.v4(), 8081)).is_ok());
    converse(&near, &far)?;
    following.wait_for(|status| status.serving == 2)?;
    drop((near, far));
    agent.forgotten("client")?;
    agent.forgotten("server")?;
    following.wait_for(|status| status.serving == 0)?;
    assert_eq!([state(&client)?, state(&server)?], before);
    let (near, far) = pair(&client, &server, (server.v4(), 8082))?;
    converse(&near, &far)?;
    assert!(agent.agent.status().pods.is_empty());
    // And back again.
    agent.put(&client)?;
    agent.enrolled(&client)?;
    assert!(is_captured(&mesh, &client)?);
    Ok(())
}

fn a_release_waits_no_longer_than_patience() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let place = Place::new()?;
    let mut settings = inpod_proxy_core::agent::Settings::default();
    settings.patience = Duration::from_millis(300);
    settings.poll = Duration::from_millis(20);
    let agent = NodeAgent::start_with(&place, &settings)?;
    let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    for pod in [&client, &server] {
        agent.put(pod)?;
        agent.enrolled(pod)?;
    }
    agent.agent.complete();
    let (near, _far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    agent.agent.release("client");
    agent.forgotten("client")?;
    assert!(!is_captured(&mesh, &client)?);
    assert!(is_cut(&read_to_end(&near)));
    Ok(())
}

fn a_pod_that_is_gone_stays_closed() -> Outcome {
    let (mesh, _place, agent, mut following, [client, server]) = enrolled(["client", "server"])?;
    agent.agent.gone("client");
    agent.forgotten("client")?;
    following.wait_for(|status| status.serving == 1)?;
    wait_for(|| Ok(listening(&client, 15001)? == 0))?;
    assert!(is_captured(&mesh, &client)?);
    let _application = listen(&server, APPLICATION)?;
    assert!(connect(&client, (server.v4(), APPLICATION)).is_err());
    Ok(())
}

fn rules_that_are_taken_away_come_back() -> Outcome {
    let (mesh, _place, agent, following, [client, server]) = enrolled(["client", "server"])?;
    let plan = capture::plan(&mesh.shared.config)?;
    capture::release(client.namespace(), &plan)?;
    wait_for(|| is_captured(&mesh, &client))?;
    agent.enrolled(&client)?;
    // Also while no proxy is there.
    drop(following);
    agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.proxy == Heard::NoProxy))?;
    capture::release(client.namespace(), &plan)?;
    wait_for(|| is_captured(&mesh, &client))?;
    let _application = listen(&server, APPLICATION)?;
    wait_for(|| Ok(connect(&client, (server.v4(), APPLICATION)).is_err()))?;
    Ok(())
}

/// Rules are not read again by themselves for as long as this test may take.
fn the_kernel_tells_what_is_taken_away() -> Outcome {
    let (mesh, [client]) = Mesh::of(["client"])?;
    let (place, mut settings) = (Place::new()?, settings());
    settings.resync = 10 * LIMIT;
    let agent = NodeAgent::start_with(&place, &settings)?;
    let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    agent.put(&client)?;
    agent.enrolled(&client)?;
    for taking in ["nft delete table inet inpod", "ip rule del table 100", "ip -6 route flush table 100"] {
        let mut words = taking.split(' ');
        let mut command = std::process::Command::new(words.next().unwrap_or_default());
        command.args(words);
        assert!(client.run(|| command.status())??.success(), "{taking}");
        assert!(!is_captured(&mesh, &client)?, "{taking}");
        wait_for(|| is_captured(&mesh, &client)).map_err(|error| format!("{taking}: {error}"))?;
    }
    Ok(())
}

/// Whoever opens a connection while there is no proxy has it once the next one is there.
fn connections_wait_for_the_next_proxy() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let (place, mut settings) = (Place::new()?, settings());
    settings.hold = 10 * LIMIT;
    let agent = NodeAgent::start_with(&place, &settings)?;
    let first = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    for pod in [&client, &server] {
        agent.put(pod)?;
        agent.enrolled(pod)?;
    }
    drop(first);
    agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.proxy == Heard::NoProxy))?;
    for address in [SocketAddr::from((server.v4(), APPLICATION)), (server.v6(), APPLICATION).into()] {
        let application = listen(&server, APPLICATION)?;
        let near = connect(&client, address)?;
        let next = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
        let (far, _) = accept(&application)?;
        converse(&near, &far)?;
        drop(next);
        agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.proxy == Heard::NoProxy))?;
    }
    Ok(())
}

fn each_proxy_is_told_and_the_newest_counts() -> Outcome {
    let (mesh, place, agent, mut first, [client, server]) = enrolled(["client", "server"])?;
    let mut second = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    second.wait_for(|status| status.synced && status.serving == 2)?;
    let third = mesh.lab.pod("third")?;
    agent.put(&third)?;
    agent.enrolled(&third)?;
    for proxy in [&mut first, &mut second] {
        proxy.wait_for(|status| status.serving == 3)?;
    }
    agent.agent.release("third");
    agent.forgotten("third")?;
    for proxy in [&mut first, &mut second] {
        proxy.wait_for(|status| status.serving == 2)?;
    }
    // The newest goes: the one before counts.
    drop(second);
    agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.proxy == Heard::Listening))?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    converse(&near, &far)
}

fn a_pod_in_another_namespace_is_enrolled_there() -> Outcome {
    let (mesh, _place, agent, _following, [client, server]) = enrolled(["client", "server"])?;
    let again = mesh.lab.pod("server")?;
    agent.put(&again)?;
    agent.enrolled(&again)?;
    assert!(is_captured(&mesh, &again)? && listening(&again, 15008)? > 0);
    // What may still run in the old one is not let out.
    assert!(is_captured(&mesh, &server)?);
    wait_for(|| Ok(listening(&server, 15008)? == 0))?;
    drop(client);
    Ok(())
}

fn an_agent_that_comes_back_breaks_nothing() -> Outcome {
    let (mesh, place, agent, mut following, [client, server]) = enrolled(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    let rules = state(&client)?;
    agent.stop();
    following.wait_for(|status| !status.synced)?;
    converse(&near, &far)?;
    // While there is no agent, new connections are made as before.
    let (newer, its_end) = pair(&client, &server, (server.v4(), 8081))?;
    let agent = NodeAgent::start(&place)?;
    agent.put(&client)?;
    agent.enrolled(&client)?;
    converse(&near, &far)?;
    // It has not named all pods: the other one is still served.
    following.wait_for(|status| status.serving == 2)?;
    agent.put(&server)?;
    agent.agent.complete();
    agent.enrolled(&server)?;
    following.wait_for(|status| status.synced && status.serving == 2)?;
    converse(&near, &far)?;
    converse(&newer, &its_end)?;
    assert_eq!(without_counters(&state(&client)?), without_counters(&rules));
    drop(mesh);
    Ok(())
}

fn without_counters(state: &str) -> String {
    let words = state.split_whitespace().map(|word| if word.parse::<u64>().is_ok() { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn connections_from_before_are_kept_or_reset() -> Outcome {
    for existing in [Existing::Keep, Existing::Reset] {
        let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
        let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
        let place = Place::new()?;
        let agent = NodeAgent::start(&place)?;
        let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
        let mut pod = wanted(&client);
        pod.existing = existing;
        agent.put_as(pod)?;
        agent.enrolled(&client)?;
        if existing == Existing::Keep {
            converse(&near, &far)?;
        } else {
            // The pod's own end is told otherwise: inet_diag's SOCK_DESTROY.
            let ended = read_to_end(&near).unwrap_err();
            assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionAborted);
            assert!(is_cut(&read_to_end(&far)));
        }
    }
    Ok(())
}

fn namespaces_of_others_are_refused() -> Outcome {
    let (mesh, _place, agent, following, [client, _server]) = enrolled(["client", "server"])?;
    let mut thief = wanted(&client);
    thief.uid = "thief".into();
    assert_eq!(agent.agent.put(thief), Err(PutError::SharedNamespace { other: "client".into() }));
    let mut node = wanted(&client);
    node.namespace = netns::Namespace::current()?;
    assert_eq!(agent.agent.put(node.clone()), Err(PutError::NodesNamespace));
    assert_eq!(agent.agent.release_pod(node), Err(PutError::NodesNamespace));
    assert_eq!(agent.status_of("client").map(|pod| pod.wanted), Some(Wanted::Enrolled));
    assert!(is_captured(&mesh, &client)?);
    drop(following);
    Ok(())
}

/// Says hello, and nothing more.
fn silent_proxy(place: &Place) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::AsRawFd as _;
    let silent = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect_socket(silent.as_raw_fd(), &UnixAddr::new(&place.zds())?)?;
    send(silent.as_raw_fd(), &[0x08, 0x01], nix::sys::socket::MsgFlags::empty())?;
    Ok(silent)
}

fn a_proxy_that_does_not_answer_is_left() -> Outcome {
    use std::os::fd::AsRawFd as _;
    let (mesh, place, agent, mut following, [_client, _server]) = enrolled(["client", "server"])?;
    let silent = silent_proxy(&place)?;
    agent.wait_for("client", |pod| pod.is_some_and(|pod| pod.proxy == Heard::Asked))?;
    // Others are told meanwhile.
    let third = mesh.lab.pod("third")?;
    agent.put(&third)?;
    following.wait_for(|status| status.serving == 3)?;
    assert!(!is_captured(&mesh, &third)?, "the newest proxy has not answered");
    // One answer too late would be taken for the next request's: the connection ends instead.
    agent.enrolled(&third)?;
    let mut bytes = [0; 2048];
    let mut requests = 0;
    while recv(silent.as_raw_fd(), &mut bytes, nix::sys::socket::MsgFlags::empty())? > 0 {
        requests += 1;
    }
    assert_eq!(requests, 1);
    assert!(is_captured(&mesh, &third)?);
    Ok(())
}

fn a_proxy_that_cannot_listen_is_asked_again() -> Outcome {
    let (mesh, [client]) = Mesh::of(["client"])?;
    let place = Place::new()?;
    let taken = listen(&client, 15006)?;
    let agent = NodeAgent::start(&place)?;
    let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    agent.put(&client)?;
    agent.wait_for("client", |pod| {
        pod.is_some_and(|pod| matches!(&pod.proxy, Heard::Refused(reason) if reason.contains("15006")))
    })?;
    assert!(!is_captured(&mesh, &client)?);
    drop(taken);
    agent.enrolled(&client)?;
    assert!(is_captured(&mesh, &client)?);
    Ok(())
}

fn write_pod(place: &Place, pod: &Pod, more: &str) -> Result<()> {
    let draft = place.pods().join(".draft");
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(pod.namespace()))
    );
    fs::write(&draft, format!("{{name: {}, namespace: test, netns: {path}{more}}}", pod.name()))?;
    Ok(fs::rename(draft, place.pods().join(format!("{}.yaml", pod.name())))?)
}

fn pod_files_are_followed() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    let mut following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    let _folder = agent.follow(&place)?;
    following.wait_for(|status| status.synced)?;
    write_pod(&place, &client, "")?;
    write_pod(&place, &server, "")?;
    following.wait_for(|status| status.serving == 2)?;
    wait_for(|| Ok(is_captured(&mesh, &client)? && is_captured(&mesh, &server)?))?;
    // Out of the mesh by a word, and by the file's end.
    write_pod(&place, &client, ", labels: {istio.io/dataplane-mode: none}")?;
    fs::remove_file(place.pods().join("server.yaml"))?;
    following.wait_for(|status| status.serving == 0)?;
    wait_for(|| Ok(!is_captured(&mesh, &client)? && !is_captured(&mesh, &server)?))?;
    write_pod(&place, &client, "")?;
    wait_for(|| is_captured(&mesh, &client))
}

fn bad_pod_files_change_nothing() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let place = Place::new()?;
    let agent = NodeAgent::start(&place)?;
    let mut following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    let folder = agent.follow(&place)?;
    write_pod(&place, &client, "")?;
    following.wait_for(|status| status.serving == 1)?;
    fs::write(place.pods().join("client.yaml"), "#".repeat(10 << 20))?;
    write_pod(&place, &server, ", netns: /nowhere")?;
    fs::write(place.pods().join("node.yaml"), "{name: node, namespace: test, netns: /proc/self/ns/net}")?;
    wait_for(|| Ok(folder.problems().len() == 3))?;
    let problems = folder.problems();
    for (file, reason) in
        [("client", "more than 65536 bytes"), ("node", "the node's own"), ("server", "netns")]
    {
        assert!(problems.get(file).is_some_and(|problem| problem.contains(reason)), "{problems:?}");
    }
    assert!(is_captured(&mesh, &client)?);
    following.wait_for(|status| status.serving == 1)?;
    // Put right, it is followed.
    write_pod(&place, &server, "")?;
    following.wait_for(|status| status.serving == 2)?;
    fs::remove_file(place.pods().join("client.yaml"))?;
    wait_for(|| Ok(!is_captured(&mesh, &client)?))
}
