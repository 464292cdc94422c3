//! What really happens to packets: plain sockets in pods on a bridge, one of them captured.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use inpod_redirect::{
    DnsCapture, Exception, Families, Family, Inbound, Intent, InterfaceName, Plan, Port, ProbeAddresses,
    apply,
};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::INTERFACE;

use crate::scene::{
    HBONE, MARK, OUTBOUND, PATIENCE, SOME, Scene, accept, ask, connect, deliver, listen, marked,
    original_destination, talk, udp, unmarked, wildcard,
};

/// Its name, what is captured, and what happens then.
type Test = (&'static str, fn() -> Intent, fn(Scene) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let ambient = Intent::ambient;
    let tests: Vec<Test> = vec![
        ("outbound_goes_to_the_proxy_with_its_destination", ambient, outbound),
        ("what_the_proxy_sends_leaves", ambient, proxy_sends),
        ("inbound_goes_to_the_proxy_with_its_destination", ambient, inbound),
        ("a_tunnel_is_not_redirected", ambient, tunnel),
        ("the_pod_speaks_to_itself", ambient, itself),
        ("a_reply_to_a_foreign_address_finds_the_proxy", ambient, reply),
        ("a_captured_connection_survives_another_plan", ambient, survives),
        ("without_a_proxy_connections_fail", ambient, fails_closed),
        ("one_port_of_a_client_to_two_ports_waits", ambient, one_port_to_two),
        ("ingress_inbound_is_not_captured", ingress, ingress_inbound),
        ("ingress_a_reply_still_finds_the_proxy", ingress, reply),
        ("ingress_outbound_is_captured", ingress, outbound),
        ("what_comes_by_a_virtual_interface_counts_as_outbound", virtual_interface, behind_interface),
        ("dns_over_udp_goes_to_the_dns_proxy", with_dns, dns_udp),
        ("dns_over_tcp_goes_to_the_dns_proxy", with_dns, dns_tcp),
        ("dns_of_the_proxy_leaves", with_dns, dns_of_proxy),
        ("other_udp_is_left_alone", with_dns, other_udp),
        ("what_is_excepted_goes_past_the_proxy", with_exceptions, excepted),
    ];
    let mut cases = Vec::new();
    for (name, intent, body) in tests {
        for family in [Family::V4, Family::V6] {
            cases
                .push(test(format!("packets::{family}_{name}"), move || body(Scene::new(intent(), family)?)));
        }
    }
    for family in [Family::V4, Family::V6] {
        let case = test(format!("packets::{family}_a_probe_goes_to_the_application"), move || probe(family));
        cases.push(case.needs_program("ip"));
    }
    cases.push(test("packets::a_plan_for_ipv4_leaves_ipv6_alone", ipv4_only));
    cases.push(test("packets::ipv6_off_on_loopback_connections_fail", ipv6_off));
    cases
}

fn ingress() -> Intent {
    Intent::ambient().with_inbound(Inbound::Bypassed).unwrap()
}

fn with_dns() -> Intent {
    Intent::ambient().with_dns(DnsCapture::To(Port::new(15053).unwrap())).unwrap()
}

fn with_exceptions() -> Intent {
    let port = |number| Port::new(number).unwrap().into();
    let exceptions = vec![Exception::ToPorts(port(SOME)), Exception::AtPorts(port(EXCEPTED_HERE))];
    Intent::ambient().with_exceptions(exceptions).unwrap()
}

/// A port of the application that is not captured.
const EXCEPTED_HERE: u16 = 9090;

/// Both directions of both connections, and everything else is captured still.
fn excepted(scene: Scene) -> Outcome {
    let far = listen(&scene.peer, scene.peer_ip(), SOME)?;
    let out = connect(&scene.app, far.local_addr()?, unmarked)?;
    talk(&out, &accept(&far)?)?;
    let here = listen(&scene.app, scene.app_ip(), EXCEPTED_HERE)?;
    let coming = connect(&scene.peer, here.local_addr()?, unmarked)?;
    talk(&coming, &accept(&here)?)?;
    scene.assert_proxy_idle()?;
    for listener in [&scene.outbound, &scene.plaintext] {
        listener.set_nonblocking(false)?;
    }
    let _captured = connect(&scene.app, SocketAddr::new(scene.peer_ip(), EXCEPTED_HERE), unmarked)?;
    accept(&scene.outbound)?;
    let _captured = connect(&scene.peer, SocketAddr::new(scene.app_ip(), SOME), unmarked)?;
    accept(&scene.plaintext)?;
    Ok(())
}

fn virtual_interface() -> Intent {
    Intent::ambient().with_virtual_interfaces(vec![InterfaceName::new(INTERFACE).unwrap()]).unwrap()
}

