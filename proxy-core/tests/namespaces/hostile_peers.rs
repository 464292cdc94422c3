//! Peers on the HBONE port that prove nothing, or ask for what is not theirs: none reaches the application, and the next
//! good one does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hbone::{ConnectRequest, OpenError, Target};
use http::{Method, Request, StatusCode, Uri};
use identity::{Expected, Svid};
use inpod_proxy_core::{Config, ConnectionError, Direction, HandshakeError, Node};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use testkit::http::Server;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::mesh::{APPLICATION, LIMIT, Mesh, Result, Root, connect, identity_of, runtime, trust_domain};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_peer_without_a_certificate_is_refused", || {
            refused_in_tls(anonymous, "NoCertificatesPresented")
        }),
        test("a_peer_of_another_ca_is_refused", || refused_in_tls(of_another_ca, "InvalidSignature")),
        test("a_peer_of_another_trust_domain_is_refused", || {
            refused_in_tls(of_another_trust_domain, "TrustDomain")
        }),
        test("a_peer_that_speaks_tls_1_2_is_refused", || refused_in_tls(of_tls_1_2, "PeerIncompatible")),
        test("a_peer_that_speaks_http_1_is_refused", || refused_in_tls(of_http_1, "NoApplicationProtocol")),
        test("a_peer_that_says_nothing_is_left", a_peer_that_says_nothing_is_left),
        test("a_peer_that_does_not_speak_tls_is_refused", a_peer_that_does_not_speak_tls_is_refused),
        test("a_peer_that_does_not_speak_http_2_is_refused", a_peer_that_does_not_speak_http_2_is_refused),
        test("a_connect_to_what_is_not_the_pods_is_refused", a_connect_to_what_is_not_the_pods_is_refused),
        test("a_request_that_is_no_connect_is_refused", a_request_that_is_no_connect_is_refused),
        test("a_peer_that_policy_denies_hears_so", a_peer_that_policy_denies_hears_so),
        test(
            "an_application_that_is_not_there_is_unavailable",
            an_application_that_is_not_there_is_unavailable,
        ),
    ]
}

/// A pod of the mesh with an application that must not hear of anybody, and a pod outside from which it is approached.
struct Scene {
    mesh: Mesh,
    server: Pod,
    attacker: Pod,
    application: Server,
    _node: Node,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Result<Self> {
        let (mesh, [server]) = Mesh::with(config, ["server"])?;
        let mut node = Node::new(mesh.shared.clone())?;
        mesh.serve(&mut node)?;
        mesh.capture()?;
        let attacker = mesh.lab.pod("attacker")?;
        let application = Server::start(server.namespace(), APPLICATION)?;
        Ok(Self { mesh, server, attacker, application, _node: node })
    }

    fn address(&self) -> IpAddr {
        self.server.v4().into()
    }

    /// An SVID that the mesh accepts.
    fn svid(&self) -> Result<Svid> {
        self.mesh.root.svid(&identity_of(&self.attacker))
    }

    /// TCP to the pod's HBONE port.
    fn tcp(&self) -> Result<TcpStream> {
        let stream = connect(&self.attacker, (self.address(), 15008))?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }

    async fn tls(&self, config: ClientConfig) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(config));
        Ok(timeout(LIMIT, connector.connect(identity::tls::unnamed(), self.tcp()?)).await??)
    }

    /// The application heard of nobody so far; now it hears of a peer that does everything right.
    async fn a_good_peer_is_served(&self) -> Outcome {
        assert!(self.application.peers().is_empty(), "{:?}", self.application.peers());
        let tls = self.tls(proving(&self.mesh.root, &self.svid()?)?).await?;
        let target = Target::from(SocketAddr::new(self.address(), APPLICATION));
        let mut tunnel = open(tls, target).await??;
        tunnel.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        timeout(LIMIT, tunnel.read_to_string(&mut answer)).await??;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert_eq!(self.application.peers().len(), 1);
        Ok(())
    }
}

/// A tunnel over a connection of its own.
async fn open(tls: TlsStream<TcpStream>, target: Target) -> Result<Result<hbone::Tunnel, OpenError>> {
    let (client, driver) = hbone::client::handshake(tls, &hbone::Config::default()).await?;
    tokio::spawn(driver);
    Ok(timeout(LIMIT, client.open(ConnectRequest::new(target))).await?)
}

