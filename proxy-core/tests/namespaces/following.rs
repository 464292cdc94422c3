//! What an agent says over ZDS, and what the proxy then serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use inpod_proxy_core::zds::agent::RequestError;
use inpod_proxy_core::{ConnectionError, Direction, Node};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::mesh::{
    APPLICATION, Agent, Following, LIMIT, LISTENERS, Mesh, Result, connect, is_cut, listening, pair,
    read_to_end,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("pods_that_an_agent_hands_over_are_served", pods_that_an_agent_hands_over_are_served),
        test("a_deleted_pod_is_served_no_more", a_deleted_pod_is_served_no_more),
        test("a_pod_added_twice_is_served_once", a_pod_added_twice_is_served_once),
        test("a_pod_in_a_new_namespace_moves", a_pod_in_a_new_namespace_moves),
        test("a_pod_in_the_proxys_own_namespace_is_refused", a_pod_in_the_proxys_own_namespace_is_refused),
        test("a_port_in_use_is_named_and_tried_again", a_port_in_use_is_named_and_tried_again),
        test("an_agent_that_comes_back_finds_its_pods", an_agent_that_comes_back_finds_its_pods),
        test("what_a_snapshot_does_not_name_is_stopped", what_a_snapshot_does_not_name_is_stopped),
    ]
}

/// A mesh whose proxy follows an agent that has named all pods.
fn followed<const N: usize>(names: [&str; N]) -> Result<(Mesh, Agent, Following, [Pod; N])> {
    let (mesh, pods) = Mesh::of(names)?;
    let mut agent = Agent::start()?;
    let mut following = Following::start(Node::new(mesh.shared.clone())?, &agent.path())?;
    agent.accept()?;
    for pod in &pods {
        agent.add(pod)?;
    }
    agent.snapshot_sent()?;
    following.wait_for(|status| status.synced && status.serving == N && status.pending == 0)?;
    mesh.capture()?;
    Ok((mesh, agent, following, pods))
}

/// Waits until the pod has the listeners of so many proxies.
fn wait_for_listeners(pod: &Pod, proxies: usize) -> Outcome {
    let wanted = LISTENERS.map(|(_, each)| proxies * each);
    let end = Instant::now() + LIMIT;
    loop {
        let found = LISTENERS.map(|(port, _)| listening(pod, port));
        let [outbound, plaintext, hbone] = found;
        let found = [outbound?, plaintext?, hbone?];
        if found == wanted {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{} has {found:?} listeners, not {wanted:?}", pod.name()).into());
        }
        // Nothing tells when a listener of another thread is closed.
        sleep(Duration::from_millis(5));
    }
}

/// Sends a line through and back.
fn converse(near: &TcpStream, far: &TcpStream) -> Outcome {
    for (mut from, mut to) in [(near, far), (far, near)] {
        from.write_all(b"still there?")?;
        let mut heard = [0; 12];
        to.read_exact(&mut heard)?;
        assert_eq!(&heard, b"still there?");
    }
    Ok(())
}

fn pods_that_an_agent_hands_over_are_served() -> Outcome {
    let (mesh, _agent, following, [client, server]) = followed(["client", "server"])?;
    wait_for_listeners(&client, 1)?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    assert_eq!(http::request(client.namespace(), address, "/", b"")?.status(), 200);
    assert!(mesh.reports.next(Direction::Outbound, &client)?.tunnel.is_some());
    drop(following);
    wait_for_listeners(&client, 0)
}

