//! From start to end: ready when its pods are served, facts that change under it, and an end that cuts nobody short.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Lab;

use crate::mesh::{
    ADMIN, APPLICATION, Family, Files, LIMIT, Member, Mesh, Result, listening, pods, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("it_is_ready_once_the_agents_pods_are_served", it_is_ready_once_the_agents_pods_are_served),
        test("connections_are_counted", connections_are_counted),
        test("sighup_reads_the_workloads_again", sighup_reads_the_workloads_again),
        test("sigterm_lets_connections_end", sigterm_lets_connections_end),
        test("a_second_sigterm_ends_it_at_once", a_second_sigterm_ends_it_at_once),
        test("two_run_side_by_side_for_a_hand_over", two_run_side_by_side_for_a_hand_over),
    ]
}

fn it_is_ready_once_the_agents_pods_are_served() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let mut mesh = Mesh::start_with(lab.node(), Files::new(&[&client, &server])?)?;
    mesh.wait_for_status(503)?;
    mesh.agent.add(&client)?;
    assert_eq!(mesh.status()?, 503, "the agent has not named all its pods");
    let taken = server.namespace.run(|| TcpListener::bind(("::", 15006)))??;
    assert!(mesh.agent.add(&server).is_err());
    mesh.agent.snapshot_sent()?;
    assert_eq!(mesh.status()?, 503, "a pod is not served");
    let state = http::request(lab.node(), ADMIN, "/", b"")?;
    let state = String::from_utf8_lossy(state.body()).into_owned();
    assert_eq!(state, "synced true\npods serving 1\npods pending 1\nworkloads known 2\n");
    drop(taken);
    mesh.wait_for_status(200)
}

fn connections_are_counted() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let mesh = Mesh::start(lab.node(), &[&client, &server])?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    let closed = |direction: &str, outcome: &str| {
        let labels = format!("direction=\"{direction}\",outcome=\"{outcome}\"");
        mesh.metric(&format!("inpod_connections_closed_total{{{labels}}}"))
    };
    assert_eq!((closed("outbound", "ok")?, closed("inbound", "ok")?), (0, 0));
    for _ in 0..3 {
        http::request(&client.namespace, server.at(Family::V4, APPLICATION), "/", b"hello")?;
    }
    wait_for("counts", || Ok((closed("outbound", "ok")?, closed("inbound", "ok")?) == (3, 3)))?;
    assert!(http::request(&client.namespace, server.at(Family::V4, 9), "/", b"hello").is_err());
    wait_for("failures", || Ok((closed("outbound", "failed")?, closed("inbound", "failed")?) == (1, 1)))?;
    assert!(mesh.metric("inpod_bytes_total{direction=\"outbound\",flow=\"sent\"}")? > 15);
    Ok(())
}

fn sighup_reads_the_workloads_again() -> Outcome {
    const STRICT: &str = "policies: [{name: strict, namespace: test, scope: Namespace, action: Deny, \
                          rules: [[[{notPrincipals: [Presence: []]}]]]}]";
    let lab = Lab::new()?;
    let [client, server, outsider] = pods(&lab, ["client", "server", "outsider"])?;
    let mesh = Mesh::start(lab.node(), &[&client, &server])?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    let reaches = |from: &Member| {
        http::request(&from.namespace, server.at(Family::V4, APPLICATION), "/", b"hello").is_ok()
    };
    assert!(reaches(&outsider) && reaches(&client));

    mesh.files.write_workloads(STRICT)?;
    mesh.proxy.signal(Signal::SIGHUP)?;
    wait_for("strict policy", || Ok(!reaches(&outsider)))?;
    assert!(reaches(&client));

    fs::write(mesh.files.workloads(), "policies: [")?;
    mesh.proxy.signal(Signal::SIGHUP)?;
    wait_for("an error in the log", || Ok(mesh.proxy.log()?.contains("facts kept")))?;
    assert!(!reaches(&outsider), "a bad file does not open what was closed");
    assert!(reaches(&client));

    mesh.files.write_workloads("")?;
    mesh.proxy.signal(Signal::SIGHUP)?;
    wait_for("policy gone", || Ok(reaches(&outsider)))
}

/// Both ends of a connection.
pub(crate) fn pair(client: &Member, server: &Member) -> Result<(TcpStream, TcpStream)> {
    let address = server.at(Family::V4, APPLICATION);
    let listener = server.namespace.run(|| TcpListener::bind(address))??;
    let near = client.namespace.run(|| TcpStream::connect_timeout(&address, LIMIT))??;
    near.set_read_timeout(Some(LIMIT))?;
    let far = accept(&listener)?;
    far.set_read_timeout(Some(LIMIT))?;
    Ok((near, far))
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let accepted = Cell::new(None);
    wait_for("a connection to the application", || match listener.accept() {
        Ok((stream, _)) => {
            accepted.set(Some(stream));
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    })?;
    let stream = accepted.take().ok_or("accepted")?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

pub(crate) fn converse(mut near: &TcpStream, mut far: &TcpStream) -> Outcome {
    near.write_all(b"still there?")?;
    let mut heard = [0; 12];
    far.read_exact(&mut heard)?;
    assert_eq!(&heard, b"still there?");
    Ok(())
}

fn sigterm_lets_connections_end() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let mut mesh = Mesh::start(lab.node(), &[&client, &server])?;
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)?;
    mesh.proxy.signal(Signal::SIGTERM)?;
    wait_for("no listener", || Ok(listening(&server.namespace, 15008)? == 0))?;
    converse(&near, &far)?;
    assert!(mesh.proxy.runs()?, "it waits for the connection");
    drop((near, far));
    let status = mesh.proxy.wait()?;
    assert_eq!(status.code(), Some(0), "{}", mesh.proxy.log()?);
    Ok(())
}

fn a_second_sigterm_ends_it_at_once() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let mut mesh = Mesh::start(lab.node(), &[&client, &server])?;
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)?;
    mesh.proxy.signal(Signal::SIGTERM)?;
    wait_for("no listener", || Ok(listening(&server.namespace, 15008)? == 0))?;
    mesh.proxy.signal(Signal::SIGTERM)?;
    let status = mesh.proxy.wait()?;
    assert_eq!(status.code(), Some(1), "connections were cut");
    Ok(())
}

/// Two processes; the old one ends as it would in an upgrade, and no request fails.
fn two_run_side_by_side_for_a_hand_over() -> Outcome {
    let (lab, other_node) = (Lab::new()?, Lab::new()?);
    let [client, server] = pods(&lab, ["client", "server"])?;
    let members = [&client, &server];
    let mut old = Mesh::start(lab.node(), &members)?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    let ask = || http::request(&client.namespace, server.at(Family::V4, APPLICATION), "/", b"hello");
    ask()?;
    // One CA, as both would be given in a cluster.
    let files = Files::new(&members)?;
    fs::copy(old.files.ca_cert(), files.ca_cert())?;
    fs::copy(old.files.ca_key(), files.ca_key())?;
    let mut new = Mesh::start_with(other_node.node(), files)?;
    new.enrol(&members)?;
    for _ in 0..20 {
        ask()?;
    }
    old.proxy.signal(Signal::SIGTERM)?;
    while old.proxy.runs()? {
        ask()?;
    }
    assert_eq!(old.proxy.wait()?.code(), Some(0), "{}", old.proxy.log()?);
    for _ in 0..20 {
        ask()?;
    }
    Ok(())
}
