//! The packet matrix: what the kernel does with a first packet, and what [`explain`] says of it, case by case.
//!
//! Everybody listens everywhere: so who has the packet is seen by whose listener it comes to.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use inpod_redirect::explain::{Fate, Here, LocalSocket, Origin, Packet, Tracked, explain};
use inpod_redirect::{
    DnsCapture, Dscp, Family, Guard, Intent, InterfaceName, Plan, Port, ProbeAddresses, Protocol, TcpFlags,
};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{BRIDGE, INTERFACE, Lab, Pod};

use crate::backend::Backend;
use crate::cases;
use crate::istio_rules::Istio;
use crate::scene::{HBONE, MARK, OUTBOUND, PATIENCE, PLAINTEXT, ip, set_transparent, settle, wildcard};

/// The ports of applications, everywhere.
const APPLICATIONS: [u16; 5] = [53, 80, 8050, 9090, 9999];
/// The port of the DNS proxy in the cases.
const DNS_PROXY: u16 = 15053;
/// The class of service by which some cases know tunnels.
const CLASS: u8 = 0x17;
/// How long an unanswered connection is waited for. Only a case whose packets are dropped waits as long.
const SILENCE: Duration = Duration::from_secs(3);

/// One matrix for each plan of the golden files, each backend and each family; and what Istio's own rules do, which is what the
/// plan of ambient mode says without its guard.
pub(crate) fn tests() -> Vec<Case> {
    let mut tests = Vec::new();
    for (name, intent) in cases::all() {
        // Its ports and marks are not those of this scene's proxy.
        if name == "everything_else" {
            continue;
        }
        for backend in Backend::ALL.into_iter().filter(|backend| backend.can_say(name)) {
            for family in [Family::V4, Family::V6] {
                let plan = Plan::new(&intent);
                let case = test(format!("matrix::{backend}_{family}_{name}"), move || {
                    Matrix::new(family, plan)?.compare(backend)
                });
                let case = backend.needed(case).needs_program("ip");
                tests.push(if backend.needs_root(name) { case.needs_root() } else { case });
            }
        }
    }
    for family in [Family::V4, Family::V6] {
        for istio in Istio::REDIRECTING {
            let case = test(format!("matrix::{family}_{istio}_itself"), move || {
                let intent = Intent::ambient().with_guard(Guard::Off);
                let plan = Plan::new(&intent.with_dns(DnsCapture::To(Port::new(DNS_PROXY)?))?);
                let matrix = Matrix::new(family, plan)?;
                matrix.app.run(|| istio.install())??;
                matrix.differences()
            });
            tests.push(case.needs_program("iptables").needs_program("nft").needs_program("ip"));
        }
    }
    tests
}

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Application,
    Proxy,
    Peer,
    Probe,
}

/// A first packet.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    protocol: Protocol,
    sender: Sender,
    to: SocketAddr,
    class: Option<u8>,
}

struct Matrix {
    lab: Lab,
    app: Pod,
    peer: Pod,
    family: Family,
    plan: Plan,
    listeners: Vec<Listener>,
    datagrams: Vec<Datagrams>,
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// In the captured pod: the application's or the proxy's.
    Here,
    /// In the peer or the node.
    Afar,
}

struct Listener(Whose, TcpListener);
struct Datagrams(Whose, UdpSocket);

