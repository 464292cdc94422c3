//! Whom pods believe, where their SVIDs come from, and what becomes of connections when that changes.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use identity::{Bundle, Crls, RevocationPolicy, SharedTrust, TrustDomain};
use inpod_proxy_core::explain::{Account, Fate, Query, Way};
use inpod_proxy_core::workload;
use inpod_proxy_core::{
    Authority, ClientAddr, Config, ConnectionError, DialError, Direction, HandshakeError, Node, OriginalDst,
    Shared,
};
use testkit::conversation::converse;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::mesh::{
    APPLICATION, LIMIT, Mesh, Mood, Result, Root, TestIssuer, connect, identity_of, is_cut, is_turned_away,
    pair, pod_name, read_to_end, runtime, trust_domain, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("svids_are_renewed_under_load", svids_are_renewed_under_load),
        test("roots_are_rotated_by_way_of_both", roots_are_rotated_by_way_of_both),
        test("a_handshake_waits_for_its_svid", a_handshake_waits_for_its_svid),
        test("a_handshake_waits_no_longer_than_it_may", a_handshake_waits_no_longer_than_it_may),
        test("an_issuer_that_fails_may_come_back", an_issuer_that_fails_may_come_back),
        test("a_pod_of_another_trust_domain_is_recognised", a_pod_of_another_trust_domain_is_recognised),
        test("without_its_root_a_live_peer_is_cut", without_its_root_a_live_peer_is_cut),
        test("trust_that_changes_and_a_connection_at_once", trust_that_changes_and_a_connection_at_once),
        test("a_revoked_peer_is_cut", a_revoked_peer_is_cut),
        test("an_alias_is_as_good_as_the_name", an_alias_is_as_good_as_the_name),
    ]
}

/// Lives of SVIDs that are renewed about once a second: the half of it, counted in whole seconds.
const SHORT: Duration = Duration::from_secs(3);

const HOUR: Duration = Duration::from_secs(3600);

/// A mesh whose SVIDs come from a test's issuer, served and captured. The node must be kept.
fn running<const N: usize>(
    issuer: &Arc<TestIssuer>,
    root: Root,
    config: Config,
    names: [&str; N],
) -> Result<(Mesh, Node, [Pod; N])> {
    let (mesh, pods) = Mesh::by(Arc::clone(issuer) as _, root, config, names)?;
    let mut node = Node::new(mesh.shared.clone())?;
    mesh.serve(&mut node)?;
    mesh.capture()?;
    Ok((mesh, node, pods))
}

/// Every connection of an application has a connection to the peer for itself.
fn unshared() -> Config {
    let mut config = Config::default();
    config.streams_per_connection = 1;
    config
}

fn ca(root: &Root) -> Result<Mood> {
    Ok(Mood::Issues(Arc::new(root.ca(trust_domain())?)))
}

/// The certificate that `server` proves itself by, to a client that does so by `root`.
fn shown(root: &Root, client: &Pod, server: &Pod) -> Result<Vec<u8>> {
    let svid = root.svid(&identity_of(client))?;
    let expected = Arc::new(identity::Expected::one(identity_of(server)));
    let provider = identity::tls::aws_lc_rs();
    let mut config = identity::tls::client_config(&provider, &svid, root.bundle()?, expected)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(client, (server.v4(), 15008))?;
    stream.set_nonblocking(true)?;
    runtime()?.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(identity::tls::unnamed(), stream);
        let tls = timeout(LIMIT, connecting).await??;
        let chain = tls.get_ref().1.peer_certificates().ok_or("no certificate")?;
        Ok(chain.first().ok_or("no certificate")?.to_vec())
    })
}