/// What a good peer's TLS is like: it proves `svid`, and wants any identity of the mesh.
fn proving(root: &Root, svid: &Svid) -> Result<ClientConfig> {
    let anyone = Arc::new(Expected::in_trust_domain(trust_domain()));
    let mut config = identity::tls::client_config(&identity::tls::aws_lc_rs(), svid, root.bundle()?, anyone)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn anonymous(_: &Scene) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(identity::tls::aws_lc_rs());
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    let trusting = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = trusting.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The right name, vouched for by the wrong CA, which calls itself the right one.
fn of_another_ca(scene: &Scene) -> Result<ClientConfig> {
    let svid = Root::generate(trust_domain())?.svid(&identity_of(&scene.attacker))?;
    proving(&scene.mesh.root, &svid)
}

/// Vouched for by the right CA, but of another trust domain.
fn of_another_trust_domain(scene: &Scene) -> Result<ClientConfig> {
    proving(&scene.mesh.root, &scene.mesh.root.svid(&"spiffe://other.example/ns/test/sa/attacker".parse()?)?)
}

fn of_tls_1_2(scene: &Scene) -> Result<ClientConfig> {
    let svid = scene.svid()?;
    // The mesh's own cryptography leaves TLS 1.2 out.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12])?;
    let trusting = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = trusting.with_client_auth_cert(svid.chain().to_vec(), svid.key().clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn of_http_1(scene: &Scene) -> Result<ClientConfig> {
    let mut config = proving(&scene.mesh.root, &scene.svid()?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whatever the peer then asks for, it gets no tunnel, not even an answer; and it is refused for the right reason.
fn refused_in_tls(config: impl FnOnce(&Scene) -> Result<ClientConfig>, reason: &str) -> Outcome {
    let scene = Scene::new()?;
    let config = config(&scene)?;
    runtime()?.block_on(async {
        let target = Target::from(SocketAddr::new(scene.address(), APPLICATION));
        // With TLS 1.3 a client may only learn of it when it reads.
        let opened = match scene.tls(config).await {
            Ok(tls) => open(tls, target).await.map(|opened| opened.err()),
            Err(error) => Err(error),
        };
        assert!(
            matches!(opened, Err(_) | Ok(Some(OpenError::NotProcessed { .. } | OpenError::Lost { .. }))),
            "{opened:?}"
        );
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
        let Err(ConnectionError::Handshake(error)) = &report.outcome else {
            return Err(format!("{report:?}").into());
        };
        assert!(format!("{error:?}").contains(reason), "{error:?}");
        assert_eq!(report.peer, None);
        scene.a_good_peer_is_served().await
    })
}

fn a_peer_that_says_nothing_is_left() -> Outcome {
    let mut config = Config::default();
    config.handshake_timeout = Duration::from_millis(200);
    let scene = Scene::with(config)?;
    runtime()?.block_on(async {
        let mut silent = scene.tcp()?;
        assert_eq!(timeout(LIMIT, silent.read(&mut [0; 1])).await??, 0);
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
        let Err(ConnectionError::Handshake(error)) = &report.outcome else {
            return Err(format!("{report:?}").into());
        };
        assert!(matches!(**error, HandshakeError::TimedOut), "{error:?}");
        Ok(())
    })
}

fn a_peer_that_does_not_speak_tls_is_refused() -> Outcome {
    let scene = Scene::new()?;
    runtime()?.block_on(async {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0; 4096],
            &[0x16, 3, 1, 0xff, 0xff],
        ] {
            let mut stream = scene.tcp()?;
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            let mut answer = Vec::new();
            // An alert, or nothing; a reset, if it did not read all of it.
            let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await?;
            assert!(answer.len() < 16, "{answer:?}");
            let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
            assert!(matches!(report.outcome, Err(ConnectionError::Handshake(_))), "{report:?}");
        }
        scene.a_good_peer_is_served().await
    })
}

fn a_peer_that_does_not_speak_http_2_is_refused() -> Outcome {
    let scene = Scene::new()?;
    runtime()?.block_on(async {
        let mut tls = scene.tls(proving(&scene.mesh.root, &scene.svid()?)?).await?;
        tls.write_all(b"CONNECT 127.0.0.1:8080 HTTP/1.1\r\n\r\n").await?;
        let mut answer = Vec::new();
        let _ = timeout(LIMIT, tls.read_to_end(&mut answer)).await?;
        assert!(!answer.starts_with(b"HTTP/1.1"), "{answer:?}");
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Handshake(_))), "{report:?}");
        scene.a_good_peer_is_served().await
    })
}