fn a_deleted_pod_is_served_no_more() -> Outcome {
    let (mesh, mut agent, mut following, [client, server]) = followed(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    converse(&near, &far)?;
    agent.delete(server.name())?;
    wait_for_listeners(&server, 0)?;
    following.wait_for(|status| status.serving == 1)?;
    assert!(is_cut(&read_to_end(&far)), "a connection that is cut does not look complete");
    assert!(is_cut(&read_to_end(&near)));
    let report = mesh.reports.next(Direction::Inbound, &server)?;
    assert!(matches!(report.outcome, Err(ConnectionError::Cut)), "{report:?}");
    agent.delete(server.name())?;
    agent.delete("nobody")?;
    // It comes back as it was.
    agent.add(&server)?;
    let (near, far) = pair(&client, &server, (server.v4(), 8081))?;
    converse(&near, &far)
}

fn a_pod_added_twice_is_served_once() -> Outcome {
    let (_mesh, mut agent, following, [client, server]) = followed(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    agent.add(&server)?;
    agent.add(&client)?;
    wait_for_listeners(&server, 1)?;
    wait_for_listeners(&client, 1)?;
    converse(&near, &far)?;
    drop(following);
    wait_for_listeners(&server, 0)
}

fn a_pod_in_a_new_namespace_moves() -> Outcome {
    let (mesh, mut agent, _following, [client, server]) = followed(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    converse(&near, &far)?;
    // The same pod, restarted: a new sandbox has a new namespace.
    let again = mesh.lab.pod("server")?;
    agent.add(&again)?;
    wait_for_listeners(&again, 1)?;
    wait_for_listeners(&server, 0)?;
    assert!(is_cut(&read_to_end(&near)));
    Ok(())
}

fn a_pod_in_the_proxys_own_namespace_is_refused() -> Outcome {
    let (mesh, _) = Mesh::of([])?;
    let mut node = Node::new(mesh.shared.clone())?;
    let own = netns::Namespace::current()?;
    let pod = mesh.lab.pod("pod")?;
    let error = node.add("uid".into(), crate::mesh::pod_name(&pod), own).err().ok_or("it was added")?;
    assert_eq!(error.to_string(), "the namespace is the proxy's own");
    assert_eq!(node.pods().count(), 0);
    Ok(())
}

fn a_port_in_use_is_named_and_tried_again() -> Outcome {
    let (mesh, mut agent, mut following, [client]) = followed(["client"])?;
    let pod = mesh.lab.pod("busy")?;
    let taken = pod.run(|| TcpListener::bind(("::", 15006)))??;
    match agent.add(&pod) {
        Err(RequestError::Refused(reason)) => assert!(reason.contains("15006"), "{reason}"),
        other => return Err(format!("{other:?}").into()),
    }
    following.wait_for(|status| status.pending == 1 && status.serving == 1)?;
    for port in [15001, 15008] {
        assert_eq!(listening(&pod, port)?, 0, "all three or none");
    }
    wait_for_listeners(&client, 1)?;
    drop(taken);
    following.wait_for(|status| status.pending == 0 && status.serving == 2)?;
    wait_for_listeners(&pod, 1)
}

fn an_agent_that_comes_back_finds_its_pods() -> Outcome {
    let (_mesh, mut agent, mut following, [client, server]) = followed(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    agent.accept()?;
    following.wait_for(|status| !status.synced)?;
    converse(&near, &far)?;
    // One is handed over again, the other's namespace is lost to the agent.
    agent.add(&client)?;
    agent.keep(server.name())?;
    agent.snapshot_sent()?;
    following.wait_for(|status| status.synced && status.serving == 2)?;
    converse(&near, &far)?;
    wait_for_listeners(&client, 1)?;
    wait_for_listeners(&server, 1)
}

fn what_a_snapshot_does_not_name_is_stopped() -> Outcome {
    let (_mesh, mut agent, mut following, [client, server, gone]) = followed(["client", "server", "gone"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    let (lost, _far) = pair(&gone, &server, (server.v4(), 8081))?;
    agent.accept()?;
    agent.keep(client.name())?;
    agent.keep(server.name())?;
    wait_for_listeners(&gone, 1)?;
    agent.snapshot_sent()?;
    following.wait_for(|status| status.serving == 2)?;
    wait_for_listeners(&gone, 0)?;
    assert!(is_cut(&read_to_end(&lost)));
    converse(&near, &far)?;
    // Its rules are still there: it gets nowhere, rather than past the proxy.
    assert!(connect(&gone, (server.v4(), APPLICATION)).is_err());
    Ok(())
}
