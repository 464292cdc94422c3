//! The laboratory itself, in the kernel.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use inpod_testkit::canary::Capture;
use inpod_testkit::cni::{Container, Network};
use inpod_testkit::http::{Server, request};
use inpod_testkit::kernel::{Outcome, run, test};
use inpod_testkit::lab::{BRIDGE, INTERFACE, Lab, loopback_up};
use inpod_testkit::leaks::{Baseline, LeakError};
use netns::Namespace;

fn main() -> ExitCode {
    run(vec![
        test("the_sandbox_has_only_a_loopback", only_a_loopback),
        test("two_pods_reach_each_other", two_pods_reach_each_other),
        test("a_pod_reaches_the_node", a_pod_reaches_the_node),
        test("labs_do_not_see_each_other", labs_do_not_see_each_other),
        test("a_program_runs_in_its_pod", a_program_runs_in_its_pod),
        test("the_server_says_whom_it_saw", the_server_says_whom_it_saw),
        test("a_server_ends_with_its_connections", a_server_ends_with_its_connections),
        test("curl_and_the_server_understand_each_other", curl_and_the_server).needs_program("curl"),
        test("the_canary_is_found_on_the_wire", the_canary_is_found_on_the_wire),
        test("loopback_frames_come_once", loopback_frames_come_once),
        test("an_interface_that_is_not_there_is_named", an_interface_that_is_not_there_is_named),
        test("a_leak_is_found", a_leak_is_found).serial(),
        test("a_thread_left_behind_is_found", a_thread_left_behind_is_found).serial(),
        test("a_lab_leaves_nothing", a_lab_leaves_nothing).serial(),
        test("a_pod_attached_by_cni", a_pod_attached_by_cni).needs_path("/usr/lib/cni/bridge"),
        test("a_missing_plugin_is_named", a_missing_plugin_is_named),
    ])
}

fn only_a_loopback() -> Outcome {
    let interfaces: Vec<_> = nix::ifaddrs::getifaddrs()?.map(|interface| interface.interface_name).collect();
    assert!(!interfaces.is_empty() && interfaces.iter().all(|name| name == "lo"), "{interfaces:?}");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    Ok(())
}

fn two_pods_reach_each_other() -> Outcome {
    let lab = Lab::new()?;
    let (a, b) = (lab.pod("a")?, lab.pod("b")?);
    for (from, to) in [(IpAddr::from(a.v4()), IpAddr::from(b.v4())), (a.v6().into(), b.v6().into())] {
        let listener = b.run(|| TcpListener::bind((to, 0)))??;
        let server = listener.local_addr()?;
        let client = thread::scope(|scope| {
            let client = scope.spawn(|| a.run(|| TcpStream::connect(server)));
            let (mut stream, peer) = listener.accept()?;
            assert_eq!(peer.ip(), from);
            stream.write_all(b"hello")?;
            client.join().map_err(|_| io::Error::other("the client panicked"))
        })???;
        let mut heard = String::new();
        (&client).read_to_string(&mut heard)?;
        assert_eq!(heard, "hello");
    }
    Ok(())
}

fn a_pod_reaches_the_node() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("a")?;
    for address in [IpAddr::from(lab.v4()), lab.v6().into()] {
        let listener = lab.node().run(|| TcpListener::bind((address, 0)))??;
        let server = listener.local_addr()?;
        pod.run(|| TcpStream::connect(server))??;
    }
    Ok(())
}

/// Both have the same addresses, and in each they are its own.
fn labs_do_not_see_each_other() -> Outcome {
    let (first, second) = (Lab::new()?, Lab::new()?);
    let (here, there) = (first.pod("a")?, second.pod("a")?);
    assert_eq!(here.v4(), there.v4());
    let listener = here.run(|| TcpListener::bind((here.v4(), 80)))??;
    let server = SocketAddr::from((here.v4(), 80));
    let refused = there.run(|| TcpStream::connect(server))?;
    assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
    first.node().run(|| TcpStream::connect(server))??;
    drop(listener);
    Ok(())
}

