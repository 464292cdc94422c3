//! Sockets made inside and used outside.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use inpod_netns::{Family, Namespace, OpenError, Origin, SocketError, SocketOptions};
use socket2::SockRef;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::loopback_up;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("tokio_serves_a_listener_made_inside", tokio_serves_a_listener_made_inside),
        test("namespaces_do_not_share_ports", namespaces_do_not_share_ports),
        test("an_address_in_use_is_named", an_address_in_use_is_named),
        test("a_shared_port_is_shared", a_shared_port_is_shared),
        test("v6_only_leaves_v4_free", v6_only_leaves_v4_free),
        test("marks_are_set", marks_are_set),
        test("foreign_addresses_only_when_transparent", foreign_addresses_only_when_transparent),
        test("the_source_port_is_chosen_late", the_source_port_is_chosen_late),
        test("datagrams_inside", datagrams_inside),
        test("the_namespace_of_a_socket", the_namespace_of_a_socket),
    ]
}

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const ALL_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

fn network() -> Result<Namespace, Box<dyn std::error::Error>> {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    Ok(namespace)
}

fn tokio_serves_a_listener_made_inside() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let namespace = network()?;
        for address in [V4, V6] {
            let listener = namespace.tcp_listener(address, &SocketOptions::default())?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let server = listener.local_addr()?;
            let socket = namespace.tcp_socket(server, &SocketOptions::default())?;
            assert!(socket.tcp_nodelay()?);
            let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
            let (accepted, connected) = tokio::join!(listener.accept(), socket.connect(server));
            let ((mut accepted, peer), mut connected) = (accepted?, connected?);
            assert_eq!(peer, connected.local_addr()?);
            assert!(accepted.nodelay()?, "inherited");
            connected.write_all(b"hello").await?;
            connected.shutdown().await?;
            let mut heard = String::new();
            accepted.read_to_string(&mut heard).await?;
            assert_eq!(heard, "hello");
            // Out here, nobody listens there.
            assert!(tokio::net::TcpStream::connect(server).await.is_err());
        }
        Ok(())
    })
}

fn namespaces_do_not_share_ports() -> Outcome {
    let (first, second) = (network()?, network()?);
    let held = first.tcp_listener(V4, &SocketOptions::default())?;
    let same = second.tcp_listener(held.local_addr()?, &SocketOptions::default())?;
    assert_eq!(held.local_addr()?, same.local_addr()?);
    Ok(())
}

fn an_address_in_use_is_named() -> Outcome {
    let namespace = network()?;
    let held = namespace.tcp_listener(V4, &SocketOptions::default())?.local_addr();
    let held = namespace.tcp_listener(held?, &SocketOptions::default())?;
    let address = held.local_addr()?;
    let refused = namespace.tcp_listener(address, &SocketOptions::default()).err().ok_or("shared")?;
    assert_eq!(refused.to_string(), format!("cannot bind to {address} in {}", namespace.id()));
    assert!(
        matches!(&refused, SocketError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse),
        "{refused:?}"
    );
    assert!(!refused.is_permission());
    Ok(())
}

fn a_shared_port_is_shared() -> Outcome {
    let namespace = network()?;
    let shared = SocketOptions::default().reuse_port();
    let first = namespace.tcp_listener(V4, &shared)?;
    namespace.tcp_listener(first.local_addr()?, &shared)?;
    let first = namespace.udp_socket(V6, &shared)?;
    namespace.udp_socket(first.local_addr()?, &shared)?;
    Ok(())
}

fn v6_only_leaves_v4_free() -> Outcome {
    let namespace = network()?;
    for (options, free) in [(SocketOptions::default(), false), (SocketOptions::default().v6_only(), true)] {
        let listener = namespace.tcp_listener(ALL_V6, &options)?;
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listener.local_addr()?.port()));
        assert_eq!(namespace.tcp_listener(v4, &SocketOptions::default()).is_ok(), free);
    }
    Ok(())
}

fn marks_are_set() -> Outcome {
    let namespace = network()?;
    let options = SocketOptions::default().mark(0x539);
    assert_eq!(SockRef::from(&namespace.tcp_listener(V4, &options)?).mark()?, 0x539);
    assert_eq!(SockRef::from(&namespace.udp_socket(V6, &options)?).mark()?, 0x539);
    assert_eq!(namespace.tcp_socket(Family::V6, &options)?.mark()?, 0x539);
    assert_eq!(namespace.tcp_socket(Family::V4, &SocketOptions::default())?.mark()?, 0);
    Ok(())
}

fn foreign_addresses_only_when_transparent() -> Outcome {
    let namespace = network()?;
    let foreign = [
        SocketAddr::from((Ipv4Addr::new(203, 0, 113, 5), 4000)),
        SocketAddr::V6(SocketAddrV6::new("2001:db8::5".parse()?, 4000, 0, 0)),
    ];
    for address in foreign {
        let plain = SocketOptions::default().bind(address);
        let refused = namespace.tcp_socket(address, &plain).err().ok_or("bound to a foreign address")?;
        assert!(
            matches!(&refused, SocketError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable),
            "{refused:?}"
        );
        let socket = namespace.tcp_socket(address, &plain.transparent())?;
        assert_eq!(socket.local_addr()?.as_socket(), Some(address));
        drop(socket);
        namespace.tcp_listener(address, &SocketOptions::default().transparent())?;
        namespace.udp_socket(address, &SocketOptions::default().transparent())?;
    }
    Ok(())
}

fn the_source_port_is_chosen_late() -> Outcome {
    let namespace = network()?;
    for (address, source) in [(V4, SocketAddr::from(([127, 0, 0, 9], 0))), (V6, V6)] {
        let server = namespace.tcp_listener(address, &SocketOptions::default())?;
        let socket = namespace.tcp_socket(address, &SocketOptions::default().bind(source))?;
        let bound = socket.local_addr()?.as_socket().ok_or("no address")?;
        assert_eq!((bound.ip(), bound.port()), (source.ip(), 0));
        socket.set_nonblocking(false)?;
        socket.connect(&server.local_addr()?.into())?;
        let connected = socket.local_addr()?.as_socket().ok_or("no address")?;
        assert_eq!(connected.ip(), source.ip());
        assert_ne!(connected.port(), 0);
    }
    Ok(())
}

fn datagrams_inside() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let namespace = network()?;
        for address in [V4, V6] {
            let server =
                tokio::net::UdpSocket::from_std(namespace.udp_socket(address, &SocketOptions::default())?)?;
            let client =
                tokio::net::UdpSocket::from_std(namespace.udp_socket(address, &SocketOptions::default())?)?;
            client.send_to(b"query", server.local_addr()?).await?;
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).await?;
            assert_eq!((&buffer[..length], from), (&b"query"[..], client.local_addr()?));
        }
        Ok(())
    })
}

fn the_namespace_of_a_socket() -> Outcome {
    let made = network()?;
    let listener = made.tcp_listener(V4, &SocketOptions::default())?;
    assert_eq!(Namespace::of_socket(&listener)?.id(), made.id());
    let ours = std::os::unix::net::UnixDatagram::unbound()?;
    assert_eq!(Namespace::of_socket(&ours)?.id(), Namespace::current()?.id());
    for file in [std::fs::File::open("/proc/self/ns/net")?, std::fs::File::open("/dev/null")?] {
        assert!(matches!(Namespace::of_socket(&file), Err(OpenError::Open { origin: Origin::Socket, .. })));
    }
    Ok(())
}
