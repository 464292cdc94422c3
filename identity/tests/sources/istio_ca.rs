//! Istio's CA, played by a server that speaks its protocol on the loopback address.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use inpod_identity::source::{
    Cache, Clock, GrpcError, Issuer, IstioCa, IstioCaConfig, IstioCaError, Limits, Material, MaterialError,
    Roots, SourceError,
};
use inpod_identity::{KeyError, SvidError, VerifyError};
use prost::Message as _;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer as Signer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::grpc_server::{Call, Reply, framed};
use crate::lab::{Authority, HOUR, dns, id, now, pem, provider, uri};
use crate::{serial, told};

const CART: &str = "/ns/shop/sa/cart";
const TOKEN: &str = "a-token-that-nobody-may-see";

// What the wire has, written down a second time.

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Struct {
    #[prost(map = "string, message", tag = "1")]
    fields: HashMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

/// A CA that signs requests, as istiod does.
struct Istiod {
    root: CertificateDer<'static>,
    signer: Signer<'static, KeyPair>,
}

impl Istiod {
    fn new() -> Self {
        let (root, key) = Authority::root("istiod").into_parts();
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).unwrap();
        Self { signer: Signer::from_ca_cert_der(&root, key).unwrap(), root }
    }

    fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root)
    }

    /// The leaf for a request, but for what `change` does to it.
    fn sign(&self, request: &Request, change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
        let mut csr = CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
        csr.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        csr.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        csr.params.not_before = (now() - HOUR).into();
        csr.params.not_after = (now() + HOUR).into();
        change(&mut csr.params);
        csr.signed_by(&self.signer).unwrap().pem()
    }

    fn answer(&self, request: &Request) -> Vec<String> {
        vec![self.sign(request, |_| {}), self.root_pem()]
    }
}

/// What it listens on, and what its clients need.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    config: IstioCaConfig,
    folder: TempDir,
}

impl Server {
    /// One whose certificate has `name`.
    async fn new(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = Authority::root("root of the server");
        let (leaf, key) = root.leaf(|leaf| {
            leaf.subject_alt_names = vec![dns(name)];
            // TLS goes by the machine's clock.
            leaf.not_before = rcgen::date_time_ymd(2000, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(3000, 1, 1);
        });
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let folder = tempfile::tempdir().unwrap();
        let (roots, token) = (folder.path().join("root-cert.pem"), folder.path().join("istio-token"));
        fs::write(&roots, pem("CERTIFICATE", &root.certificate)).unwrap();
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let config = IstioCaConfig::new(&address, Roots::File(roots), token).unwrap();
        let config = config.server_name("istiod.test".try_into().unwrap());
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(tls)), config, folder }
    }

    fn client(&self) -> IstioCa {
        IstioCa::new(self.config.clone(), provider())
    }

    async fn accept(&self) -> Option<Call> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        Call::accept(self.acceptor.accept(tcp).await.ok()?).await
    }

    /// What `client` makes, for [`CART`], of a server that does `reply` with the request.
    async fn ask(
        &self,
        client: IstioCa,
        reply: impl AsyncFnOnce(Call, Request),
    ) -> Result<Material, IstioCaError> {
        let (wanted, clock) = (id(CART), Clock::new(now));
        let serve = async {
            let call = self.accept().await.expect("a call");
            let request = Request::decode(&call.message[..]).unwrap();
            reply(call, request).await;
        };
        let (answer, ()) = tokio::join!(client.issue(&wanted, &clock), serve);
        answer.map_err(|error| match error {
            SourceError::IstioCa(error) => error,
            other => panic!("{other:?}"),
        })
    }
}

async fn reply_with(call: Call, chain: Vec<String>) {
    let message = Response { cert_chain: chain }.encode_to_vec();
    assert!(call.reply(Reply::Messages(vec![message], 0)).await.is_none());
}

