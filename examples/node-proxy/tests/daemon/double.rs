//! Two networks with a gateway between: the near one's `node-proxy` reaches the far one's by a tunnel in a tunnel.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use netns::Namespace;
use testkit::canary::Capture;
use testkit::conversation::exchange;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Lab, loopback_up};

use crate::mesh::{
    APPLICATION, FAMILIES, Family, Files, Gateway, LIMIT, Member, Mesh, Result, accept, pods, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test(
            "another_network_is_reached_through_its_gateway",
            another_network_is_reached_through_its_gateway,
        ),
        test(
            "a_connection_through_a_gateway_ends_as_any_other",
            a_connection_through_a_gateway_ends_as_any_other,
        ),
        test("much_passes_through_a_gateway", much_passes_through_a_gateway),
        test("connections_through_a_gateway_are_shared", connections_through_a_gateway_are_shared),
        test(
            "a_gateway_that_goes_is_left_for_a_new_connection",
            a_gateway_that_goes_is_left_for_a_new_connection,
        ),
        test("each_layer_fails_by_its_name", each_layer_fails_by_its_name),
        test("without_a_gateway_nothing_leaves", without_a_gateway_nothing_leaves),
    ]
}

/// The near network's name, and the far one's.
pub(crate) const EAST: &str = "east";
pub(crate) const WEST: &str = "west";

/// The service that is there.
pub(crate) const TARGET: &str = "server.test:80";

/// Its addresses, the same in both networks.
pub(crate) fn service(family: Family) -> SocketAddr {
    match family {
        Family::V4 => ([10, 96, 0, 1], 80).into(),
        Family::V6 => ([0xfd96, 0, 0, 0, 0, 0, 0, 1], 80).into(),
    }
}

/// What the far network is to the near one: a server without an address, behind a gateway. `expected` is whom the service names,
/// `gateway` what is said of the gateway.
pub(crate) fn beyond(gateway: &str, expected: &str) -> String {
    format!(
        "- {{uid: far, name: far, namespace: test, serviceAccount: far, workloadIps: [], trustDomain: cluster.local, \
         protocol: HBONE, node: elsewhere, network: {WEST}, {gateway} services: {{\"test/server.test\": {{80: {APPLICATION}}}}}}}\n{}",
        services(EAST, expected)
    )
}

/// The service, as `network` knows it.
pub(crate) fn services(network: &str, expected: &str) -> String {
    format!(
        "services:\n- {{name: server, namespace: test, hostname: server.test, vips: [\"{network}/{}\", \"{network}/{}\"], ports: {{80: {APPLICATION}}}, \
         subjectAltNames: [\"spiffe://cluster.local/ns/test/sa/{expected}\"]}}\n",
        service(Family::V4).ip(),
        service(Family::V6).ip(),
    )
}

/// The gateway's workload, and what names it.
pub(crate) fn at(gateway: &Member) -> String {
    let address = gateway.at(Family::V4, 0).ip();
    format!("networkGateway: {{destination: {WEST}/{address}, hboneMtlsPort: 15008}},")
}

struct Scene {
    near: Mesh,
    far: Mesh,
    client: Member,
    gateway_pod: Member,
    server: Member,
    _lab: Lab,
}

impl Scene {
    /// Both networks, with the far end as the service names it. The gateway is still to be started.
    fn new(expected: &str) -> Result<Self> {
        let lab = Lab::new()?;
        let [client, gateway_pod, server] = pods(&lab, ["client", "gateway", "server"])?;
        let (client, gateway_pod, server) =
            (client.in_network(EAST), gateway_pod.in_network(WEST), server.in_network(WEST));
        let files = Files::new(&[&client, &gateway_pod])?;
        files.write_workloads(&beyond(&at(&gateway_pod), expected))?;
        let far_files = Files::new(&[&server])?;
        std::fs::copy(files.ca_cert(), far_files.ca_cert())?;
        std::fs::copy(files.ca_key(), far_files.ca_key())?;
        far_files.write_workloads(&services(WEST, expected))?;
        let far_node = Namespace::create()?;
        loopback_up(&far_node)?;
        let near = Self::mesh(lab.node(), files, &client)?;
        let far = Self::mesh(&far_node, far_files, &server)?;
        Ok(Self { near, far, client, gateway_pod, server, _lab: lab })
    }