fn a_connect_to_what_is_not_the_pods_is_refused() -> Outcome {
    let scene = Scene::new()?;
    let other = scene.mesh.lab.pod("other")?;
    let elsewhere = Server::start(other.namespace(), APPLICATION)?;
    let own = scene.address();
    let at = |address: IpAddr| Target::from(SocketAddr::new(address, APPLICATION));
    let targets = [
        at(other.v4().into()),
        at(other.v6().into()),
        at(scene.mesh.lab.v4().into()),
        // The pod's, but not the one that was dialled.
        at(scene.server.v6().into()),
        Target::from(SocketAddr::new(own, 15001)),
        Target::from(SocketAddr::new(own, 15006)),
        Target::from(SocketAddr::new(own, 15008)),
        at(Ipv4Addr::LOCALHOST.into()),
        at(Ipv6Addr::LOCALHOST.into()),
        at(Ipv4Addr::UNSPECIFIED.into()),
        at(Ipv6Addr::UNSPECIFIED.into()),
        at(Ipv4Addr::BROADCAST.into()),
        at(Ipv4Addr::new(169, 254, 169, 254).into()),
        "[fe80::1]:8080".parse()?,
        "server.test:80".parse()?,
        "localhost:8080".parse()?,
    ];
    runtime()?.block_on(async {
        for target in targets {
            let tls = scene.tls(proving(&scene.mesh.root, &scene.svid()?)?).await?;
            let status = refusal(open(tls, target.clone()).await?);
            assert_eq!(status, Some(StatusCode::BAD_REQUEST), "{target}");
            let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
            assert!(matches!(report.outcome, Err(ConnectionError::NotOurs { .. })), "{report:?}");
            assert_eq!(report.peer, Some(identity_of(&scene.attacker)));
        }
        assert!(elsewhere.peers().is_empty());
        scene.a_good_peer_is_served().await
    })
}

fn refusal(opened: Result<hbone::Tunnel, OpenError>) -> Option<StatusCode> {
    match opened {
        Err(OpenError::Refused { status, .. }) => Some(status),
        _ => None,
    }
}

fn a_request_that_is_no_connect_is_refused() -> Outcome {
    let scene = Scene::new()?;
    let own = format!("{}:{APPLICATION}", scene.address());
    let get = Request::builder().uri(format!("https://{own}/")).body(())?;
    let post = Request::builder().method(Method::POST).uri(format!("https://{own}/")).body(())?;
    let connect = |authority: &str| {
        Request::builder().method(Method::CONNECT).uri(Uri::builder().authority(authority).build()?).body(())
    };
    let host = scene.address();
    let requests = [
        get,
        post,
        connect(&host.to_string())?,
        connect(&format!("{host}:99999"))?,
        connect(&format!("{host}:0"))?,
        connect(&format!("user@{own}"))?,
        connect("a..b:80")?,
        connect("0x7f000001:8080")?,
    ];
    runtime()?.block_on(async {
        let tls = scene.tls(proving(&scene.mesh.root, &scene.svid()?)?).await?;
        let (client, connection) = h2::client::handshake(tls).await?;
        tokio::spawn(connection);
        for request in requests {
            let what = format!("{} {}", request.method(), request.uri());
            let mut client = client.clone().ready().await?;
            let (response, _stream) = client.send_request(request, false)?;
            let status = timeout(LIMIT, response).await?.map(|response| response.status());
            assert_eq!(status.ok(), Some(StatusCode::BAD_REQUEST), "{what}");
            let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
            assert!(matches!(report.outcome, Err(ConnectionError::Malformed(_))), "{report:?}");
        }
        scene.a_good_peer_is_served().await
    })
}

fn a_peer_that_policy_denies_hears_so() -> Outcome {
    let scene = Scene::new()?;
    scene.mesh.learn(
        "policies: [{name: p, namespace: test, scope: Namespace, action: Deny, \
         rules: [[[{principals: [Suffix: /sa/attacker], destinationPorts: [8080]}]]]}]",
    )?;
    runtime()?.block_on(async {
        let target = Target::from(SocketAddr::new(scene.address(), APPLICATION));
        let tls = scene.tls(proving(&scene.mesh.root, &scene.svid()?)?).await?;
        assert_eq!(refusal(open(tls, target).await?), Some(StatusCode::UNAUTHORIZED));
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Denied(_))), "{report:?}");
        scene.mesh.learn("")?;
        scene.a_good_peer_is_served().await
    })
}

fn an_application_that_is_not_there_is_unavailable() -> Outcome {
    let scene = Scene::new()?;
    runtime()?.block_on(async {
        let target = Target::from(SocketAddr::new(scene.address(), 9));
        let tls = scene.tls(proving(&scene.mesh.root, &scene.svid()?)?).await?;
        assert_eq!(refusal(open(tls, target).await?), Some(StatusCode::SERVICE_UNAVAILABLE));
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.server)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Dial(_))), "{report:?}");
        scene.a_good_peer_is_served().await
    })
}

/// An attacker does not care whom it attacks.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
