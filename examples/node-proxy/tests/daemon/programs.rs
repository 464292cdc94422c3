//! Programs that people run, in pods that a real CNI plugin made, through the proxy as it is run.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use netns::Namespace;
use sha2::{Digest as _, Sha256};
use testkit::canary::Capture;
use testkit::cni::{Container, Network};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::loopback_up;

use crate::mesh::{
    APPLICATION, Child, FAMILIES, Family, Files, LIMIT, Member, Mesh, Result, listening, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, body: fn() -> Outcome| test(name, body).needs_path(PLUGINS.to_owned() + "/bridge");
    vec![
        case("curl_reaches_nginx", curl_reaches_nginx).needs_program("curl").needs_program("nginx"),
        case("a_gibibyte_arrives_as_it_was_sent", a_gibibyte_arrives_as_it_was_sent).needs_program("curl"),
        case("two_hundred_connections_at_once", two_hundred_connections_at_once),
        case("iperf3_runs_in_both_directions", iperf3_runs_in_both_directions).needs_program("iperf3"),
    ]
}

/// Where Debian's package containernetworking-plugins puts them.
const PLUGINS: &str = "/usr/lib/cni";
/// The interface that it makes in a pod.
const INTERFACE: &str = "eth0";

/// A node whose pods a CNI plugin attaches, and the proxy that serves them.
struct Scene {
    mesh: Mesh,
    client: Member,
    server: Member,
    _network: Network,
}

impl Scene {
    fn new() -> Result<Self> {
        let node = Namespace::create()?;
        loopback_up(&node)?;
        let network = Network::new("pods", [PLUGINS])?.bridge();
        let [client, server] = ["client", "server"].map(|name| attach(&network, &node, name));
        let (client, server) = (client?, server?);
        let mesh = Mesh::start(&node, &[&client, &server])?;
        Ok(Self { mesh, client, server, _network: network })
    }
}

fn attach(network: &Network, node: &Namespace, name: &str) -> Result<Member> {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    let container = Container { id: name, namespace: &namespace, interface: INTERFACE, arguments: &[] };
    let addresses = network.add(node, &container)?.addresses();
    Ok(Member::new(name, namespace, addresses))
}

/// Runs a program inside to its end, and gives what it wrote.
fn output(member: &Member, command: &mut Command) -> Result<Vec<u8>> {
    let output = member.namespace.run(|| command.stdin(Stdio::null()).output())??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!(
            "{command:?}: {}: {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        )
        .into());
    }
    Ok(output.stdout)
}

fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--noproxy", "*"]);
    command
}

fn curl_reaches_nginx() -> Outcome {
    const PAGE: &[u8] = b"<p>a page that nobody on the wire may read</p>\n";
    let scene = Scene::new()?;
    let nginx = nginx(&scene.mesh.files, &scene.server, PAGE)?;
    let capture = Capture::start(&scene.client.namespace, INTERFACE)?;
    for family in FAMILIES {
        let url = format!("http://{}/page.html", scene.server.at(family, APPLICATION));
        let page = output(&scene.client, curl().arg(&url)).map_err(|error| nginx.with_log(error))?;
        assert_eq!(page, PAGE);
    }
    // One connection for many requests.
    let urls = format!("http://{}/page.html?[1-100]", scene.server.at(Family::V4, APPLICATION));
    assert_eq!(output(&scene.client, curl().arg(&urls))?, PAGE.repeat(100));
    let frames = capture.stop()?;
    assert_eq!(frames.drops(), 0);
    let ports = frames.tcp_ports();
    assert!(ports.contains_key(&15008) && !ports.contains_key(&APPLICATION), "{ports:?}");
    assert!(!frames.contains(PAGE), "{frames:?}");
    let log = || -> Result<String> { Ok(fs::read_to_string(scene.mesh.files.path().join("access"))?) };
    // nginx writes a line after it has answered.
    wait_for("a line for each request", || Ok(log()?.lines().count() == 102))?;
    let clients = FAMILIES.map(|family| scene.client.at(family, 0).ip().to_string());
    for line in log()?.lines() {
        assert!(clients.contains(&line.to_owned()), "nginx saw {line}");
    }
    Ok(())
}

/// nginx in the foreground, as one process, so that it changes no user (which a rootless sandbox does not have) and leaves
/// nothing behind.
fn nginx(files: &Files, server: &Member, page: &[u8]) -> Result<Child> {
    let folder = files.path();
    fs::write(folder.join("page.html"), page)?;
    fs::write(folder.join("nginx.conf"), nginx_configuration(folder))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    let nginx = Child::start("nginx", &mut command, &server.namespace, &files.log("nginx"))?;
    wait_for("nginx to listen", || Ok(listening(&server.namespace, APPLICATION)? == 2))
        .map_err(|error| nginx.with_log(error))?;
    Ok(nginx)
}

fn nginx_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "user root root; daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
         events {{ }}
         http {{
           log_format client '$remote_addr';
           access_log {folder}/access client;
           client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
           uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
           server {{ listen {APPLICATION}; listen [::]:{APPLICATION}; root {folder}; }}
         }}
        "
    )
}

/// How much a long transfer is: 1 GiB.
const LONG: u64 = 1 << 30;
/// How much is sent at a time.
const BLOCK: usize = 1 << 20;

