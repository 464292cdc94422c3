//! Where a captured connection goes.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use inpod_proxy_core::{ConnectionError, Direction, capture};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};

use crate::mesh::{APPLICATION, Mesh, accept, connect, is_turned_away, listen, pod_name};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_services_address_leads_to_its_endpoint", a_services_address_leads_to_its_endpoint),
        test("a_pod_reaches_itself_through_its_service", a_pod_reaches_itself_through_its_service),
        test("a_pod_reaches_itself_on_its_own_address", a_pod_reaches_itself_on_its_own_address),
        test("what_is_outside_the_mesh_is_reached_directly", what_is_outside_the_mesh_is_reached_directly),
        test("a_service_without_endpoints_is_not_reached", a_service_without_endpoints_is_not_reached),
        test("a_pod_that_nobody_knows_reaches_nobody", a_pod_that_nobody_knows_reaches_nobody),
        test("the_proxys_own_ports_are_no_destination", the_proxys_own_ports_are_no_destination),
    ]
}

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const SERVICE_V6: &str = "fd96::1";

fn service(hostname: &str) -> String {
    format!(
        "services: [{{name: s, namespace: test, hostname: {hostname}, vips: [\"/{SERVICE}\", \"/{SERVICE_V6}\"], \
         ports: {{80: {APPLICATION}}}}}]"
    )
}

fn a_services_address_leads_to_its_endpoint() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    mesh.learn(&service("server.test"))?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    let v6 = SocketAddr::new(SERVICE_V6.parse()?, 80);
    for (to, hop) in [
        (SocketAddr::from((SERVICE, 80)), SocketAddr::from((server.v4(), 15008))),
        (v6, SocketAddr::from((server.v6(), 15008))),
    ] {
        let response = http::request(client.namespace(), to, "/", b"hello")?;
        assert_eq!(response.echo(), Some(&b"hello"[..]));
        let report = mesh.reports.next(Direction::Outbound, &client)?;
        assert_eq!(report.destination, Some(to), "the report says what the application asked for");
        assert_eq!(report.tunnel.map(|hop| hop.socket_addr()), Some(hop));
    }
    assert_eq!(application.peers().len(), 2);
    Ok(())
}

fn a_pod_reaches_itself_through_its_service() -> Outcome {
    let (mesh, _node, [pod]) = Mesh::running(["server"])?;
    mesh.learn(&service("server.test"))?;
    let _application = http::Server::start(pod.namespace(), APPLICATION)?;
    let v6 = SocketAddr::new(SERVICE_V6.parse()?, 80);
    for to in [SocketAddr::from((SERVICE, 80)), v6] {
        assert_eq!(http::request(pod.namespace(), to, "/", b"me")?.echo(), Some(&b"me"[..]));
    }
    Ok(())
}

fn a_pod_reaches_itself_on_its_own_address() -> Outcome {
    let (mesh, _node, [pod]) = Mesh::running(["server"])?;
    let _application = http::Server::start(pod.namespace(), APPLICATION)?;
    for to in [SocketAddr::from((pod.v4(), APPLICATION)), (pod.v6(), APPLICATION).into()] {
        let response = http::request(pod.namespace(), to, "/", b"me")?;
        assert_eq!(response.peer().map(|peer| peer.ip()), Some(to.ip()));
    }
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, APPLICATION));
    assert_eq!(http::request(pod.namespace(), to, "/", b"me")?.echo(), Some(&b"me"[..]));
    assert_eq!(mesh.reports.count(), 0, "what stays in the pod is not captured");
    Ok(())
}

fn what_is_outside_the_mesh_is_reached_directly() -> Outcome {
    let (mesh, _node, [client]) = Mesh::running(["client"])?;
    let outside = mesh.lab.pod("outside")?;
    let application = http::Server::start(outside.namespace(), APPLICATION)?;
    for (to, from) in [
        (SocketAddr::from((outside.v4(), APPLICATION)), client.v4().into()),
        ((outside.v6(), APPLICATION).into(), std::net::IpAddr::from(client.v6())),
    ] {
        let response = http::request(client.namespace(), to, "/", b"hello")?;
        assert_eq!(response.peer().map(|peer| peer.ip()), Some(from));
        let report = mesh.reports.next(Direction::Outbound, &client)?;
        assert!(report.outcome.is_ok() && report.tunnel.is_none() && report.peer.is_none(), "{report:?}");
        assert_eq!(report.destination, Some(to));
    }
    assert_eq!(application.peers().len(), 2);
    Ok(())
}

fn a_service_without_endpoints_is_not_reached() -> Outcome {
    let (mesh, _node, [client]) = Mesh::running(["client"])?;
    mesh.learn(&service("nobody.test"))?;
    assert!(is_turned_away(&connect(&client, (SERVICE, 80))?));
    let report = mesh.reports.next(Direction::Outbound, &client)?;
    assert!(matches!(report.outcome, Err(ConnectionError::NoRoute(_))), "{report:?}");
    Ok(())
}

/// It is served and captured, but the facts do not have it.
fn a_pod_that_nobody_knows_reaches_nobody() -> Outcome {
    let (mesh, mut node, [client, server]) = Mesh::running(["client", "server"])?;
    let unknown = mesh.lab.pod("unknown")?;
    node.add("unknown".into(), pod_name(&unknown), unknown.namespace().clone())?;
    let plan = capture::plan(&mesh.shared.config)?;
    capture::capture(unknown.namespace(), &plan)?;
    let applications = [&server, &unknown].map(|pod| http::Server::start(pod.namespace(), APPLICATION));
    for (from, to) in [(&unknown, &server), (&client, &unknown)] {
        assert!(is_turned_away(&connect(from, (to.v4(), APPLICATION))?), "{} to {}", from.name(), to.name());
    }
    let report = mesh.reports.next(Direction::Outbound, &unknown)?;
    assert!(matches!(report.outcome, Err(ConnectionError::UnknownPod)), "{report:?}");
    for application in applications {
        assert!(application?.peers().is_empty());
    }
    Ok(())
}

/// From a pod of the mesh, from one outside, and from the pod itself: nothing loops, and no application hears of it.
fn the_proxys_own_ports_are_no_destination() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let outsider = mesh.lab.pod("outsider")?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    for from in [&client, &outsider, &server] {
        for port in [15001, 15006] {
            for address in [SocketAddr::from((server.v4(), port)), (server.v6(), port).into()] {
                let mut connection = connect(from, address)?;
                // The proxy may have closed already; what counts is that nothing comes back.
                let _ = connection.write_all(b"GET / HTTP/1.1\r\n\r\n");
                assert!(is_turned_away(&connection), "{} to {address}", from.name());
            }
        }
    }
    assert!(application.peers().is_empty());
    // A loop would not have ended, and each of its turns would have been reported.
    assert!(mesh.reports.count() <= 3 * 4 * 2, "{}", mesh.reports.count());
    let listener = listen(&server, 9999)?;
    let _near = connect(&client, (server.v4(), 9999))?;
    accept(&listener)?;
    Ok(())
}