fn svids_are_renewed_under_load() -> Outcome {
    /// As many connections as a pool of one worker has for one peer.
    const MOST: usize = 240;
    let root = Root::generate(trust_domain())?;
    let issuer = TestIssuer::new(SHORT, ca(&root)?);
    let (mesh, _node, [client, server]) = running(&issuer, root, unshared(), ["client", "server"])?;
    let prober = mesh.lab.pod("prober")?;
    let (mut seen, mut live) = (HashSet::new(), Vec::new());
    while seen.len() < 5 {
        seen.insert(shown(&mesh.root, &prober, &server)?);
        if live.len() < MOST {
            let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
            converse(&near, &far)?;
            live.push((near, far));
        }
    }
    assert!(issuer.issued(&identity_of(&client)).len() >= 4, "each pod has its own");
    for (near, far) in &live {
        converse(near, far)?;
    }
    let lived = live.len();
    drop(live);
    for (direction, pod) in [(Direction::Outbound, &client), (Direction::Inbound, &server)] {
        let mut of_client = 0;
        while of_client < lived {
            let report = mesh.reports.next(direction, pod)?;
            // The prober hangs up once it has seen enough.
            if report.client.ip() == client.v4() {
                assert!(report.outcome.is_ok(), "{report:?}");
                of_client += 1;
            }
        }
    }
    Ok(())
}

fn roots_are_rotated_by_way_of_both() -> Outcome {
    let (old, new) = (Root::generate(trust_domain())?, Root::generate(trust_domain())?);
    let (old_bundle, new_bundle) = (old.bundle()?, new.bundle()?);
    let both = [old_bundle.roots(), new_bundle.roots()].concat();
    let issuer = TestIssuer::new(SHORT, ca(&old)?);
    let (mesh, _node, [client, server]) = running(&issuer, old, unshared(), ["client", "server"])?;
    let trust = mesh.shared.authority.trust();
    let address = (server.v4(), APPLICATION);
    let of_old = pair(&client, &server, address)?;
    converse(&of_old.0, &of_old.1)?;

    trust.replace(Bundle::new(trust_domain(), both)?.into());
    issuer.set(ca(&new)?);
    let before = [&client, &server].map(|pod| issuer.issued(&identity_of(pod)).len());
    let is_renewed = || {
        let now = [&client, &server].map(|pod| issuer.issued(&identity_of(pod)).len());
        // One more than one: it may have been on its way.
        now.iter().zip(before).all(|(now, before)| *now > before + 1)
    };
    while !is_renewed() {
        let (near, far) = pair(&client, &server, address)?;
        converse(&near, &far)?;
        converse(&of_old.0, &of_old.1)?;
    }
    let of_new = pair(&client, &server, (server.v6(), APPLICATION))?;
    converse(&of_new.0, &of_new.1)?;

    trust.replace(new_bundle.into());
    assert!(is_cut(&read_to_end(&of_old.0)) && is_cut(&read_to_end(&of_old.1)));
    converse(&of_new.0, &of_new.1)?;
    let again = pair(&client, &server, address)?;
    converse(&again.0, &again.1)
}

fn a_handshake_waits_for_its_svid() -> Outcome {
    let root = Root::generate(trust_domain())?;
    let issuing = ca(&root)?;
    let issuer = TestIssuer::new(HOUR, Mood::Dawdles);
    let (mesh, _node, [client, server]) = running(&issuer, root, Config::default(), ["client", "server"])?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let mut near = connect(&client, (server.v4(), APPLICATION))?;
    near.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    issuer.set(issuing);
    assert!(read_to_end(&near)?.starts_with(b"HTTP/1.1 200 OK"));
    drop(near);
    assert!(mesh.reports.next(Direction::Outbound, &client)?.outcome.is_ok());
    Ok(())
}

fn a_handshake_waits_no_longer_than_it_may() -> Outcome {
    let issuer = TestIssuer::new(HOUR, Mood::Dawdles);
    let mut config = Config::default();
    config.handshake_timeout = Duration::from_millis(100);
    let root = Root::generate(trust_domain())?;
    let (mesh, _node, [client, server]) = running(&issuer, root, config, ["client", "server"])?;
    assert!(is_turned_away(&connect(&client, (server.v4(), APPLICATION))?));
    let outbound = mesh.reports.next(Direction::Outbound, &client)?;
    assert!(matches!(handshake(&outbound.outcome), Some(HandshakeError::TimedOut)), "{outbound:?}");
    Ok(())
}

/// Why an outbound connection had none to its hop.
fn handshake(outcome: &Result<(), ConnectionError>) -> Option<&HandshakeError> {
    match outcome {
        Err(ConnectionError::Dial(error)) => match &**error {
            DialError::Handshake { source, .. } => Some(source),
            _ => None,
        },
        _ => None,
    }
}

