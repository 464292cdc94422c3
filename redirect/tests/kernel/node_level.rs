//! Capture in the node's namespace: a node that routes between pods, and a proxy behind a pair of links.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use inpod_redirect::{
    Difference, Elements, Families, Family, KernelError, Marks, NodeLevel, Piece, Ports, ReplyRouting,
    Verdict, apply_with, remove, set_elements, verify, verify_with,
};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::{Case, Outcome, test};
use testkit::netns::Namespace;

use crate::scene::{HBONE, PATIENCE, SOME, accept, marked, set_transparent, talk, unmarked, wildcard};

/// The proxy's ports for what pods send and for what comes for them.
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
/// The mark of what the proxy sends into the inbound link.
const DELIVERS: u32 = 2;

/// Long enough for what is refused or lost to be so, short enough to wait for.
const NOBODY: Duration = Duration::from_millis(500);

type Test = (&'static str, fn(&Net) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 10] = [
        ("what_a_pod_sends_goes_to_the_proxy", outbound),
        ("what_comes_for_a_pod_goes_to_the_proxy_which_delivers_it", inbound),
        ("what_the_node_sends_is_not_captured", probe),
        ("pods_come_and_go_by_difference", come_and_go),
        ("without_its_way_to_the_proxy_nothing_passes", astray),
        ("all_is_proved_and_undone", undone),
        ("a_proxy_of_the_node_has_what_a_pod_sends_and_what_comes_for_it", here),
        ("without_a_proxy_of_the_node_nothing_passes", nobody_here),
        ("what_a_proxy_of_the_node_takes_is_proved_and_undone", undone_here),
        ("a_missing_link_is_named_and_nothing_stays", no_link),
    ];
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (name, body) in tests {
            let case = test(format!("node_level::{family}_{name}"), move || body(&Net::new(family)?));
            cases.push(case.needs_program("nft").needs_program("ip"));
        }
    }
    cases
}

/// A node with two pods and a proxy, each in its own network, and the proxy behind two links.
struct Net {
    family: Family,
    node: Namespace,
    app: Namespace,
    peer: Namespace,
    proxy: Namespace,
    outbound: TcpListener,
    inbound: TcpListener,
}

impl Net {
    fn new(family: Family) -> Result<Self, Box<dyn Error>> {
        let [node, app, peer, proxy] =
            [Namespace::create()?, Namespace::create()?, Namespace::create()?, Namespace::create()?];
        for namespace in [&node, &app, &peer, &proxy] {
            run(namespace, "ip link set lo up")?;
        }
        for (network, namespace, names) in [
            (1, &app, ["app", "eth0"]),
            (2, &peer, ["peer", "eth0"]),
            (126, &proxy, ["istioin", "pistioin"]),
            (127, &proxy, ["istioout", "pistioout"]),
        ] {
            cable(&node, namespace, names, network, family)?;
        }
        let sysctls = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        node.run(|| sysctls.iter().try_for_each(|name| fs::write(format!("/proc/sys/net/{name}"), "1")))??;
        for namespace in [&node, &proxy] {
            namespace.run(|| {
                let names = ["all", "default", "istioin", "istioout", "pistioin", "pistioout", "app", "peer"];
                for name in names {
                    // Not each is in both.
                    let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0");
                }
            })?;
        }
        for (pod, network) in [(&app, 1), (&peer, 2)] {
            let via = address(family, network, 1);
            run(pod, &format!("ip {} route add default via {via}", flag(family)))?;
        }
        for network in [1, 2, 126, 127] {
            settle(&node, address(family, network, 2))?;
        }
        settle(&app, address(family, 2, 2))?;
        let [outbound, inbound] = intercept(&proxy, family)?;
        Ok(Self { family, node, app, peer, proxy, outbound, inbound })
    }

    /// The address of the host of this number in this network.
    fn ip(&self, network: u16) -> IpAddr {
        address(self.family, network, 2)
    }

    fn level(&self) -> Result<NodeLevel, Box<dyn Error>> {
        let ipv6 = |network| match address(Family::V6, network, 2) {
            IpAddr::V6(address) => address,
            IpAddr::V4(address) => address.to_ipv6_mapped(),
        };
        let ipv6: Option<[Ipv6Addr; 2]> = (self.family == Family::V6).then(|| [ipv6(127), ipv6(126)]);
        Ok(NodeLevel::istio(ipv6)?)
    }