/// Down by curl, up by a plain socket, both at the same time, each compared by its hash.
fn a_gibibyte_arrives_as_it_was_sent() -> Outcome {
    let scene = Scene::new()?;
    let bind = |port| scene.server.namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
    let (down, up) = (bind(APPLICATION)??, bind(APPLICATION + 1)??);
    let [url, upward] = [APPLICATION, APPLICATION + 1].map(|port| scene.server.at(Family::V4, port));
    thread::scope(|scope| {
        let served = scope.spawn(|| serve_long(&down));
        let sunk = scope.spawn(|| up.accept().and_then(|(stream, _)| hash_all(stream)));
        let downloaded = scope.spawn(|| download(&scene.client, url));
        let uploaded = scope.spawn(|| upload(&scene.client, upward));
        let (served, downloaded) = (served.join().unwrap()?, downloaded.join().unwrap()?);
        assert_eq!(downloaded, (LONG, served), "what came down is what was sent");
        let (sunk, uploaded) = (sunk.join().unwrap()?, uploaded.join().unwrap()?);
        assert_eq!(sunk, (LONG, uploaded), "what came up is what was sent");
        Ok(())
    })
}

type Hash = [u8; 32];

/// Sends blocks of which none is like another.
fn send_long(mut stream: impl io::Write) -> io::Result<Hash> {
    let mut block: Vec<u8> = (0..=250).cycle().take(BLOCK).collect();
    let mut hash = Sha256::new();
    for number in 0..LONG / BLOCK as u64 {
        for part in block.chunks_mut(4096) {
            part.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
        }
        hash.update(&block);
        stream.write_all(&block)?;
    }
    Ok(hash.finalize().into())
}

fn hash_all(mut stream: impl io::Read) -> io::Result<(u64, Hash)> {
    let (mut hash, mut length, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        let read = stream.read(&mut block)?;
        if read == 0 {
            return Ok((length, hash.finalize().into()));
        }
        hash.update(block.get(..read).unwrap_or_default());
        length += read as u64;
    }
}

/// Answers one HTTP request with much.
fn serve_long(listener: &TcpListener) -> io::Result<Hash> {
    let (mut stream, _) = listener.accept()?;
    let mut request = BufReader::new(stream.try_clone()?).lines();
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\nConnection: close\r\n\r\n")?;
    send_long(stream)
}

fn download(client: &Member, from: SocketAddr) -> io::Result<(u64, Hash)> {
    let mut curl = curl();
    curl.arg(format!("http://{from}/")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut curl = client.namespace.run(|| curl.spawn()).map_err(io::Error::other)??;
    let hashed = hash_all(curl.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?)?;
    let status = curl.wait()?;
    if status.success() { Ok(hashed) } else { Err(io::Error::other(format!("curl: {status}"))) }
}

fn upload(client: &Member, to: SocketAddr) -> io::Result<Hash> {
    let stream =
        client.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT)).map_err(io::Error::other)??;
    stream.set_write_timeout(Some(LIMIT))?;
    send_long(stream)
}

fn two_hundred_connections_at_once() -> Outcome {
    const COUNT: usize = 200;
    let scene = Scene::new()?;
    let application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    let address = scene.server.at(Family::V4, APPLICATION);
    let connect = || scene.client.namespace.run(|| TcpStream::connect_timeout(&address, LIMIT));
    let mut streams = Vec::new();
    for _ in 0..COUNT {
        let mut stream = connect()??;
        stream.set_read_timeout(Some(LIMIT))?;
        // The first half, so that all are there at the same time.
        stream.write_all(b"POST / HTTP/1.1\r\nConnection: close\r\n")?;
        streams.push(stream);
    }
    wait_for("all connections at the application", || Ok(application.peers().len() == COUNT))?;
    for (number, stream) in streams.iter_mut().enumerate() {
        let body = format!("connection {number}");
        write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with(&format!("\nconnection {number}")), "{number}: {answer}");
    }
    let own = scene.client.at(Family::V4, 0).ip();
    assert!(application.peers().iter().all(|peer| peer.ip() == own));
    assert_eq!(application.requests(), COUNT as u64);
    Ok(())
}

fn iperf3_runs_in_both_directions() -> Outcome {
    const PORT: u16 = 5201;
    let scene = Scene::new()?;
    for direction in [&[][..], &["--reverse"]] {
        let mut serve = Command::new("iperf3");
        serve.args(["--server", "--one-off", "--port", &PORT.to_string()]);
        let log = scene.mesh.files.log("iperf3");
        let server = Child::start("iperf3", &mut serve, &scene.server.namespace, &log)?;
        wait_for("iperf3 to listen", || Ok(listening(&scene.server.namespace, PORT)? > 0))?;
        let address = scene.server.at(Family::V4, PORT).ip().to_string();
        let mut measure = Command::new("iperf3");
        measure.args(["--client", &address, "--time", "2", "--parallel", "4", "--json"]).args(direction);
        let told = output(&scene.client, &mut measure).map_err(|error| server.with_log(error))?;
        let told: serde_json::Value = serde_json::from_slice(&told)?;
        let received = told.pointer("/end/sum_received/bytes").and_then(serde_json::Value::as_u64);
        assert!(received.is_some_and(|bytes| bytes > 1 << 20), "{direction:?}: {told}");
    }
    Ok(())
}