fn an_issuer_that_fails_may_come_back() -> Outcome {
    let root = Root::generate(trust_domain())?;
    let issuing = ca(&root)?;
    let issuer = TestIssuer::new(HOUR, Mood::Refuses);
    let (mesh, _node, [client, server]) = running(&issuer, root, Config::default(), ["client", "server"])?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    assert!(is_turned_away(&connect(&client, address)?));
    let outbound = mesh.reports.next(Direction::Outbound, &client)?;
    let Some(HandshakeError::Credentials(error)) = handshake(&outbound.outcome) else {
        return Err(format!("{outbound:?}").into());
    };
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    assert!(causes.any(|cause| cause.to_string() == "out of order"), "{error:?}");
    issuer.set(issuing);
    wait_for(|| Ok(http::request(client.namespace(), address, "/", b"hello").is_ok()))
}

/// A pod of `cluster.local`, one of another trust domain beside it, and one that is served by a node of that other one.
struct Federation {
    mesh: Mesh,
    foreign: Shared,
    root: Root,
    near: Node,
    _far: Node,
    client: Pod,
    neighbour: Pod,
    stranger: Pod,
}

impl Federation {
    /// The stranger proves itself as one of `proved`, by `root`; by the facts it is of `expected`. Neither side believes the other.
    fn new(proved: &str, expected: &str, own: Root, root: Root, config: Config) -> Result<Self> {
        let issuer = TestIssuer::new(HOUR, ca(&own)?);
        let names = ["client", "neighbour", "stranger"];
        let (mesh, [client, neighbour, stranger]) = Mesh::by(issuer, own, config, names)?;
        let proved: TrustDomain = proved.parse()?;
        let issuer = TestIssuer::new(HOUR, Mood::Issues(Arc::new(root.ca(proved.clone())?)));
        let trust = SharedTrust::from(Bundle::from_pem(proved.clone(), root.bundle()?.to_pem().as_bytes())?);
        let provider = identity::tls::aws_lc_rs();
        let authority = Authority::start(proved, issuer, trust, provider, &mesh.shared.workers);
        let foreign = Shared { authority: Arc::new(authority), ..mesh.shared.clone() };
        let (mut near, mut far) = (Node::new(mesh.shared.clone())?, Node::new(foreign.clone())?);
        for pod in [&client, &neighbour] {
            near.add(pod.name().into(), pod_name(pod), pod.namespace().clone())?;
        }
        far.add(stranger.name().into(), pod_name(&stranger), stranger.namespace().clone())?;
        mesh.capture()?;
        let federation = Self { mesh, foreign, root, near, _far: far, client, neighbour, stranger };
        federation.learn(expected, "")?;
        Ok(federation)
    }

    fn of_example_org(config: Config) -> Result<Self> {
        let root = Root::generate("example.org".parse()?)?;
        Self::new("example.org", "example.org", Root::generate(trust_domain())?, root, config)
    }

    /// Both sides believe each other.
    fn federate(&self) -> Outcome {
        let (ours, theirs) = (self.mesh.shared.authority.trust(), self.foreign.authority.trust());
        ours.replace(ours.current().with_bundle(self.root.bundle()?)?);
        theirs.replace(theirs.current().with_bundle(self.mesh.root.bundle()?)?);
        Ok(())
    }

    /// Replaces the facts: the pods, of which the stranger is of `domain`, and `more`.
    fn learn(&self, domain: &str, more: &str) -> Outcome {
        let mut text = String::from("workloads:\n");
        for (pod, domain) in
            [(&self.client, "cluster.local"), (&self.neighbour, "cluster.local"), (&self.stranger, domain)]
        {
            let (name, v4) = (pod.name(), pod.v4());
            text.push_str(&format!(
                "- {{name: {name}, namespace: test, serviceAccount: {name}, workloadIps: [\"{v4}\"], \
                 trustDomain: {domain}, protocol: HBONE}}\n"
            ));
        }
        text.push_str(more);
        self.mesh.shared.facts.replace(workload::file::parse(&text, &trust_domain())?);
        Ok(())
    }

    fn address(&self) -> SocketAddr {
        (self.stranger.v4(), APPLICATION).into()
    }

    fn reaches(&self) -> bool {
        http::request(self.client.namespace(), self.address(), "/", b"hello").is_ok()
    }