#[tokio::test]
async fn a_request_is_what_istiod_wants_and_its_answer_is_an_svid() {
    let (server, istiod) = (Server::new("istiod.test").await, Istiod::new());
    for token in [TOKEN, "another"] {
        let client = IstioCa::new(server.config.clone().cluster("Kubernetes").unwrap(), provider());
        fs::write(server.folder.path().join("istio-token"), format!("{token}\n")).unwrap();
        let answer = server.ask(client, async |call, request| {
            assert_eq!(call.request.method, "POST");
            assert_eq!(call.request.uri.path(), "/istio.v1.auth.IstioCertificateService/CreateCertificate");
            let header = |name: &str| call.request.headers[name].to_str().unwrap();
            assert_eq!(header("authorization"), format!("Bearer {token}"));
            assert_eq!(header("clusterid"), "Kubernetes");
            assert_eq!((header("te"), header("content-type")), ("trailers", "application/grpc"));
            assert_eq!(request.validity_duration, 24 * 60 * 60);
            let fields = request.metadata.clone().unwrap().fields;
            let whom = fields["ImpersonatedIdentity"].kind.clone();
            assert_eq!((fields.len(), whom), (1, Some(Kind::Text(id(CART).to_string()))));
            let (_, csr) = x509_parser::pem::parse_x509_pem(request.csr.as_bytes()).unwrap();
            let (_, csr) = X509CertificationRequest::from_der(&csr.contents).unwrap();
            csr.verify_signature().unwrap();
            let chain = istiod.answer(&request);
            reply_with(call, chain).await;
        });
        let material = answer.await.unwrap();
        assert_eq!((material.id(), material.svid().chain().len()), (&id(CART), 1));
        assert_eq!(material.bundle().roots(), std::slice::from_ref(&istiod.root));
        material.check(&provider(), now()).unwrap();
    }
    assert!(CryptoProvider::get_default().is_none(), "none is installed for the process");
}

#[tokio::test]
async fn for_itself_it_impersonates_nobody_and_says_how_long() {
    let (server, istiod) = (Server::new("istiod.test").await, Istiod::new());
    let client = IstioCa::new(server.config.clone().for_itself().lifetime(HOUR), provider());
    let answer = server.ask(client, async |call, request| {
        assert_eq!((request.metadata.as_ref(), request.validity_duration), (None, 3600));
        let chain = istiod.answer(&request);
        reply_with(call, chain).await;
    });
    answer.await.unwrap();
}

#[tokio::test]
async fn intermediates_and_several_roots_are_taken() {
    let (server, istiod) = (Server::new("istiod.test").await, Istiod::new());
    let root = Authority::root("root");
    let (below, key) = root.intermediate("below").into_parts();
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).unwrap();
    let signer = Istiod { signer: Signer::from_ca_cert_der(&below, key).unwrap(), root: below };
    let answer = server.ask(server.client(), async |call, request| {
        let roots = istiod.root_pem() + &pem("CERTIFICATE", &root.certificate);
        reply_with(call, vec![signer.sign(&request, |_| {}).trim_end().to_owned(), signer.root_pem(), roots])
            .await;
    });
    let material = answer.await.unwrap();
    assert_eq!((material.svid().chain().len(), material.bundle().roots().len()), (2, 2));
}

type Make = fn(&Istiod, &Request) -> Vec<String>;
type Check = fn(&IstioCaError) -> bool;

