//! A captured pod and a peer, with plain sockets in place of a proxy.
//!
//! ```text
//!   app: captured, the proxy's listeners in it  --eth0--  br0  --eth0--  peer: not captured
//! ```

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use inpod_redirect::{Family, Intent, Plan};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::Outcome;
use testkit::lab::{Lab, Pod};

use crate::backend::Backend;

/// The proxy's ports and mark, as numbers: what a proxy would be configured with.
pub(crate) const OUTBOUND: u16 = 15001;
pub(crate) const PLAINTEXT: u16 = 15006;
pub(crate) const HBONE: u16 = 15008;
pub(crate) const MARK: u32 = 0x539;
/// Where nobody listens unless a test does.
pub(crate) const SOME: u16 = 8080;
/// Longer than anything here takes. It ends a test that has failed, and no test waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) app: Pod,
    pub(crate) peer: Pod,
    pub(crate) family: Family,
    pub(crate) plan: Plan,
    pub(crate) outbound: TcpListener,
    pub(crate) plaintext: TcpListener,
}

impl Scene {
    pub(crate) fn new(intent: Intent, family: Family) -> Result<Self, Box<dyn Error>> {
        Self::by(Backend::Nftables, intent, family)
    }

    /// Captured by this means.
    pub(crate) fn by(backend: Backend, intent: Intent, family: Family) -> Result<Self, Box<dyn Error>> {
        let scene = Self::bare(intent, family)?;
        backend.apply(&scene.app, &scene.plan)?;
        Ok(scene)
    }

    /// Not captured yet.
    pub(crate) fn bare(intent: Intent, family: Family) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::new()?;
        let (app, peer) = (lab.pod("app")?, lab.pod("peer")?);
        for from in [&app, &peer] {
            settle(from, &app, family)?;
        }
        let plan = Plan::new(&intent);
        let outbound = listen_as_proxy(&app, SocketAddr::new(wildcard(family), OUTBOUND))?;
        let plaintext = listen_as_proxy(&app, SocketAddr::new(wildcard(family), PLAINTEXT))?;
        Ok(Self { lab, app, peer, family, plan, outbound, plaintext })
    }

    pub(crate) fn app_ip(&self) -> IpAddr {
        ip(&self.app, self.family)
    }

    pub(crate) fn peer_ip(&self) -> IpAddr {
        ip(&self.peer, self.family)
    }

    /// Nothing has come to the proxy. Connections are established before their clients know it, so what has not
    /// come by now will not.
    pub(crate) fn assert_proxy_idle(&self) -> Outcome {
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
pub(crate) fn settle(from: &Pod, to: &Pod, family: Family) -> Outcome {
    let server = udp(to, ip(to, family), 0)?;
    let client = udp(from, wildcard(family), 0)?;
    ask(&client, server.local_addr()?, &server).map(drop)
}

pub(crate) fn ip(pod: &Pod, family: Family) -> IpAddr {
    match family {
        Family::V4 => pod.v4().into(),
        Family::V6 => pod.v6().into(),
    }
}

pub(crate) fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

pub(crate) fn listen(pod: &Pod, ip: IpAddr, port: u16) -> Result<TcpListener, Box<dyn Error>> {
    let listener = pod.run(|| TcpListener::bind((ip, port)))??;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

/// A listener as the proxy has them: marked, and for connections to any address.
pub(crate) fn listen_as_proxy(pod: &Pod, at: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    let socket = pod.run(|| Socket::new(Domain::for_address(at), Type::STREAM, None))??;
    socket.set_reuse_address(true)?;
    marked(&socket)?;
    set_transparent(&socket, at)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(64)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

pub(crate) fn set_transparent(socket: &Socket, address: SocketAddr) -> std::io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// A connection made in a pod, by a socket that is made ready first.
pub(crate) fn connect(
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

pub(crate) fn unmarked(_: &Socket) -> std::io::Result<()> {
    Ok(())
}

pub(crate) fn marked(socket: &Socket) -> std::io::Result<()> {
    socket.set_mark(MARK)
}

pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream, Box<dyn Error>> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn original_destination(stream: &TcpStream) -> Result<SocketAddr, Box<dyn Error>> {
    let socket = SockRef::from(stream);
    let address = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    address.as_socket().ok_or_else(|| "not an IP address".into())
}

/// Bytes go both ways.
pub(crate) fn talk(mut one: &TcpStream, mut other: &TcpStream) -> Outcome {
    let mut heard = [0; 4];
    one.write_all(b"ping")?;
    other.read_exact(&mut heard)?;
    assert_eq!(&heard, b"ping");
    other.write_all(b"pong")?;
    one.read_exact(&mut heard)?;
    assert_eq!(&heard, b"pong");
    Ok(())
}

/// A connection that the proxy opens to the application, as the peer, and its two ends.
pub(crate) fn deliver(scene: &Scene) -> Result<(TcpStream, TcpStream), Box<dyn Error>> {
    let server = listen(&scene.app, scene.app_ip(), SOME)?;
    let as_peer = SocketAddr::new(scene.peer_ip(), 0);
    let ready = |socket: &Socket| {
        marked(socket)?;
        set_transparent(socket, as_peer)?;
        socket.bind(&as_peer.into())
    };
    let delivered = connect(&scene.app, server.local_addr()?, ready)?;
    Ok((delivered, accept(&server)?))
}

pub(crate) fn udp(pod: &Pod, ip: IpAddr, port: u16) -> Result<UdpSocket, Box<dyn Error>> {
    let socket = pod.run(|| UdpSocket::bind((ip, port)))??;
    socket.set_read_timeout(Some(PATIENCE / 20))?;
    Ok(socket)
}

/// A question and its answer, which comes from where the question was sent. UDP may lose either: then the question
/// is asked again.
pub(crate) fn ask(
    client: &UdpSocket,
    to: SocketAddr,
    server: &UdpSocket,
) -> Result<SocketAddr, Box<dyn Error>> {
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