    /// Captures the application's pod.
    fn capture(&self) -> Result<NodeLevel, Box<dyn Error>> {
        let level = self.level()?;
        let pods = level.pods([self.ip(1)]);
        self.node.run(|| apply_with(&level.plan(), &pods))??;
        assert_eq!(self.node.run(|| verify_with(&level.plan(), &pods))??, Verdict::Same);
        Ok(level)
    }
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn address(family: Family, network: u16, host: u16) -> IpAddr {
    let small = |number: u16| u8::try_from(number).unwrap();
    match (family, network) {
        (Family::V4, 126 | 127) => [192, 168, small(network), small(host)].into(),
        (Family::V4, _) => [10, 7, small(network), small(host)].into(),
        (Family::V6, _) => [0xfd07, network, 0, 0, 0, 0, 0, host].into(),
    }
}

/// A cable between the node, whose end has host number 1, and another namespace, whose end has 2.
fn cable(
    node: &Namespace,
    other: &Namespace,
    [near, far]: [&str; 2],
    network: u16,
    family: Family,
) -> Outcome {
    run(node, &format!("ip link add {near} type veth peer name far{network}"))?;
    let there = format!("/proc/{}/fd/{}", std::process::id(), other.as_fd().as_raw_fd());
    run(node, &format!("ip link set far{network} netns {there}"))?;
    run(other, &format!("ip link set far{network} name {far}"))?;
    let (length, extra) = if family == Family::V4 { (24, "") } else { (64, "nodad") };
    for (namespace, name, host) in [(node, near, 1), (other, far, 2)] {
        let ip = address(family, network, host);
        run(namespace, &format!("ip addr add {ip}/{length} dev {name} {extra}"))?;
        run(namespace, &format!("ip link set {name} up"))?;
    }
    Ok(())
}

/// Waits until packets pass: the kernel puts a new cable to use a little after it has said that it did.
fn settle(from: &Namespace, to: IpAddr) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(from, SocketAddr::new(to, SOME), NOBODY) {
            Err(error) if is_refusal(error.as_ref()) => return Ok(()),
            other => assert!(Instant::now() < deadline, "{to}: {other:?}"),
        }
    }
}

fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn run(namespace: &Namespace, line: &str) -> Outcome {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    let output = namespace.run(|| Command::new(program).args(words).output())??;
    assert!(output.status.success(), "{line}: {output:?}");
    Ok(())
}

