//! Applications that ask to be told who comes, and those that do not.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use hbone::proxy_protocol::{Parsed, ProxyHeader, parse};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Lab;

use crate::mesh::{
    APPLICATION, Child, FAMILIES, Files, LIMIT, Member, Mesh, Result, accept, listening, pods, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("nginx_is_told_who_comes", nginx_is_told_who_comes).needs_program("nginx"),
        test("who_comes_is_told_before_the_first_byte", who_comes_is_told_before_the_first_byte),
        test("who_comes_is_told_at_one_port", who_comes_is_told_at_one_port),
        test(
            "what_an_intruder_tells_is_told_after_what_is_true",
            what_an_intruder_tells_is_told_after_what_is_true,
        ),
        test("who_does_not_ask_is_told_nothing", who_does_not_ask_is_told_nothing),
    ]
}

/// What makes an application be told on all its ports, and on one.
const ASKS: &str = "applicationTunnel: {protocol: PROXY},";
const ASKS_AT_ONE: &str = "applicationTunnel: {protocol: PROXY, port: 15088},";

struct Scene {
    mesh: Mesh,
    client: Member,
    stranger: Member,
    server: Member,
    _lab: Lab,
}

impl Scene {
    /// A client and a server in the mesh, the server with these fields in the workloads file; and a stranger.
    fn new(fields: &str) -> Result<Self> {
        let lab = Lab::new()?;
        let [client, stranger, mut server] = pods(&lab, ["client", "stranger", "server"])?;
        fields.clone_into(&mut server.fields);
        let mesh = Mesh::start(lab.node(), &[&client, &server])?;
        Ok(Self { mesh, client, stranger, server, _lab: lab })
    }

    fn listen(&self, port: u16) -> Result<TcpListener> {
        Ok(self.server.namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??)
    }
}

/// All that the application gets when `client` says `words` to `to`.
pub(crate) fn heard(
    listener: &TcpListener,
    client: &Member,
    to: SocketAddr,
    words: &[u8],
) -> Result<Vec<u8>> {
    let mut near = client.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT))??;
    near.write_all(words)?;
    near.shutdown(Shutdown::Write)?;
    let mut far = accept(listener)?;
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What an application was told, and what then came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) source: Option<std::net::IpAddr>,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) authority: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) rest: Vec<u8>,
}

pub(crate) fn told(bytes: &[u8]) -> Result<Told> {
    let Parsed { header, length } = parse(bytes)?;
    let ProxyHeader::Proxied { addresses, tlvs } = header else { return Err(format!("{header:?}").into()) };
    Ok(Told {
        source: addresses.source().map(|source| source.ip()),
        destination: addresses.destination(),
        authority: tlvs.authority().map(str::to_owned),
        identity: tlvs.peer_identity().map(str::to_owned),
        rest: bytes.get(length..).unwrap_or_default().to_owned(),
    })
}

fn nginx_is_told_who_comes() -> Outcome {
    let scene = Scene::new(ASKS)?;
    let nginx = nginx(&scene.mesh.files, &scene.server)?;
    for family in FAMILIES {
        for client in [&scene.client, &scene.stranger] {
            let to = scene.server.at(family, APPLICATION);
            let asked = http::request(&client.namespace, to, "/", b"");
            let response = asked.map_err(|error| nginx.with_log(error.into()))?;
            let from = client.at(family, 0).ip();
            let wanted = format!("{from} to {} {APPLICATION}, by {from}\n", to.ip());
            assert_eq!(String::from_utf8_lossy(response.body()), wanted);
        }
    }
    // It takes nothing without, so all of this was told.
    let direct = scene.server.namespace.run(|| TcpStream::connect(("127.0.0.1", APPLICATION)))??;
    (&direct).write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    assert_eq!((&direct).read(&mut [0; 64]).unwrap_or_default(), 0);
    Ok(())
}