fn a_program_runs_in_its_pod() -> Outcome {
    let pod = Lab::new()?.pod("a")?;
    let mut command = Command::new("readlink");
    let child = pod.spawn(command.arg("/proc/self/ns/net").stdout(Stdio::piped()))?;
    let output = child.wait_with_output()?;
    let expected = format!("net:[{}]\n", pod.namespace().id().inode());
    assert_eq!(String::from_utf8(output.stdout)?, expected);
    Ok(())
}

fn the_server_says_whom_it_saw() -> Outcome {
    let lab = Lab::new()?;
    let (client, app) = (lab.pod("client")?, lab.pod("app")?);
    let server = Server::start(app.namespace(), 8080)?;
    for (from, to) in
        [(IpAddr::from(client.v4()), IpAddr::from(app.v4())), (client.v6().into(), app.v6().into())]
    {
        let answer = request(client.namespace(), SocketAddr::new(to, server.port()), "/", b"hello")?;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.peer().map(|peer| peer.ip()), Some(from));
        assert_eq!(answer.echo(), Some(&b"hello"[..]));
    }
    assert_eq!(
        server.peers().iter().map(SocketAddr::ip).collect::<Vec<_>>(),
        [IpAddr::from(client.v4()), client.v6().into()]
    );
    assert_eq!((server.requests(), server.received()), (2, 10));
    drop(server);
    assert!(request(client.namespace(), SocketAddr::from((app.v4(), 8080)), "/", b"").is_err());
    Ok(())
}

fn a_server_ends_with_its_connections() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("a")?;
    let server = Server::start(pod.namespace(), 0)?;
    let address = SocketAddr::from((pod.v4(), server.port()));
    let mut idle = pod.run(|| TcpStream::connect(address))??;
    // One request, so that the connection is known to have been accepted.
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    idle.read_exact(&mut [0; 8])?;
    drop(server);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest)?;
    assert!(String::from_utf8(rest)?.contains(&format!("peer={}", idle.local_addr()?)));
    Ok(())
}

fn curl_and_the_server() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("a")?;
    let server = Server::start(pod.namespace(), 0)?;
    let url = format!("http://{}:{}/", pod.v4(), server.port());
    let mut curl = Command::new("curl");
    // Twice on one connection.
    curl.args(["--silent", "--fail", "--max-time", "10", "--data", "x=1", &url, &url]);
    let output = pod.spawn(curl.stdout(Stdio::piped()))?.wait_with_output()?;
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(said.matches("x=1").count(), 2, "{said}");
    assert_eq!((server.peers().len(), server.requests()), (1, 2));
    Ok(())
}

fn the_canary_is_found_on_the_wire() -> Outcome {
    let lab = Lab::new()?;
    let (client, app) = (lab.pod("client")?, lab.pod("app")?);
    let server = Server::start(app.namespace(), 8080)?;
    let address = SocketAddr::from((app.v4(), 8080));
    // Longer than a segment, and no period that would let a part look like the whole.
    let canary: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
    let before = Capture::start(client.namespace(), INTERFACE)?;
    request(client.namespace(), address, "/", b"nothing special")?;
    let before = before.stop()?;
    let during = Capture::start(app.namespace(), INTERFACE)?;
    let on_the_bridge = Capture::start(lab.node(), BRIDGE)?;
    request(client.namespace(), address, "/", &canary)?;
    let during = during.stop()?;
    assert!(on_the_bridge.stop()?.contains(&canary), "what passes from pod to pod");
    assert_eq!((before.drops(), during.drops()), (0, 0));
    assert!(before.contains(b"nothing special") && !before.contains(&canary));
    assert!(during.contains(&canary) && !during.contains(b"nothing special"));
    assert!(!during.iter().any(|frame| frame.len() >= canary.len()), "it was cut");
    assert!(before.tcp_ports().get(&8080).is_some_and(|segments| *segments >= 3), "{before:?}");
    assert_eq!(server.requests(), 2);
    Ok(())
}