/// What a proxy does at its end of the links.
fn intercept(proxy: &Namespace, family: Family) -> Result<[TcpListener; 2], Box<dyn Error>> {
    let protocol = if family == Family::V4 { "ip" } else { "ip6" };
    let rule = |link, port| {
        format!(
            "add rule inet proxy pre iifname {link} meta l4proto tcp tproxy {protocol} to :{port} meta mark set 1 accept"
        )
    };
    let rules = format!(
        "add table inet proxy; add chain inet proxy pre {{ type filter hook prerouting priority -150; }}; {}; {}",
        rule("pistioout", OUTBOUND),
        rule("pistioin", INBOUND)
    );
    let loaded = proxy.run(|| Command::new("nft").arg(rules).output())??;
    assert!(loaded.status.success(), "{loaded:?}");
    let flag = flag(family);
    let (out, deliver) = (address(family, 127, 1), address(family, 126, 1));
    run(proxy, &format!("ip {flag} route add local default dev lo table 100"))?;
    run(proxy, &format!("ip {flag} rule add fwmark 1 lookup 100"))?;
    run(proxy, &format!("ip {flag} route add default via {out} dev pistioout"))?;
    run(proxy, &format!("ip {flag} route add default via {deliver} dev pistioin table 102"))?;
    run(proxy, &format!("ip {flag} rule add fwmark {DELIVERS} lookup 102"))?;
    let any: IpAddr = if family == Family::V4 { [0, 0, 0, 0].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let listen = |port| -> Result<TcpListener, Box<dyn Error>> {
        let at = SocketAddr::new(any, port);
        let socket = socket(proxy, at)?;
        set_transparent(&socket, at)?;
        socket.bind(&at.into())?;
        socket.listen(16)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    };
    Ok([listen(OUTBOUND)?, listen(INBOUND)?])
}

fn socket(from: &Namespace, to: SocketAddr) -> Result<Socket, Box<dyn Error>> {
    Ok(from.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??)
}

fn connect(from: &Namespace, to: SocketAddr, patience: Duration) -> Result<TcpStream, Box<dyn Error>> {
    let socket = socket(from, to)?;
    socket.connect_timeout(&to.into(), patience)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

fn listen(at: &Namespace, ip: IpAddr) -> Result<TcpListener, Box<dyn Error>> {
    let listener = at.run(|| TcpListener::bind((ip, SOME)))??;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

/// Captures the application's pod for a proxy in the node's namespace.
fn capture_here(net: &Net) -> Result<NodeLevel, Box<dyn Error>> {
    let families = if net.family == Family::V4 { Families::V4 } else { Families::V4AndV6 };
    let level = NodeLevel::here(Ports::ISTIO, Marks::ISTIO, ReplyRouting::ISTIO, families);
    let pods = level.pods([net.ip(1)]);
    net.node.run(|| apply_with(&level.plan(), &pods))??;
    assert_eq!(net.node.run(|| verify_with(&level.plan(), &pods))??, Verdict::Same);
    Ok(level)
}

fn listen_here(net: &Net, port: u16) -> Result<TcpListener, Box<dyn Error>> {
    let at = SocketAddr::new(wildcard(net.family), port);
    let socket = socket(&net.node, at)?;
    set_transparent(&socket, at)?;
    marked(&socket)?;
    socket.bind(&at.into())?;
    socket.listen(16)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// The proxy connects to the application with the address of the client.
fn deliver(
    net: &Net,
    proxy: &Namespace,
    mark: fn(&Socket) -> std::io::Result<()>,
    application: &TcpListener,
) -> Outcome {
    let to = application.local_addr()?;
    let delivery = socket(proxy, to)?;
    mark(&delivery)?;
    let source = SocketAddr::new(net.ip(2), 0);
    set_transparent(&delivery, source)?;
    delivery.bind(&source.into())?;
    delivery.connect_timeout(&to.into(), PATIENCE)?;
    delivery.set_read_timeout(Some(PATIENCE))?;
    let served = accept(application)?;
    assert_eq!(served.peer_addr()?.ip(), net.ip(2));
    talk(&delivery.into(), &served)
}

fn here(net: &Net) -> Outcome {
    let [server, application] = [listen(&net.peer, net.ip(2))?, listen(&net.app, net.ip(1))?];
    let [outbound, plaintext, tunnels] =
        [listen_here(net, OUTBOUND)?, listen_here(net, INBOUND)?, listen_here(net, HBONE)?];
    capture_here(net)?;
    let tunnel = SocketAddr::new(net.ip(1), HBONE);
    for (from, to, proxy) in [
        (&net.app, server.local_addr()?, &outbound),
        (&net.peer, application.local_addr()?, &plaintext),
        (&net.peer, tunnel, &tunnels),
    ] {
        let client = connect(from, to, PATIENCE)?;
        let captured = accept(proxy)?;
        assert_eq!((captured.local_addr()?, captured.peer_addr()?), (to, client.local_addr()?));
        talk(&client, &captured)?;
    }
    deliver(net, &net.node, marked, &application)?;
    // A probe, and a connection of the proxy's own.
    let marks: [fn(&Socket) -> std::io::Result<()>; 2] = [unmarked, marked];
    for mark in marks {
        let own = socket(&net.node, application.local_addr()?)?;
        mark(&own)?;
        own.connect_timeout(&application.local_addr()?.into(), PATIENCE)?;
        own.set_read_timeout(Some(PATIENCE))?;
        talk(&own.into(), &accept(&application)?)?;
    }
    Ok(())
}

fn nobody_here(net: &Net) -> Outcome {
    let [server, application] = [listen(&net.peer, net.ip(2))?, listen(&net.app, net.ip(1))?];
    capture_here(net)?;
    for (from, to) in [(&net.app, &server), (&net.peer, &application)] {
        assert!(connect(from, to.local_addr()?, NOBODY).is_err());
        to.set_nonblocking(true)?;
        assert!(to.accept().is_err(), "it has passed uncaptured");
    }
    Ok(())
}

fn undone_here(net: &Net) -> Outcome {
    let before = state(net)?;
    let level = capture_here(net)?;
    let with = state(net)?;
    assert!(with.contains("tproxy") && with.contains("lookup 100"), "{with}");
    capture_here(net)?;
    assert_eq!(state(net)?, with, "twice is once");
    net.node.run(|| remove(&level.plan()))??;
    assert_eq!(state(net)?, before);
    Ok(())
}

fn outbound(net: &Net) -> Outcome {
    let server = listen(&net.peer, net.ip(2))?;
    net.capture()?;
    let client = connect(&net.app, server.local_addr()?, PATIENCE)?;
    let captured = accept(&net.outbound)?;
    assert_eq!(captured.local_addr()?, server.local_addr()?, "the proxy sees where it was to go");
    assert_eq!(captured.peer_addr()?, client.local_addr()?);
    talk(&client, &captured)
}

fn inbound(net: &Net) -> Outcome {
    let application = listen(&net.app, net.ip(1))?;
    net.capture()?;
    let client = connect(&net.peer, application.local_addr()?, PATIENCE)?;
    let captured = accept(&net.inbound)?;
    assert_eq!(captured.local_addr()?, application.local_addr()?);
    assert_eq!(captured.peer_addr()?, client.local_addr()?);
    talk(&client, &captured)?;
    deliver(net, &net.proxy, |socket| socket.set_mark(DELIVERS), &application)
}

fn probe(net: &Net) -> Outcome {
    let application = listen(&net.app, net.ip(1))?;
    net.capture()?;
    let client = connect(&net.node, application.local_addr()?, PATIENCE)?;
    talk(&client, &accept(&application)?)
}

fn come_and_go(net: &Net) -> Outcome {
    let server = listen(&net.peer, net.ip(2))?;
    let level = net.capture()?;
    let (app, peer) = (net.ip(1), net.ip(2));
    for (pods, who) in [
        (vec![], &server),
        (vec![app], &net.outbound),
        (vec![peer], &net.inbound),
        (vec![app, peer], &net.outbound),
        (vec![], &server),
    ] {
        net.node.run(|| set_elements(&level.plan(), &level.pods(pods)))??;
        let client = connect(&net.app, server.local_addr()?, PATIENCE)?;
        talk(&client, &accept(who)?)?;
    }
    Ok(())
}

fn astray(net: &Net) -> Outcome {
    let server = listen(&net.peer, net.ip(2))?;
    let application = listen(&net.app, net.ip(1))?;
    let level = net.capture()?;
    let flag = flag(net.family);
    run(&net.node, &format!("ip {flag} route flush table 101"))?;
    run(&net.node, &format!("ip {flag} rule del pref 102"))?;
    for (from, to) in [(&net.app, &server), (&net.peer, &application)] {
        assert!(connect(from, to.local_addr()?, NOBODY).is_err());
        to.set_nonblocking(true)?;
        assert!(to.accept().is_err(), "it has passed uncaptured");
        to.set_nonblocking(false)?;
    }
    let verdict = net.node.run(|| verify(&level.plan()))??;
    let Verdict::Differs(differences) = verdict else { panic!("{verdict:?}") };
    let is_routing = |difference: &Difference| {
        matches!(difference, Difference::Missing(Piece::Route(_) | Piece::PolicyRule(_)))
    };
    assert!(differences.len() == 2 && differences.iter().all(is_routing), "{differences:?}");
    // It is healed.
    net.capture()?;
    let client = connect(&net.app, server.local_addr()?, PATIENCE)?;
    talk(&client, &accept(&net.outbound)?)
}

fn state(net: &Net) -> Result<String, Box<dyn Error>> {
    let lines = [
        "nft --stateless list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    ];
    let mut text = String::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default();
        let output = net.node.run(|| Command::new(program).args(words).output())??;
        let said = String::from_utf8(output.stdout)?;
        // Addresses of links come when the kernel has found them to be unique.
        said.lines().filter(|line| !line.contains("fe80::")).for_each(|line| text += &format!("{line}\n"));
    }
    Ok(text)
}

fn undone(net: &Net) -> Outcome {
    let before = state(net)?;
    let level = net.capture()?;
    let with = state(net)?;
    assert!(with.contains("dev istioout table 101"), "{with}");
    net.capture()?;
    assert_eq!(state(net)?, with, "twice is once");
    net.node.run(|| remove(&level.plan()))??;
    assert_eq!(state(net)?, before);
    Ok(())
}

fn no_link(net: &Net) -> Outcome {
    run(&net.node, "ip link del istioin")?;
    let before = state(net)?;
    let level = net.level()?;
    let refused = net.node.run(|| apply_with(&level.plan(), &Elements::new()))?.unwrap_err();
    let source = refused.source().and_then(|source| source.downcast_ref::<KernelError>());
    let is_named = matches!(source, Some(KernelError::NoInterface(name)) if name.to_string() == "istioin");
    assert!(is_named, "{refused:?}");
    assert_eq!(state(net)?, before);
    net.node.run(|| remove(&level.plan()))??;
    Ok(())
}