/// What a CA could answer, and what it is called.
const MISBEHAVIOURS: [(&str, Make, Check); 14] = [
    ("nothing", |_, _| vec![], |error| matches!(error, IstioCaError::Short { count: 0 })),
    ("roots only", |ca, _| vec![ca.root_pem()], |error| matches!(error, IstioCaError::Short { count: 1 })),
    (
        "garbage",
        |ca, _| vec!["garbage".into(), ca.root_pem()],
        |error| matches!(error, IstioCaError::Svid(SvidError::ChainPem(_))),
    ),
    (
        "a root as leaf",
        |ca, _| vec![ca.root_pem(), ca.root_pem()],
        |error| matches!(error, IstioCaError::Svid(SvidError::Leaf(_))),
    ),
    (
        "no roots",
        |ca, request| vec![ca.sign(request, |_| {}), String::new()],
        |error| matches!(error, IstioCaError::Bundle(_)),
    ),
    (
        "leaf as root",
        |ca, request| vec![ca.sign(request, |_| {}), ca.sign(request, |_| {})],
        |error| matches!(error, IstioCaError::Bundle(_)),
    ),
    (
        "roots that do not vouch",
        |ca, request| vec![ca.sign(request, |_| {}), Istiod::new().root_pem()],
        |error| matches!(error, IstioCaError::Material(MaterialError::Verify(VerifyError::Path(_)))),
    ),
    (
        "another's id",
        |ca, request| {
            let change = |leaf: &mut rcgen::CertificateParams| {
                leaf.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/till")];
            };
            vec![ca.sign(request, change), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Material(MaterialError::Id { .. })),
    ),
    (
        "another trust domain",
        |ca, request| {
            let change = |leaf: &mut rcgen::CertificateParams| {
                leaf.subject_alt_names = vec![uri("spiffe://other/ns/shop/sa/cart")];
            };
            vec![ca.sign(request, change), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Material(MaterialError::TrustDomain { .. })),
    ),
    (
        "two ids",
        |ca, request| {
            let second =
                |leaf: &mut rcgen::CertificateParams| leaf.subject_alt_names.push(uri("spiffe://x/y"));
            vec![ca.sign(request, second), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Svid(SvidError::Leaf(_))),
    ),
    (
        "expired",
        |ca, request| {
            let past = |leaf: &mut rcgen::CertificateParams| leaf.not_after = (now() - HOUR / 2).into();
            vec![ca.sign(request, past), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Material(MaterialError::Expired { .. })),
    ),
    (
        "not yet valid",
        |ca, request| {
            let later = |leaf: &mut rcgen::CertificateParams| leaf.not_before = (now() + HOUR / 2).into();
            vec![ca.sign(request, later), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Material(MaterialError::NotYetValid { .. })),
    ),
    (
        "another's key",
        |ca, _| {
            let key = KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/cart")];
            vec![params.signed_by(&key, &ca.signer).unwrap().pem(), ca.root_pem()]
        },
        |error| matches!(error, IstioCaError::Svid(SvidError::Key(KeyError::Mismatch))),
    ),
    (
        "a chain too long",
        |ca, request| {
            let leaf = ca.sign(request, |_| {});
            [vec![leaf], vec![ca.root_pem(); 9]].concat()
        },
        |error| matches!(error, IstioCaError::Svid(SvidError::Chain(_))),
    ),
];

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_are_refused_by_name() {
    let (server, istiod) = (Server::new("istiod.test").await, Istiod::new());
    for (name, make, is_named) in MISBEHAVIOURS {
        let answer = server.ask(server.client(), async |call, request| {
            let chain = make(&istiod, &request);
            reply_with(call, chain).await;
        });
        let error = answer.await.expect_err(name);
        assert!(is_named(&error), "{name}: {error:?}");
        assert!(told(&error).len() < 500);
    }
}

#[tokio::test]
async fn calls_that_fail_are_told_apart() {
    type Check = fn(&GrpcError) -> bool;
    let good = Response { cert_chain: vec![] }.encode_to_vec();
    let huge = [&[0][..], &(10_u32 << 20).to_be_bytes()].concat();
    let cases: Vec<(Reply, Check)> = vec![
        (Reply::Refusal(16, "bad token"), |error| match error {
            GrpcError::Status(status) => {
                status.to_string() == "UNAUTHENTICATED (bad token)" && status.code() == 16
            }
            _ => false,
        }),
        (
            Reply::Messages(vec![], 14),
            |error| matches!(error, GrpcError::Status(status) if status.code() == 14),
        ),
        (Reply::Messages(vec![good.clone()], 13), |error| matches!(error, GrpcError::Status(_))),
        (Reply::Messages(vec![], 0), |error| matches!(error, GrpcError::NotOne)),
        (Reply::Messages(vec![good.clone(), good.clone()], 0), |error| matches!(error, GrpcError::NotOne)),
        (Reply::Messages(vec![vec![0xff]], 0), |error| matches!(error, GrpcError::Malformed(_))),
        (Reply::Refusal(0, ""), |error| matches!(error, GrpcError::NotOne)),
        (Reply::Http(503), |error| matches!(error, GrpcError::HttpStatus { status: 503 })),
        (Reply::Html, |error| matches!(error, GrpcError::ContentType)),
        (Reply::NoStatus(good.clone()), |error| matches!(error, GrpcError::NoStatus)),
        (Reply::Raw(huge), |error| matches!(error, GrpcError::TooLarge { actual: 10_485_760, .. })),
        (Reply::Raw(vec![1, 0, 0, 0, 0]), |error| matches!(error, GrpcError::Compressed)),
        (Reply::Raw(vec![0, 0, 0]), |error| matches!(error, GrpcError::Truncated)),
        (Reply::Cut(framed(&good)), |error| matches!(error, GrpcError::Closed | GrpcError::Http2(_))),
    ];
    let server = Server::new("istiod.test").await;
    for (reply, is_named) in cases {
        let answer = server.ask(server.client(), async |call, _| {
            assert!(call.reply(reply.clone()).await.is_none());
        });
        match answer.await {
            Err(IstioCaError::Call(error)) => assert!(is_named(&error), "{reply:?}: {error:?}"),
            other => panic!("{reply:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_the_ca_sees_no_token() {
    let server = Server::new("impostor.test").await;
    let clock = Clock::new(now);
    let (wanted, client) = (id(CART), server.client());
    let (answer, call) = tokio::join!(client.issue(&wanted, &clock), server.accept());
    assert!(matches!(answer, Err(SourceError::IstioCa(IstioCaError::Tls { .. }))), "{answer:?}");
    assert!(call.is_none());

    // The right name, by a root that is not ours.
    let mut server = Server::new("istiod.test").await;
    let other = pem("CERTIFICATE", &Authority::root("other").certificate);
    let token = server.folder.path().join("istio-token");
    let address = server.listener.local_addr().unwrap().to_string();
    server.config = IstioCaConfig::new(&address, Roots::Pem(other.into()), token).unwrap();
    server.config = server.config.server_name("istiod.test".try_into().unwrap());
    let client = server.client();
    let (answer, call) = tokio::join!(client.issue(&wanted, &clock), server.accept());
    assert!(matches!(answer, Err(SourceError::IstioCa(IstioCaError::Tls { .. }))), "{answer:?}");
    assert!(call.is_none());
}

#[tokio::test]
async fn what_is_wrong_on_our_side_is_named() {
    let server = Server::new("istiod.test").await;
    let folder = server.folder.path();
    let (wanted, clock) = (id(CART), Clock::new(now));
    let refused = async |client: IstioCa| match client.issue(&wanted, &clock).await {
        Err(SourceError::IstioCa(error)) => error,
        other => panic!("{other:?}"),
    };
    fs::write(folder.join("root-cert.pem"), "").unwrap();
    assert!(matches!(refused(server.client()).await, IstioCaError::RootsPem(_)));
    fs::remove_file(folder.join("root-cert.pem")).unwrap();
    assert!(matches!(refused(server.client()).await, IstioCaError::Read { .. }));
    let Server { listener, config, .. } = Server::new("istiod.test").await;
    drop(listener);
    // The folder is gone too: roots come first.
    assert!(matches!(refused(IstioCa::new(config, provider())).await, IstioCaError::Read { .. }));

    for address in ["", "istiod", "istiod:", "istiod:x", ":1", "istiod:99999", "a b:1", "http://istiod:1"] {
        let config = IstioCaConfig::new(address, Roots::Pem(vec![]), "token");
        assert!(matches!(config, Err(IstioCaError::Address { .. })), "{address}");
    }
    for address in ["istiod.istio-system.svc:15012", "10.0.0.1:1", "[::1]:15012"] {
        IstioCaConfig::new(address, Roots::Pem(vec![]), "token").unwrap();
    }
    assert!(server.config.clone().header("a b", "c").is_err());
    assert!(server.config.clone().header("a", "\n").is_err());
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_not_sent() {
    for token in [&b""[..], b" \n", b"a\nb", b"\0"] {
        let server = Server::new("istiod.test").await;
        fs::write(server.folder.path().join("istio-token"), token).unwrap();
        let (wanted, clock, client) = (id(CART), Clock::new(now), server.client());
        let (answer, call) = tokio::join!(client.issue(&wanted, &clock), server.accept());
        assert!(matches!(answer, Err(SourceError::IstioCa(IstioCaError::Token { .. }))), "{answer:?}");
        assert!(call.is_none());
    }
}

#[tokio::test]
async fn the_cache_asks_it_and_gives_up_when_it_hangs() {
    let (server, istiod) = (Server::new("istiod.test").await, Istiod::new());
    let limits = Limits::default().deadline(Duration::from_secs(60));
    let (cache, driver) = Cache::with_clock(server.client(), limits, Clock::new(now));
    tokio::spawn(driver.run());
    let lease = cache.lease(&id(CART)).unwrap();
    let serve = async {
        let call = server.accept().await.unwrap();
        let request = Request::decode(&call.message[..]).unwrap();
        let chain = istiod.answer(&request);
        reply_with(call, chain).await;
    };
    let ((one, two), ()) = tokio::join!(async { tokio::join!(lease.material(), lease.material()) }, serve);
    assert_eq!(serial(&one.unwrap()), serial(&two.unwrap()));

    let limits = Limits::default().deadline(Duration::from_millis(200));
    let (cache, driver) = Cache::with_clock(server.client(), limits, Clock::new(now));
    tokio::spawn(driver.run());
    let lease = cache.lease(&id(CART)).unwrap();
    let (answer, held) = tokio::join!(lease.material(), server.accept());
    assert!(told(&answer.unwrap_err()).ends_with("no answer within 200ms"));
    if let Some(call) = held {
        assert!(call.reply(Reply::Silence).await.is_some());
    }
}

#[tokio::test]
async fn tokens_and_headers_are_not_printed() {
    let server = Server::new("istiod.test").await;
    let config = server.config.clone().header("x-secret", TOKEN).unwrap();
    let client = IstioCa::new(config, provider());
    assert!(!format!("{client:?} {client:#?}").contains(TOKEN));
    assert!(format!("{client:?}").contains("x-secret"));
    let refused = server.config.clone().header("bad name", TOKEN).unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains(TOKEN));
}