    fn mesh(node: &Namespace, files: Files, member: &Member) -> Result<Mesh> {
        let mut mesh = Mesh::start_with(node, files)?;
        mesh.enrol(&[member])?;
        mesh.capture(&[member])?;
        Ok(mesh)
    }

    fn gateway(&self) -> Result<Gateway> {
        self.gateway_as("gateway", TARGET)
    }

    fn gateway_as(&self, name: &str, target: &str) -> Result<Gateway> {
        let to = self.server.at(Family::V4, 15008);
        Gateway::start(&self.near.files, &self.gateway_pod, name, target, to)
    }

    fn connect(&self) -> Result<TcpStream> {
        let to = service(Family::V4);
        let stream = self.client.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT))??;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// A connection of the client to the application.
    fn pair(&self) -> Result<(TcpStream, TcpStream)> {
        let listener = self.server.namespace.run(|| std::net::TcpListener::bind(("::", APPLICATION)))??;
        let near = self.connect()?;
        Ok((near, accept(&listener)?))
    }

    /// Waits until the near proxy has said this of a connection.
    fn wait_for_log(&self, words: &[&str]) -> Result<()> {
        let is_said = |line: &str| words.iter().all(|word| line.contains(word));
        wait_for(&format!("{words:?}"), || Ok(self.near.proxy.log()?.lines().any(is_said)))
            .map_err(|error| self.near.proxy.with_log(error))
    }
}

