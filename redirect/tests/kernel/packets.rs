//! What really happens to packets: plain sockets in pods on a bridge, one of them captured.
//!
//! ```text
//!   app: captured, the proxy's listeners in it  --eth0--  br0  --eth0--  peer: not captured
//! ```

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use inpod_redirect::{
    DnsCapture, Families, Family, Inbound, Intent, InterfaceName, Plan, Port, ProbeAddresses, apply,
};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Lab, Pod};

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
        ("ingress_inbound_is_not_captured", ingress, ingress_inbound),
        ("ingress_a_reply_still_finds_the_proxy", ingress, reply),
        ("ingress_outbound_is_captured", ingress, outbound),
        ("what_comes_by_a_virtual_interface_counts_as_outbound", virtual_interface, behind_interface),
        ("dns_over_udp_goes_to_the_dns_proxy", with_dns, dns_udp),
        ("dns_over_tcp_goes_to_the_dns_proxy", with_dns, dns_tcp),
        ("dns_of_the_proxy_leaves", with_dns, dns_of_proxy),
        ("other_udp_is_left_alone", with_dns, other_udp),
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
    Intent::ambient().with_inbound(Inbound::Bypassed)
}

fn with_dns() -> Intent {
    Intent::ambient().with_dns(DnsCapture::To(Port::new(15053).unwrap())).unwrap()
}

fn virtual_interface() -> Intent {
    Intent::ambient().with_virtual_interfaces(vec![InterfaceName::new(INTERFACE).unwrap()]).unwrap()
}

/// The proxy's ports and mark, as numbers: what a proxy would be configured with.
const OUTBOUND: u16 = 15001;
const PLAINTEXT: u16 = 15006;
const HBONE: u16 = 15008;
const MARK: u32 = 0x539;
/// Where nobody listens unless a test does.
const SOME: u16 = 8080;
/// Longer than anything here takes. It ends a test that has failed, and no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(10);

struct Scene {
    lab: Lab,
    app: Pod,
    peer: Pod,
    family: Family,
    plan: Plan,
    outbound: TcpListener,
    plaintext: TcpListener,
}

impl Scene {
    fn new(intent: Intent, family: Family) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::new()?;
        let (app, peer) = (lab.pod("app")?, lab.pod("peer")?);
        for from in [&app, &peer] {
            settle(from, &app, family)?;
        }
        let plan = Plan::new(&intent);
        let outbound = listen(&app, wildcard(family), OUTBOUND)?;
        let plaintext = listen(&app, wildcard(family), PLAINTEXT)?;
        app.run(|| apply(&plan))??;
        Ok(Self { lab, app, peer, family, plan, outbound, plaintext })
    }

    fn app_ip(&self) -> IpAddr {
        ip(&self.app, self.family)
    }

    fn peer_ip(&self) -> IpAddr {
        ip(&self.peer, self.family)
    }

    /// Nothing has come to the proxy. Connections are established before their clients know it, so what has not
    /// come by now will not.
    fn assert_proxy_idle(&self) -> Outcome {
        for listener in [&self.outbound, &self.plaintext] {
            listener.set_nonblocking(true)?;
            match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("the proxy has {other:?}"),
            }
        }
        Ok(())
    }
}

/// Packets pass from the one pod to the other. The kernel puts a new cable to use, and routes a new IPv6 address to
/// its owner, a little after it has said that it did.
fn settle(from: &Pod, to: &Pod, family: Family) -> Outcome {
    let server = udp(to, ip(to, family), 0)?;
    let client = udp(from, wildcard(family), 0)?;
    ask(&client, server.local_addr()?, &server).map(drop)
}

fn ip(pod: &Pod, family: Family) -> IpAddr {
    match family {
        Family::V4 => pod.v4().into(),
        Family::V6 => pod.v6().into(),
    }
}

fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn listen(pod: &Pod, ip: IpAddr, port: u16) -> Result<TcpListener, Box<dyn Error>> {
    let listener = pod.run(|| TcpListener::bind((ip, port)))??;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

/// A connection made in a pod, by a socket that is made ready first.
fn connect(
    pod: &Pod,
    to: SocketAddr,
    ready: impl FnOnce(&Socket) -> std::io::Result<()>,
) -> Result<TcpStream, Box<dyn Error>> {
    let socket = pod.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
    ready(&socket)?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn unmarked(_: &Socket) -> std::io::Result<()> {
    Ok(())
}

fn marked(socket: &Socket) -> std::io::Result<()> {
    socket.set_mark(MARK)
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Box<dyn Error>> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn original_destination(stream: &TcpStream) -> Result<SocketAddr, Box<dyn Error>> {
    let socket = SockRef::from(stream);
    let address = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    address.as_socket().ok_or_else(|| "not an IP address".into())
}

/// Bytes go both ways.
fn talk(mut one: &TcpStream, mut other: &TcpStream) -> Outcome {
    let mut heard = [0; 4];
    one.write_all(b"ping")?;
    other.read_exact(&mut heard)?;
    assert_eq!(&heard, b"ping");
    other.write_all(b"pong")?;
    one.read_exact(&mut heard)?;
    assert_eq!(&heard, b"pong");
    Ok(())
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
    let server = listen(&scene.app, scene.app_ip(), SOME)?;
    let as_peer = SocketAddr::new(scene.peer_ip(), 0);
    let ready = |socket: &Socket| {
        marked(socket)?;
        match as_peer {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        socket.bind(&as_peer.into())
    };
    let delivered = connect(&scene.app, server.local_addr()?, ready)?;
    let served = accept(&server)?;
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

fn udp(pod: &Pod, ip: IpAddr, port: u16) -> Result<UdpSocket, Box<dyn Error>> {
    let socket = pod.run(|| UdpSocket::bind((ip, port)))??;
    socket.set_read_timeout(Some(PATIENCE / 20))?;
    Ok(socket)
}

/// A question and its answer, which comes from where the question was sent. UDP may lose either: then the question
/// is asked again.
fn ask(client: &UdpSocket, to: SocketAddr, server: &UdpSocket) -> Result<SocketAddr, Box<dyn Error>> {
    const ATTEMPTS: usize = 20;
    for _ in 0..ATTEMPTS {
        client.send_to(b"who?", to)?;
        let Some((question, asker)) = hear(server)? else { continue };
        assert_eq!(question, b"who?");
        server.send_to(b"me", asker)?;
        let Some((answer, from)) = hear(client)? else { continue };
        assert_eq!(answer, b"me");
        assert_eq!(from, to, "a resolver drops an answer from elsewhere");
        return Ok(asker);
    }
    Err("neither question nor answer".into())
}

fn hear(socket: &UdpSocket) -> std::io::Result<Option<(Vec<u8>, SocketAddr)>> {
    let mut heard = vec![0; 8];
    match socket.recv_from(&mut heard) {
        Ok((length, from)) => {
            heard.truncate(length);
            Ok(Some((heard, from)))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
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