fn outbound(scene: Scene) -> Outcome {
    let to = SocketAddr::new(scene.peer_ip(), SOME);
    let client = connect(&scene.app, to, unmarked)?;
    let captured = accept(&scene.outbound)?;
    assert_eq!(original_destination(&captured)?, to);
    assert_eq!(client.peer_addr()?, to, "the client does not notice");
    talk(&client, &captured)?;
    scene.assert_proxy_idle()
}

fn proxy_sends(scene: Scene) -> Outcome {
    let server = listen(&scene.peer, scene.peer_ip(), SOME)?;
    let client = connect(&scene.app, server.local_addr()?, marked)?;
    let served = accept(&server)?;
    assert_eq!(served.peer_addr()?.ip(), scene.app_ip());
    talk(&client, &served)?;
    scene.assert_proxy_idle()
}

fn inbound(scene: Scene) -> Outcome {
    for port in [SOME, 1, 15053, OUTBOUND] {
        let to = SocketAddr::new(scene.app_ip(), port);
        let client = connect(&scene.peer, to, unmarked)?;
        let captured = accept(&scene.plaintext)?;
        assert_eq!(original_destination(&captured)?, to);
        assert_eq!(captured.peer_addr()?, client.local_addr()?, "the client keeps its address");
        talk(&client, &captured)?;
    }
    scene.assert_proxy_idle()
}

fn tunnel(scene: Scene) -> Outcome {
    let tunnels = listen(&scene.app, wildcard(scene.family), HBONE)?;
    let client = connect(&scene.peer, SocketAddr::new(scene.app_ip(), HBONE), unmarked)?;
    let tunnel = accept(&tunnels)?;
    assert_eq!(tunnel.local_addr()?, client.peer_addr()?);
    talk(&client, &tunnel)?;
    scene.assert_proxy_idle()
}

fn itself(scene: Scene) -> Outcome {
    let server = listen(&scene.app, wildcard(scene.family), SOME)?;
    let mut selves = vec![scene.app_ip(), scene.family.loopback()];
    if scene.family == Family::V4 {
        selves.push(Ipv4Addr::new(127, 0, 0, 2).into());
    }
    for own in selves {
        let client = connect(&scene.app, SocketAddr::new(own, SOME), unmarked)?;
        let served = accept(&server)?;
        assert_eq!(served.local_addr()?, client.peer_addr()?, "{own}");
        talk(&client, &served)?;
    }
    scene.assert_proxy_idle()
}

fn reply(scene: Scene) -> Outcome {
    let (delivered, served) = deliver(&scene)?;
    assert_eq!(served.peer_addr()?.ip(), scene.peer_ip(), "the application sees the client");
    talk(&delivered, &served)?;
    scene.assert_proxy_idle()
}

fn survives(scene: Scene) -> Outcome {
    let client = connect(&scene.app, SocketAddr::new(scene.peer_ip(), SOME), unmarked)?;
    let captured = accept(&scene.outbound)?;
    let coming = connect(&scene.peer, SocketAddr::new(scene.app_ip(), SOME), unmarked)?;
    let inbound = accept(&scene.plaintext)?;
    // Another plan than the one in place, so that everything is replaced.
    for plan in [&Plan::new(&with_dns()), &scene.plan, &scene.plan] {
        talk(&client, &captured)?;
        talk(&coming, &inbound)?;
        scene.app.run(|| apply(plan))??;
    }
    talk(&client, &captured)?;
    talk(&coming, &inbound)
}

/// Translated, the two would be the same connection: the second has to wait, and goes nowhere else meanwhile.
fn one_port_to_two(scene: Scene) -> Outcome {
    let from = SocketAddr::new(scene.peer_ip(), 45000);
    let ready = move |socket: &Socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())
    };
    let client = connect(&scene.peer, SocketAddr::new(scene.app_ip(), SOME), ready)?;
    let captured = accept(&scene.plaintext)?;
    let other = listen(&scene.app, scene.app_ip(), SOME + 1)?;
    let socket = scene.peer.run(|| Socket::new(Domain::for_address(from), Type::STREAM, None))??;
    ready(&socket)?;
    let waits = socket.connect_timeout(&other.local_addr()?.into(), PATIENCE / 20);
    assert_eq!(waits.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    scene.assert_proxy_idle()?;
    other.set_nonblocking(true)?;
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it escaped");
    talk(&client, &captured)
}

fn fails_closed(scene: Scene) -> Outcome {
    let server = listen(&scene.peer, scene.peer_ip(), SOME)?;
    drop((scene.outbound, scene.plaintext));
    let refused = connect(&scene.app, server.local_addr()?, unmarked).unwrap_err();
    let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{refused}");
    server.set_nonblocking(true)?;
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it escaped");
    Ok(())
}