impl Matrix {
    fn new(family: Family, plan: Plan) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::new()?;
        let (app, peer) = (lab.pod("app")?, lab.pod("peer")?);
        for from in [&app, &peer] {
            settle(from, &app, family)?;
        }
        let mut matrix = Self { lab, app, peer, family, plan, listeners: Vec::new(), datagrams: Vec::new() };
        matrix.give_addresses()?;
        matrix.listen()?;
        Ok(matrix)
    }

    /// Link-local addresses for both pods, and that of probes for the node.
    fn give_addresses(&self) -> Outcome {
        let probe = ProbeAddresses::ISTIO.of(self.family);
        let give = |run: &mut dyn FnMut(&mut Command) -> Outcome, address: IpAddr, device: &str| {
            let (flag, length) = match address {
                IpAddr::V4(_) => ("-4", 16),
                IpAddr::V6(_) => ("-6", 64),
            };
            let mut command = Command::new("ip");
            command.args([flag, "address", "add", &format!("{address}/{length}"), "dev", device]);
            if address.is_ipv6() {
                command.arg("nodad");
            }
            run(&mut command)
        };
        let succeed = |status: std::process::ExitStatus| {
            if status.success() { Ok(()) } else { Err(format!("ip: {status}").into()) }
        };
        give(&mut |command| succeed(self.lab.node().run(|| command.status())??), probe, BRIDGE)?;
        for (pod, address) in [(&self.app, self.nearby(1)), (&self.peer, self.nearby(2))] {
            give(&mut |command| succeed(pod.run(|| command.status())??), address, INTERFACE)?;
        }
        Ok(())
    }

    /// An address of the link's own.
    fn nearby(&self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(169, 254, 8, host).into(),
            // Not fe80::/10, which needs a scope: that is no address to compare.
            Family::V6 => Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0, 0, 8, host.into()).into(),
        }
    }

    fn listen(&mut self) -> Outcome {
        for port in APPLICATIONS.into_iter().chain([OUTBOUND, PLAINTEXT, HBONE]) {
            let at = SocketAddr::new(wildcard(self.family), port);
            let proxys = !APPLICATIONS.contains(&port);
            self.listeners.push(Listener(Whose::Here, self.app.run(|| listener(at, proxys))??));
            self.listeners.push(Listener(Whose::Afar, self.peer.run(|| listener(at, false))??));
            self.listeners.push(Listener(Whose::Afar, self.lab.node().run(|| listener(at, false))??));
            self.datagrams.push(Datagrams(Whose::Here, self.app.run(|| datagrams(at))??));
            self.datagrams.push(Datagrams(Whose::Afar, self.peer.run(|| datagrams(at))??));
        }
        let dns = SocketAddr::new(self.family.loopback(), DNS_PROXY);
        self.listeners.push(Listener(Whose::Here, self.app.run(|| listener(dns, true))??));
        self.datagrams.push(Datagrams(Whose::Here, self.app.run(|| datagrams(dns))??));
        Ok(())
    }

    fn attempts(&self) -> Vec<Attempt> {
        let (here, there) = (ip(&self.app, self.family), ip(&self.peer, self.family));
        let probe = ProbeAddresses::ISTIO.of(self.family);
        let loopback = self.family.loopback();
        let all = APPLICATIONS.into_iter().chain([OUTBOUND, PLAINTEXT, HBONE]);
        let mut attempts = Vec::new();
        let mut add = |protocol, sender, to: IpAddr, port, class| {
            attempts.push(Attempt { protocol, sender, to: SocketAddr::new(to, port), class });
        };
        for port in all {
            add(Protocol::Tcp, Sender::Application, there, port, None);
            add(Protocol::Tcp, Sender::Proxy, there, port, None);
            add(Protocol::Tcp, Sender::Peer, here, port, None);
            add(Protocol::Tcp, Sender::Peer, here, port, Some(CLASS));
        }
        for port in [53, 80, HBONE] {
            for to in [here, loopback, self.nearby(1), self.nearby(2)] {
                add(Protocol::Tcp, Sender::Application, to, port, None);
            }
            add(Protocol::Tcp, Sender::Proxy, loopback, port, None);
            add(Protocol::Tcp, Sender::Application, probe, port, None);
            add(Protocol::Tcp, Sender::Probe, here, port, None);
            add(Protocol::Tcp, Sender::Peer, self.nearby(1), port, None);
        }
        if self.family == Family::V4 {
            add(Protocol::Tcp, Sender::Application, Ipv4Addr::new(127, 0, 0, 2).into(), 80, None);
            add(Protocol::Tcp, Sender::Application, Ipv4Addr::new(127, 0, 0, 2).into(), 53, None);
        }
        for port in [53, 9999] {
            add(Protocol::Udp, Sender::Application, there, port, None);
            add(Protocol::Udp, Sender::Proxy, there, port, None);
            add(Protocol::Udp, Sender::Application, loopback, port, None);
            add(Protocol::Udp, Sender::Peer, here, port, None);
        }
        attempts
    }

    fn compare(&self, backend: Backend) -> Outcome {
        backend.apply(&self.app, &self.plan)?;
        self.differences()?;
        backend.remove(&self.app, &self.plan)
    }

    fn differences(&self) -> Outcome {
        let attempts = self.attempts();
        let mut differences = Vec::new();
        for attempt in &attempts {
            let explained = self.explained(attempt)?;
            let seen = self.seen(attempt)?;
            // A socket that is bound to this port and one that has the packet as it is look alike.
            let alike = match &explained {
                Fate::Intercepted(port) => {
                    port.number() == attempt.to.port() && seen == Fate::Delivered(attempt.to)
                }
                _ => false,
            };
            if seen != explained && !alike {
                differences.push(format!("{attempt:?}: {seen:?}, not {explained:?}"));
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
    }

    /// What the plan says.
    fn explained(&self, attempt: &Attempt) -> Result<Fate, Box<dyn Error>> {
        let Attempt { protocol, sender, to, class } = *attempt;
        let mark = if sender == Sender::Proxy { MARK } else { 0 };
        let is_sent_here = matches!(sender, Sender::Application | Sender::Proxy);
        let origin =
            if is_sent_here { Origin::Here } else { Origin::Interface(InterfaceName::new(INTERFACE)?) };
        let packet = Packet {
            protocol,
            source: SocketAddr::new(self.source(attempt), 40000),
            destination: to,
            flags: (protocol == Protocol::Tcp).then_some(TcpFlags::Opens),
            mark,
            dscp: class.map(Dscp::new).transpose()?,
            // Whoever runs this test.
            cgroup: None,
            owner: is_sent_here.then_some((0, 0)),
            socket: is_sent_here.then_some(LocalSocket { mark, transparent: false }),
            connection: Tracked { new: true, reply: false, translated: false, mark: 0 },
        };
        let mut addresses = vec![ip(&self.app, self.family), self.nearby(1)];
        // The kernel has the youngest IPv6 address first.
        if self.family == Family::V6 {
            addresses.reverse();
        }
        let here = Here { addresses, outside: InterfaceName::new(INTERFACE)? };
        Ok(explain(&self.plan, &here, &origin, packet).fate)
    }

    fn source(&self, attempt: &Attempt) -> IpAddr {
        let to = attempt.to.ip();
        match attempt.sender {
            Sender::Probe => ProbeAddresses::ISTIO.of(self.family),
            Sender::Peer if to == self.nearby(1) => self.nearby(2),
            Sender::Peer => ip(&self.peer, self.family),
            Sender::Application | Sender::Proxy if to.is_loopback() || to == self.nearby(1) => to,
            Sender::Application | Sender::Proxy if to == self.nearby(2) => self.nearby(1),
            Sender::Application | Sender::Proxy => ip(&self.app, self.family),
        }
    }

    /// What the kernel does.
    fn seen(&self, attempt: &Attempt) -> Result<Fate, Box<dyn Error>> {
        let kind = match attempt.protocol {
            Protocol::Tcp => Type::STREAM,
            _ => Type::DGRAM,
        };
        let make = || Socket::new(Domain::for_address(attempt.to), kind, None);
        let socket = match attempt.sender {
            Sender::Application | Sender::Proxy => self.app.run(make)??,
            Sender::Peer => self.peer.run(make)??,
            Sender::Probe => self.lab.node().run(make)??,
        };
        if attempt.sender == Sender::Proxy {
            socket.set_mark(MARK)?;
        }
        match (attempt.class.map(|class| u32::from(class) << 2), self.family) {
            (None, _) => {}
            (Some(class), Family::V4) => socket.set_tos_v4(class)?,
            (Some(class), Family::V6) => socket.set_tclass_v6(class)?,
        }
        socket.bind(&SocketAddr::new(self.source(attempt), 0).into())?;
        match attempt.protocol {
            Protocol::Tcp => self.connects(&socket, attempt.to),
            _ => self.asks(&socket, attempt.to),
        }
    }

    fn connects(&self, socket: &Socket, to: SocketAddr) -> Result<Fate, Box<dyn Error>> {
        match socket.connect_timeout(&to.into(), SILENCE) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(Fate::Reset),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Fate::Dropped),
            Err(error) => return Err(error.into()),
        }
        let end = Instant::now() + PATIENCE;
        // The client knows of its connection before the listener does.
        while Instant::now() < end {
            for Listener(whose, listener) in &self.listeners {
                let accepted = match listener.accept() {
                    Ok((accepted, _)) => accepted,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                let (at, to) = (listener.local_addr()?.port(), accepted.local_addr()?);
                SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
                return Ok(match whose {
                    Whose::Afar => Fate::Leaves(InterfaceName::new(INTERFACE)?, to),
                    Whose::Here if at != to.port() => Fate::Intercepted(Port::new(at)?),
                    Whose::Here => Fate::Delivered(to),
                });
            }
        }
        Err(format!("connected to nobody at {to}").into())
    }

    fn asks(&self, socket: &Socket, to: SocketAddr) -> Result<Fate, Box<dyn Error>> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            socket.send_to(b"who?", &to.into())?;
            let again = Instant::now() + SILENCE;
            while Instant::now() < again {
                for Datagrams(whose, receiver) in &self.datagrams {
                    match receiver.recv_from(&mut [0; 8]) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error.into()),
                    }
                    let port = receiver.local_addr()?.port();
                    return Ok(match whose {
                        Whose::Afar => Fate::Leaves(InterfaceName::new(INTERFACE)?, to),
                        Whose::Here if port == DNS_PROXY => Fate::Delivered(receiver.local_addr()?),
                        Whose::Here => Fate::Delivered(to),
                    });
                }
            }
        }
        Ok(Fate::Dropped)
    }
}

/// A listener; the proxy's has its mark and takes connections to any address.
fn listener(at: SocketAddr, proxys: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if proxys {
        socket.set_mark(MARK)?;
        set_transparent(&socket, at)?;
    }
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn datagrams(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