    /// How many connections to the stranger the client's proxy has.
    fn connections(&self) -> Result<usize> {
        let query = Query {
            uid: self.client.name().into(),
            way: Way::Out,
            client: ClientAddr::new((self.client.v4(), 40000).into()),
            destination: OriginalDst::new(self.address()),
        };
        let Some(Account { fate: Fate::Outbound(outbound), .. }) = self.near.explain(&query) else {
            return Err("no account".into());
        };
        let going = outbound.going.map_err(|refusal| refusal.reason)?;
        Ok(going.tunnel.ok_or("no tunnel")?.connections.len())
    }
}

fn a_pod_of_another_trust_domain_is_recognised() -> Outcome {
    let scene = Federation::of_example_org(Config::default())?;
    let application = http::Server::start(scene.stranger.namespace(), APPLICATION)?;
    let (ours, theirs) = (scene.mesh.shared.authority.trust(), scene.foreign.authority.trust());
    assert!(!scene.reaches(), "nobody believes anybody");
    let outbound = scene.mesh.reports.next(Direction::Outbound, &scene.client)?;
    assert!(matches!(handshake(&outbound.outcome), Some(HandshakeError::Tls(_))), "{outbound:?}");
    ours.replace(ours.current().with_bundle(scene.root.bundle()?)?);
    assert!(!scene.reaches(), "the client is not believed");
    theirs.replace(theirs.current().with_bundle(scene.mesh.root.bundle()?)?);
    scene.mesh.reports.forget();
    assert!(application.peers().is_empty());
    wait_for(|| Ok(scene.reaches()))?;
    let stranger = "spiffe://example.org/ns/test/sa/stranger".parse()?;
    wait_for(|| {
        let report = scene.mesh.reports.next(Direction::Outbound, &scene.client)?;
        Ok(report.outcome.is_ok() && report.peer.as_ref() == Some(&stranger))
    })?;
    wait_for(|| {
        let report = scene.mesh.reports.next(Direction::Inbound, &scene.stranger)?;
        Ok(report.outcome.is_ok() && report.peer == Some(identity_of(&scene.client)))
    })?;
    // A namespace is one of the own trust domain; a whole identity is anybody's.
    let allow = |condition: &str| {
        let policy = format!(
            "policies: [{{name: p, namespace: test, scope: Namespace, action: Allow, rules: [[[{{{condition}}}]]]}}]"
        );
        scene.learn("example.org", &policy)
    };
    allow("namespaces: [Exact: test]")?;
    assert!(!scene.reaches());
    allow("principals: [Exact: cluster.local/ns/test/sa/client]")?;
    assert!(scene.reaches());
    allow("principals: [Prefix: example.org/]")?;
    assert!(!scene.reaches());
    Ok(())
}

fn without_its_root_a_live_peer_is_cut() -> Outcome {
    let scene = Federation::of_example_org(Config::default())?;
    scene.federate()?;
    let (ours, theirs) = (scene.mesh.shared.authority.trust(), scene.foreign.authority.trust());
    let (near, far) = pair(&scene.client, &scene.neighbour, (scene.neighbour.v4(), APPLICATION))?;
    let lost = |who: &SharedTrust, domain: TrustDomain, direction, pod: &Pod| -> Outcome {
        let foreign = pair(&scene.client, &scene.stranger, scene.address())?;
        converse(&foreign.0, &foreign.1)?;
        converse(&near, &far)?;
        assert_eq!(scene.connections()?, 1);
        who.replace(who.current().without(&domain));
        assert!(is_cut(&read_to_end(&foreign.0)) && is_cut(&read_to_end(&foreign.1)));
        let report = scene.mesh.reports.next(direction, pod)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Distrusted(_))), "{report:?}");
        wait_for(|| Ok(scene.connections()? == 0))?;
        assert!(is_turned_away(&connect(&scene.client, scene.address())?), "nor does it come back");
        converse(&near, &far)?;
        scene.mesh.reports.forget();
        scene.federate()
    };
    lost(ours, "example.org".parse()?, Direction::Outbound, &scene.client)?;
    lost(theirs, trust_domain(), Direction::Inbound, &scene.stranger)?;
    // One in the pool that nobody uses is cut as well.
    let _application = http::Server::start(scene.stranger.namespace(), APPLICATION)?;
    wait_for(|| Ok(scene.reaches()))?;
    assert_eq!(scene.connections()?, 1);
    ours.replace(ours.current().without(&"example.org".parse()?));
    wait_for(|| Ok(scene.connections()? == 0))?;
    converse(&near, &far)
}