fn ingress_inbound(scene: Scene) -> Outcome {
    let server = listen(&scene.app, wildcard(scene.family), SOME)?;
    let client = connect(&scene.peer, SocketAddr::new(scene.app_ip(), SOME), unmarked)?;
    talk(&client, &accept(&server)?)?;
    scene.assert_proxy_idle()
}

fn behind_interface(scene: Scene) -> Outcome {
    let to = SocketAddr::new(scene.app_ip(), SOME);
    let client = connect(&scene.peer, to, unmarked)?;
    let captured = accept(&scene.outbound)?;
    assert_eq!(original_destination(&captured)?, to);
    talk(&client, &captured)?;
    scene.assert_proxy_idle()
}

fn probe(family: Family) -> Outcome {
    let scene = Scene::new(Intent::ambient(), family)?;
    let probe = ProbeAddresses::ISTIO.of(family);
    let (flag, prefix) = match family {
        Family::V4 => ("-4", format!("{probe}/32")),
        Family::V6 => ("-6", format!("{probe}/128")),
    };
    let mut add = Command::new("ip");
    add.args([flag, "address", "add", &prefix, "dev", "br0"]);
    if family == Family::V6 {
        add.arg("nodad");
    }
    assert!(scene.lab.node().run(|| add.status())??.success());

    let server = listen(&scene.app, wildcard(family), SOME)?;
    let to = SocketAddr::new(scene.app_ip(), SOME);
    let socket = scene.lab.node().run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
    socket.bind(&SocketAddr::new(probe, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let served = accept(&server)?;
    assert_eq!(served.peer_addr()?.ip(), probe);
    talk(&socket.into(), &served)?;
    scene.assert_proxy_idle()
}

fn dns_udp(scene: Scene) -> Outcome {
    let proxy = udp(&scene.app, scene.family.loopback(), 15053)?;
    let client = udp(&scene.app, wildcard(scene.family), 0)?;
    let asker = ask(&client, SocketAddr::new(scene.peer_ip(), 53), &proxy)?;
    assert_eq!(asker.port(), client.local_addr()?.port());
    // A resolver in the pod itself is not captured.
    let local = udp(&scene.app, scene.family.loopback(), 53)?;
    ask(&client, local.local_addr()?, &local)?;
    Ok(())
}

fn dns_tcp(scene: Scene) -> Outcome {
    let proxy = listen(&scene.app, wildcard(scene.family), 15053)?;
    let to = SocketAddr::new(scene.peer_ip(), 53);
    let client = connect(&scene.app, to, unmarked)?;
    let captured = accept(&proxy)?;
    assert_eq!(original_destination(&captured)?, to);
    talk(&client, &captured)?;
    scene.assert_proxy_idle()
}

/// While the application's query from the same port to the same resolver is captured, the proxy's leaves with its
/// port unchanged: their flows are in different zones.
fn dns_of_proxy(scene: Scene) -> Outcome {
    let proxy = udp(&scene.app, scene.family.loopback(), 15053)?;
    let resolver = udp(&scene.peer, scene.peer_ip(), 53)?;
    let to = resolver.local_addr()?;
    let client = udp(&scene.app, scene.app_ip(), 40053)?;
    ask(&client, to, &proxy)?;
    drop(client);
    let upstream = udp(&scene.app, scene.app_ip(), 40053)?;
    SockRef::from(&upstream).set_mark(MARK)?;
    assert_eq!(ask(&upstream, to, &resolver)?, upstream.local_addr()?);
    Ok(())
}

fn other_udp(scene: Scene) -> Outcome {
    let server = udp(&scene.peer, scene.peer_ip(), SOME)?;
    let client = udp(&scene.app, scene.app_ip(), 0)?;
    assert_eq!(ask(&client, server.local_addr()?, &server)?, client.local_addr()?);
    Ok(())
}

fn ipv4_only() -> Outcome {
    let intent = || Intent::ambient().with_families(Families::V4);
    outbound(Scene::new(intent(), Family::V4)?)?;
    reply(Scene::new(intent(), Family::V4)?)?;
    let scene = Scene::new(intent(), Family::V6)?;
    let server = listen(&scene.peer, scene.peer_ip(), SOME)?;
    let client = connect(&scene.app, server.local_addr()?, unmarked)?;
    talk(&client, &accept(&server)?)?;
    scene.assert_proxy_idle()
}

/// Without the route for replies, and without ::1 to be redirected to, a connection has nowhere to go.
fn ipv6_off() -> Outcome {
    let scene = Scene::new(Intent::ambient(), Family::V6)?;
    let server = listen(&scene.peer, scene.peer_ip(), SOME)?;
    scene.app.run(|| std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1"))??;
    scene.app.run(|| apply(&scene.plan))??;
    let to = server.local_addr()?;
    let socket = scene.app.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
    socket.connect_timeout(&to.into(), PATIENCE / 20).unwrap_err();
    server.set_nonblocking(true)?;
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it escaped");
    Ok(())
}