fn another_network_is_reached_through_its_gateway() -> Outcome {
    const CANARY: &[u8] = b"a canary between two networks";
    let scene = Scene::new("server")?;
    let gateway = scene.gateway()?;
    let application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    let captures = [&scene.client, &scene.server].map(|pod| Capture::start(&pod.namespace, INTERFACE));
    for family in FAMILIES {
        let asked = http::request(&scene.client.namespace, service(family), "/", CANARY);
        let response = asked.map_err(|error| {
            scene.near.proxy.with_log(scene.far.proxy.with_log(format!("{family:?}: {error}").into()))
        })?;
        assert_eq!(response.echo(), Some(CANARY));
    }
    // To the far end the gateway is who comes, whatever the family of the client.
    let from = scene.gateway_pod.at(Family::V4, 0).ip();
    assert!(application.peers().iter().all(|peer| peer.ip() == from), "{:?}", application.peers());
    for capture in captures {
        let frames = capture?.stop()?;
        assert!(!frames.contains(CANARY), "{frames:?}");
        assert!(frames.tcp_ports().contains_key(&15008) && !frames.tcp_ports().contains_key(&APPLICATION));
    }
    let met = gateway.met();
    assert!(met.peers.iter().all(|peer| peer.to_string() == "spiffe://cluster.local/ns/test/sa/client"));
    assert!(met.targets.iter().all(|target| *target == (TARGET.to_owned(), false)), "{:?}", met.targets);
    assert!(
        !met.passed.is_empty() && !contains(&met.passed, CANARY),
        "the gateway cannot read what it passes on"
    );
    let hop = format!("tunnel={}:15008", scene.gateway_pod.at(Family::V4, 0).ip());
    scene.wait_for_log(&[&hop, "peer=spiffe://cluster.local/ns/test/sa/server"])?;
    let far_log = || scene.far.proxy.log();
    wait_for("the far end's report", || {
        Ok(far_log()?.contains("peer=spiffe://cluster.local/ns/test/sa/client"))
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn a_connection_through_a_gateway_ends_as_any_other() -> Outcome {
    let scene = Scene::new("server")?;
    let _gateway = scene.gateway()?;
    // Each direction by itself.
    let (mut near, mut far) = scene.pair()?;
    near.write_all(b"question")?;
    near.shutdown(Shutdown::Write)?;
    assert_eq!(read_to_end(&far)?, b"question");
    far.write_all(b"answer")?;
    drop(far);
    assert_eq!(read_to_end(&near)?, b"answer");
    // A reset, either way.
    let (mut near, mut far) = scene.pair()?;
    near.write_all(b"half")?;
    far.read_exact(&mut [0; 4])?;
    socket2::SockRef::from(&near).set_linger(Some(std::time::Duration::ZERO))?;
    drop(near);
    let cut = read_to_end(&far).unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
    let (mut near, mut far) = scene.pair()?;
    far.write_all(b"half")?;
    near.read_exact(&mut [0; 4])?;
    socket2::SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO))?;
    drop(far);
    assert_eq!(read_to_end(&near).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    Ok(())
}

fn read_to_end(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

fn much_passes_through_a_gateway() -> Outcome {
    /// 32 MiB each way.
    const WORDS: u64 = 4 << 20;
    let scene = Scene::new("server")?;
    let _gateway = scene.gateway()?;
    let much = |factor: u64| -> Vec<u8> {
        (0..WORDS).flat_map(|at| at.wrapping_mul(factor).to_le_bytes()).collect()
    };
    let (up, down) = (much(0x9e37_79b9_7f4a_7c15), much(0xd1b5_4a32_d192_ed03));
    let (near, far) = scene.pair()?;
    exchange([&near, &far], [&up, &down])
}

fn connections_through_a_gateway_are_shared() -> Outcome {
    const COUNT: usize = 40;
    let scene = Scene::new("server")?;
    let gateway = scene.gateway()?;
    let _application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    for _ in 0..COUNT {
        http::request(&scene.client.namespace, service(Family::V4), "/", b"hello")?;
    }
    let met = gateway.met();
    // At most one for each of the two workers, and each of those asks for few tunnels.
    assert!((1..=2).contains(&met.peers.len()), "{:?}", met.peers);
    assert!((1..COUNT / 2).contains(&met.targets.len()), "{:?}", met.targets);
    Ok(())
}

fn a_gateway_that_goes_is_left_for_a_new_connection() -> Outcome {
    let scene = Scene::new("server")?;
    let gateway = scene.gateway()?;
    let (mut near, mut far) = scene.pair()?;
    near.write_all(b"half")?;
    far.read_exact(&mut [0; 4])?;
    let before = gateway.met().peers.len();
    gateway.say_goodbye()?;
    let _application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    // When the proxy hears of it nothing tells.
    wait_for("a new connection to the gateway", || {
        http::request(&scene.client.namespace, service(Family::V4), "/", b"hello")?;
        Ok(gateway.met().peers.len() > before)
    })?;
    // What was open goes on to its end.
    near.write_all(b" and half")?;
    drop(near);
    assert_eq!(read_to_end(&far)?, b" and half");
    Ok(())
}

fn each_layer_fails_by_its_name() -> Outcome {
    let scene = Scene::new("server")?;
    let refused = |words: &[&str]| -> Result<()> {
        let stream = scene.connect()?;
        assert!(read_to_end(&stream).unwrap_or_default().is_empty());
        scene.wait_for_log(words)
    };
    refused(&["outer layer: dialling the gateway", "connecting to"])?;
    {
        let _impostor = scene.gateway_as("impostor", TARGET)?;
        refused(&["outer layer: dialling the gateway: handshake with", "sa/impostor"])?;
    }
    {
        let _ignorant = scene.gateway_as("gateway", "another.test:80")?;
        refused(&["outer layer: opening the tunnel to the far end", "status 503"])?;
    }
    let _gateway = scene.gateway()?;
    // Nobody listens there.
    refused(&["inner layer: opening the tunnel to the application", "status 503"])?;
    let scene = Scene::new("another")?;
    let _gateway = scene.gateway()?;
    let stream = scene.connect()?;
    assert!(read_to_end(&stream).unwrap_or_default().is_empty());
    scene.wait_for_log(&["inner layer: handshake with the far end", "sa/server"])
}

fn without_a_gateway_nothing_leaves() -> Outcome {
    let lab = Lab::new()?;
    let [client] = pods(&lab, ["client"])?.map(|client| client.in_network(EAST));
    let files = Files::new(&[&client])?;
    files.write_workloads(&beyond("", "server"))?;
    let mesh = Scene::mesh(lab.node(), files, &client)?;
    let capture = Capture::start(&client.namespace, INTERFACE)?;
    for family in FAMILIES {
        let to = service(family);
        let stream = client.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT))??;
        stream.set_read_timeout(Some(LIMIT))?;
        assert!(read_to_end(&stream).unwrap_or_default().is_empty());
    }
    let said = r#"no gateway leads to workload far in network"#;
    wait_for(said, || Ok(mesh.proxy.log()?.matches(said).count() == 2))?;
    let frames = capture.stop()?;
    assert!(frames.tcp_ports().is_empty(), "{frames:?}");
    Ok(())
}