/// Connections that come while a root is taken away are cut or refused: none is left whose peer nobody believes.
fn trust_that_changes_and_a_connection_at_once() -> Outcome {
    let scene = Federation::of_example_org(unshared())?;
    let _listener = crate::mesh::listen(&scene.stranger, APPLICATION)?;
    let (ours, theirs) = (scene.mesh.shared.authority.trust(), scene.foreign.authority.trust());
    let mut opened = 0;
    for round in 0..20 {
        scene.federate()?;
        let streams = std::thread::scope(|scope| -> Result<Vec<TcpStream>> {
            let opening = scope.spawn(|| {
                let connecting = (0..20).filter_map(|_| connect(&scene.client, scene.address()).ok());
                connecting.collect::<Vec<_>>()
            });
            match round % 2 {
                0 => ours.replace(ours.current().without(&"example.org".parse()?)),
                _ => theirs.replace(theirs.current().without(&trust_domain())),
            }
            Ok(opening.join().map_err(|_| "it panicked")?)
        })?;
        opened += streams.len();
        for stream in streams {
            // It ends, one way or the other, and not by our patience.
            assert!(is_turned_away(&stream), "a connection lives whose peer nobody believes");
        }
    }
    assert!(opened > 0);
    Ok(())
}

fn a_revoked_peer_is_cut() -> Outcome {
    let root = Root::generate(trust_domain())?;
    let issuer = TestIssuer::new(HOUR, ca(&root)?);
    let names = ["client", "server", "neighbour"];
    let (mesh, _node, [client, server, neighbour]) = running(&issuer, root, Config::default(), names)?;
    let revoked = pair(&client, &server, (server.v4(), APPLICATION))?;
    let kept = pair(&client, &neighbour, (neighbour.v4(), APPLICATION))?;
    converse(&revoked.0, &revoked.1)?;
    converse(&kept.0, &kept.1)?;
    let svids = issuer.issued(&identity_of(&server));
    let list = mesh.root.crl(&svids)?;
    let algorithms = identity::tls::aws_lc_rs().signature_verification_algorithms.all;
    let trust = mesh.shared.authority.trust();
    let crls = Crls::from_pem(list.as_bytes())?;
    trust.replace(trust.current().with_crls(&crls, RevocationPolicy::default(), algorithms)?);
    assert!(is_cut(&read_to_end(&revoked.0)) && is_cut(&read_to_end(&revoked.1)));
    let report = mesh.reports.next(Direction::Outbound, &client)?;
    assert!(matches!(report.outcome, Err(ConnectionError::Distrusted(_))), "{report:?}");
    assert!(is_turned_away(&connect(&client, (server.v4(), APPLICATION))?), "nor does it come back");
    let report = mesh.reports.next(Direction::Outbound, &client)?;
    assert!(matches!(handshake(&report.outcome), Some(HandshakeError::Tls(_))), "{report:?}");
    converse(&kept.0, &kept.1)
}

fn an_alias_is_as_good_as_the_name() -> Outcome {
    let (own, root) = (Root::generate(trust_domain())?, Root::generate("old.local".parse()?)?);
    let scene = Federation::new("old.local", "cluster.local", own, root, Config::default())?;
    let _application = http::Server::start(scene.stranger.namespace(), APPLICATION)?;
    let theirs = scene.foreign.authority.trust();
    theirs.replace(theirs.current().with_bundle(scene.mesh.root.bundle()?)?);
    // Two roots, as after a change of name and of key.
    let roots = [scene.mesh.root.bundle()?.roots(), scene.root.bundle()?.roots()].concat();
    let ours = scene.mesh.shared.authority.trust();
    ours.replace(Bundle::new(trust_domain(), roots)?.into());
    assert!(!scene.reaches(), "the name is another one");
    ours.replace(ours.current().with_alias("old.local".parse()?, trust_domain())?);
    wait_for(|| Ok(scene.reaches()))?;
    wait_for(|| {
        let report = scene.mesh.reports.next(Direction::Outbound, &scene.client)?;
        Ok(report.peer == Some("spiffe://old.local/ns/test/sa/stranger".parse()?))
    })
}