/// nginx in the foreground, as one process; it answers with what it was told.
fn nginx(files: &Files, server: &Member) -> Result<Child> {
    let folder = files.path().display();
    let configuration = format!(
        "user root root; daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
         events {{ }}
         http {{
           access_log off;
           client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
           uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
           server {{
             listen {APPLICATION} proxy_protocol; listen [::]:{APPLICATION} proxy_protocol;
             return 200 '$proxy_protocol_addr to $proxy_protocol_server_addr $proxy_protocol_server_port, by $remote_addr\\n';
           }}
         }}
        "
    );
    fs::write(files.path().join("nginx.conf"), configuration)?;
    let mut command = std::process::Command::new("nginx");
    command.arg("-p").arg(files.path()).arg("-c").arg(files.path().join("nginx.conf")).args(["-e", "stderr"]);
    let nginx = Child::start("nginx", &mut command, &server.namespace, &files.log("nginx"))?;
    wait_for("nginx to listen", || Ok(listening(&server.namespace, APPLICATION)? == 2))
        .map_err(|error| nginx.with_log(error))?;
    Ok(nginx)
}

fn who_comes_is_told_before_the_first_byte() -> Outcome {
    let scene = Scene::new(ASKS)?;
    let listener = scene.listen(APPLICATION)?;
    for family in FAMILIES {
        let to = scene.server.at(family, APPLICATION);
        let by_tunnel = told(&heard(&listener, &scene.client, to, b"hello")?)?;
        let wanted = Told {
            source: Some(scene.client.at(family, 0).ip()),
            destination: Some(to),
            authority: Some(to.to_string()),
            identity: Some("spiffe://cluster.local/ns/test/sa/client".into()),
            rest: b"hello".into(),
        };
        assert_eq!(by_tunnel, wanted);
        let in_plaintext = told(&heard(&listener, &scene.stranger, to, b"hello")?)?;
        let source = Some(scene.stranger.at(family, 0).ip());
        assert_eq!(in_plaintext, Told { source, authority: None, identity: None, ..wanted });
    }
    Ok(())
}

fn who_comes_is_told_at_one_port() -> Outcome {
    let scene = Scene::new(ASKS_AT_ONE)?;
    let (told_port, other) = (scene.listen(15088)?, scene.listen(APPLICATION)?);
    for family in FAMILIES {
        let to = scene.server.at(family, APPLICATION);
        let by_tunnel = told(&heard(&told_port, &scene.client, to, b"hello")?)?;
        assert_eq!((by_tunnel.destination, &by_tunnel.rest[..]), (Some(to), &b"hello"[..]));
        // What comes in plaintext goes where it is to.
        assert_eq!(heard(&other, &scene.stranger, to, b"hello")?, b"hello");
    }
    Ok(())
}

/// A client writes a header of its own, that says that it is somebody else.
fn what_an_intruder_tells_is_told_after_what_is_true() -> Outcome {
    let scene = Scene::new(ASKS_AT_ONE)?;
    let listener = scene.listen(15088)?;
    let to = scene.server.at(FAMILIES[0], 15088);
    let own = heard(&listener, &scene.client, to, b"")?;
    for intruder in [&scene.stranger, &scene.client] {
        let Told { source, identity, rest, .. } = told(&heard(&listener, intruder, to, &own)?)?;
        assert_eq!(source, Some(intruder.at(FAMILIES[0], 0).ip()));
        let proves = intruder.name == "client";
        assert_eq!(identity.is_some(), proves, "a stranger proves nothing");
        assert_eq!(rest, own);
    }
    Ok(())
}

fn who_does_not_ask_is_told_nothing() -> Outcome {
    let scene = Scene::new("")?;
    let listener = scene.listen(APPLICATION)?;
    for family in FAMILIES {
        for client in [&scene.client, &scene.stranger] {
            let to = scene.server.at(family, APPLICATION);
            assert_eq!(heard(&listener, client, to, b"hello")?, b"hello");
        }
    }
    // One that speaks first is not kept waiting for anything, either.
    let to = scene.server.at(FAMILIES[0], APPLICATION);
    let mut near = scene.client.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT))??;
    let mut far = accept(&listener)?;
    far.write_all(b"220 hello")?;
    drop(far);
    let mut greeting = Vec::new();
    near.set_read_timeout(Some(LIMIT))?;
    io::Read::read_to_end(&mut near, &mut greeting)?;
    assert_eq!(greeting, b"220 hello");
    Ok(())
}