fn loopback_frames_come_once() -> Outcome {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    let capture = Capture::start(&namespace, "lo")?;
    let (sender, receiver) = namespace.run(|| -> io::Result<_> {
        Ok((UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?))
    })??;
    sender.send_to(b"once", receiver.local_addr()?)?;
    receiver.recv(&mut [0; 8])?;
    let frames = capture.stop()?;
    assert_eq!(frames.iter().filter(|frame| frame.ends_with(b"once")).count(), 1);
    Ok(())
}

fn an_interface_that_is_not_there_is_named() -> Outcome {
    let error = Capture::start(&Namespace::create()?, "eth7").err().ok_or("captured")?;
    assert_eq!(error.to_string(), "cannot find the interface eth7");
    Ok(())
}

fn a_leak_is_found() -> Outcome {
    let baseline = Baseline::take()?;
    baseline.compare()?;
    let leaked = UdpSocket::bind("127.0.0.1:0")?;
    let namespace = Namespace::create()?;
    let Err(LeakError::Leaked(leaks)) = baseline.compare() else { return Err("not found".into()) };
    assert_eq!(leaks.files().keys().collect::<Vec<_>>(), ["net", "socket"]);
    drop((leaked, namespace));
    baseline.compare()?;
    Ok(())
}

fn a_thread_left_behind_is_found() -> Outcome {
    let baseline = Baseline::take()?;
    let (go, wait) = mpsc::channel::<()>();
    let thread = Namespace::create()?.run(|| thread::spawn(move || wait.recv()))?;
    let Err(LeakError::Leaked(leaks)) = baseline.compare() else { return Err("not found".into()) };
    assert_eq!(leaks.threads().len(), 1, "{leaks}");
    drop(go);
    assert!(thread.join().is_ok_and(|received| received.is_err()));
    baseline.settled(Duration::from_secs(10))?;
    Ok(())
}

fn a_lab_leaves_nothing() -> Outcome {
    let baseline = Baseline::take()?;
    {
        let lab = Lab::new()?;
        let (client, app) = (lab.pod("client")?, lab.pod("app")?);
        let server = Server::start(app.namespace(), 0)?;
        let capture = Capture::start(client.namespace(), INTERFACE)?;
        request(client.namespace(), SocketAddr::from((app.v6(), server.port())), "/", b"")?;
        assert!(!capture.stop()?.is_empty());
    }
    baseline.settled(Duration::from_secs(10))?;
    Ok(())
}

fn a_pod_attached_by_cni() -> Outcome {
    let (node, pod) = (Namespace::create()?, Namespace::create()?);
    let network = Network::new("test", ["/usr/lib/cni"])?.bridge();
    let container = Container { id: "c1", namespace: &pod, interface: INTERFACE, arguments: &[] };
    let attachment = network.add(&node, &container)?;
    let addresses = attachment.addresses();
    assert_eq!(addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false], "{attachment:?}");
    let server = Server::start(&pod, 80)?;
    // Of IPv6 the plugin's bridge is not usable at once: its address is still being checked for duplicates.
    let address = SocketAddr::new(*addresses.first().ok_or("no address")?, server.port());
    assert_eq!(request(&node, address, "/", b"hello")?.echo(), Some(&b"hello"[..]));
    network.del(&node, &container, &attachment)?;
    network.del(&node, &container, &attachment)?;
    let table = pod.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    assert!(!table.contains(INTERFACE), "{table}");
    Ok(())
}

fn a_missing_plugin_is_named() -> Outcome {
    let node = Namespace::create()?;
    let network = Network::new("test", ["/nowhere"])?.bridge();
    let container = Container { id: "c1", namespace: &node, interface: INTERFACE, arguments: &[] };
    let error = network.add(&node, &container).err().ok_or("attached")?;
    assert_eq!(error.to_string(), "there is no plugin bridge");
    Ok(())
}
