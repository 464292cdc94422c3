//! A Workload API, played by a server that speaks its protocol on a Unix socket.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use inpod_identity::source::{
    Clock, Endpoint, GrpcError, MaterialError, Pick, Source, SourceError, Unavailable, Watch, WorkloadApi,
    WorkloadApiError,
};
use inpod_identity::{
    BundleError, Ca, CrlsError, RevocationError, Role, SpiffeId, Svid, SvidError, Trust, TrustDomain,
    TrustError, VerifyError, verify,
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::grpc_server::{Call, Reply};
use crate::lab::{Authority, HOUR, domain, id, now, provider, unix};
use crate::serial;
use crate::virtual_time::{clock, pass};

const SECOND: Duration = Duration::from_secs(1);
const CART: &str = "/ns/shop/sa/cart";
const TILL: &str = "/ns/shop/sa/till";

// What the wire has, written down a second time.

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<X509Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct X509Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    hint: String,
}

fn ca() -> Ca {
    Ca::generate_at(domain(), now() - HOUR).unwrap()
}

fn issue(ca: &Ca, path: &str, lifetime: Duration, clock: &Clock) -> Svid {
    ca.issue(&id(path), lifetime, clock.now()).unwrap()
}

fn entry(svid: &Svid, ca: &Ca, hint: &str) -> X509Svid {
    X509Svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: svid.chain().iter().flat_map(|certificate| certificate.to_vec()).collect(),
        x509_svid_key: svid.key().secret_der().to_vec(),
        bundle: ca.bundle().roots().iter().flat_map(|root| root.to_vec()).collect(),
        hint: hint.into(),
    }
}

fn response(svids: Vec<X509Svid>) -> Vec<u8> {
    Response { svids, ..Response::default() }.encode_to_vec()
}

/// With roots of others, and with revocation lists.
fn response_with(svid: &X509Svid, federated: &[(&str, &[u8])], crl: &[&[u8]]) -> Vec<u8> {
    let federated = federated.iter().map(|(domain, roots)| ((*domain).to_owned(), roots.to_vec()));
    let (svids, crl) = (vec![svid.clone()], crl.iter().map(|list| list.to_vec()).collect());
    Response { svids, crl, federated_bundles: federated.collect() }.encode_to_vec()
}

/// A leaf of the right shape with this serial number, as an answer has it.
fn numbered(root: &Authority, serial: u64) -> X509Svid {
    let (leaf, key) = root.leaf(|leaf| leaf.serial_number = Some(serial.into()));
    X509Svid {
        spiffe_id: id(CART).to_string(),
        x509_svid: leaf.to_vec(),
        x509_svid_key: key.secret_der().to_vec(),
        bundle: root.certificate.to_vec(),
        hint: String::new(),
    }
}

fn believed(leaf: &[u8], trust: &Trust) -> Result<SpiffeId, VerifyError> {
    let algorithms = provider().signature_verification_algorithms.all;
    verify(&[leaf.into()], trust, Role::Client, algorithms, unix(now()))
}

/// A running source, and the other end of its socket.
struct Lab {
    listener: UnixListener,
    path: PathBuf,
    _folder: TempDir,
    clock: Clock,
    watch: Watch,
    driver: JoinHandle<()>,
}

impl Lab {
    fn new(pick: Pick) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let clock = clock();
        let endpoint: Endpoint = format!("unix://{}", path.display()).parse().unwrap();
        let (api, driver) = WorkloadApi::with_clock(endpoint, pick, provider(), clock.clone());
        let driver = tokio::spawn(driver.run());
        Self { listener, path, _folder: folder, clock, watch: api.watch(), driver }
    }

    async fn accept(&self) -> Call {
        let (stream, _) = self.listener.accept().await.unwrap();
        Call::accept(stream).await.unwrap()
    }

    /// The next change, as who is given out now.
    async fn given(&mut self) -> Result<(SpiffeId, Vec<u8>), Unavailable> {
        self.watch.changed().await.unwrap();
        self.watch.at(self.clock.now()).map(|material| (material.id().clone(), serial(&material)))
    }

    fn with_trouble<T>(&self, look: impl FnOnce(&WorkloadApiError) -> T) -> T {
        match &*self.watch.trouble().expect("it should be told") {
            SourceError::WorkloadApi(error) => look(error),
            other => panic!("{other:?}"),
        }
    }
}

fn number(svid: &Svid) -> Vec<u8> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(&svid.chain()[0]).unwrap().1.raw_serial().to_vec()
}

#[tokio::test(start_paused = true)]
async fn what_comes_on_the_stream_is_used_at_once() {
    let (mut lab, ca) = (Lab::new(Pick::First), ca());
    let mut call = lab.accept().await;
    assert_eq!(call.request.method, "POST");
    assert_eq!(call.request.uri.path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    assert_eq!(call.request.headers["workload.spiffe.io"], "true");
    assert!(call.message.is_empty());
    for _ in 0..5 {
        let svid = issue(&ca, CART, HOUR, &lab.clock);
        let other = issue(&ca, TILL, HOUR, &lab.clock);
        call.send(&response(vec![entry(&svid, &ca, ""), entry(&other, &ca, "")]));
        assert_eq!(lab.given().await.unwrap(), (id(CART), number(&svid)));
        assert!(lab.watch.trouble().is_none());
        pass(60 * SECOND).await;
    }
    let Lab { driver, watch, .. } = lab;
    drop(watch);
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_svid_that_is_asked_for_is_picked() {
    let ca = ca();
    for (pick, expected) in [
        (Pick::First, CART),
        (Pick::Id(id(TILL)), TILL),
        (Pick::Hint("outside".into()), "/outside"),
        (Pick::Hint(String::new()), CART),
    ] {
        let mut lab = Lab::new(pick);
        let mut call = lab.accept().await;
        let svids = [(CART, ""), (TILL, "inside"), ("/outside", "outside"), ("/other", "outside")]
            .map(|(path, hint)| entry(&issue(&ca, path, HOUR, &lab.clock), &ca, hint));
        call.send(&response(svids.to_vec()));
        assert_eq!(lab.given().await.unwrap().0, id(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_is_not_given_out_any_more() {
    let ca = ca();
    let mut lab = Lab::new(Pick::Id(id(CART)));
    let mut call = lab.accept().await;
    let svid = entry(&issue(&ca, CART, HOUR, &lab.clock), &ca, "");
    call.send(&response(vec![svid.clone()]));
    lab.given().await.unwrap();
    call.send(&response(vec![entry(&issue(&ca, TILL, HOUR, &lab.clock), &ca, "")]));
    assert!(matches!(lab.given().await, Err(Unavailable::Nothing { .. })));
    lab.with_trouble(|error| assert!(matches!(error, WorkloadApiError::NotThere { count: 1, .. })));
    call.send(&response(vec![svid.clone()]));
    lab.given().await.unwrap();
    call.end(7);
    assert!(matches!(lab.given().await, Err(Unavailable::Nothing { .. })));
    lab.with_trouble(|error| assert!(matches!(error, WorkloadApiError::Call(GrpcError::Status(_)))));
    // It may come back: the workload may have started before it was registered.
    let mut call = lab.accept().await;
    call.send(&response(vec![svid]));
    lab.given().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn roots_of_others_are_believed_about_their_own_until_they_are_taken_back() {
    let (ca, mut lab) = (ca(), Lab::new(Pick::First));
    let theirs: TrustDomain = "example.org".parse().unwrap();
    let other = Ca::generate_at(theirs.clone(), now() - HOUR).unwrap();
    let cart = entry(&issue(&ca, CART, HOUR, &lab.clock), &ca, "");
    let guest = SpiffeId::new(&theirs, "/guest").unwrap();
    let guest = other.issue(&guest, HOUR, now()).unwrap();
    let roots = &other.bundle().roots()[0];
    let mut call = lab.accept().await;
    let mut trust_after = async |federated: &[(&str, &[u8])]| {
        call.send(&response_with(&cart, federated, &[]));
        lab.given().await.unwrap();
        lab.watch.at(lab.clock.now()).unwrap().trust().clone()
    };
    for _ in 0..2 {
        let trust = trust_after(&[("spiffe://example.org", roots), ("spiffe://example.com", roots)]).await;
        assert_eq!(believed(&guest.chain()[0], &trust).as_ref(), Ok(guest.id()));
        assert_eq!(believed(&cart.x509_svid, &trust), Ok(id(CART)));
        assert_eq!(trust.bundles().count(), 3);
        // Taken back, with the trust domain and without.
        let trust = trust_after(&[("spiffe://example.org", b"")]).await;
        let expected = VerifyError::NoRootNow { trust_domain: theirs.clone() };
        assert_eq!(believed(&guest.chain()[0], &trust), Err(expected));
        let trust = trust_after(&[]).await;
        let expected = VerifyError::TrustDomain { trust_domain: theirs.clone() };
        assert_eq!(believed(&guest.chain()[0], &trust), Err(expected));
        assert_eq!(believed(&cart.x509_svid, &trust), Ok(id(CART)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_is_refused_until_that_is_taken_back() {
    let (root, mut lab) = (Authority::root("root"), Lab::new(Pick::First));
    let (own, peer) = (numbered(&root, 1), numbered(&root, 7).x509_svid);
    let mut call = lab.accept().await;
    let mut trust_after = async |crl: &[&[u8]]| {
        call.send(&response_with(&own, &[], crl));
        lab.given().await.unwrap();
        lab.watch.at(lab.clock.now()).unwrap().trust().clone()
    };
    assert_eq!(believed(&peer, &trust_after(&[]).await), Ok(id(CART)));
    let revoked = Err(RevocationError::Revoked { serial: "07".into() }.into());
    assert_eq!(believed(&peer, &trust_after(&[&root.crl(&[7], |_| {})]).await), revoked);
    assert_eq!(believed(&peer, &trust_after(&[&root.crl(&[6], |_| {})]).await), Ok(id(CART)));
    assert_eq!(believed(&peer, &trust_after(&[]).await), Ok(id(CART)));
}

#[tokio::test(start_paused = true)]
async fn bad_roots_of_others_and_bad_lists_keep_the_last_good_answer() {
    type Check = fn(&WorkloadApiError) -> bool;
    let (root, other) = (Authority::root("root"), Authority::root("root"));
    let (own, roots) = (numbered(&root, 1), &*other.certificate);
    let cases: Vec<(Vec<u8>, Check)> = vec![
        (
            response_with(&own, &[("example.org", roots)], &[]),
            |error| matches!(error, WorkloadApiError::FederatedId { id } if id == "example.org"),
        ),
        (response_with(&own, &[("spiffe://example.org/workload", roots)], &[]), |error| {
            matches!(error, WorkloadApiError::FederatedId { .. })
        }),
        (response_with(&own, &[("spiffe://example.org", &roots[..99])], &[]), |error| {
            matches!(error, WorkloadApiError::Certificates)
        }),
        (response_with(&own, &[("spiffe://example.org", &own.x509_svid)], &[]), |error| {
            matches!(error, WorkloadApiError::Federated { source: BundleError::Root { index: 0, .. }, .. })
        }),
        (response_with(&own, &[("spiffe://cluster.local", roots)], &[]), |error| {
            matches!(error, WorkloadApiError::Trust(TrustError::TwoBundles { .. }))
        }),
        (response_with(&own, &[], &[b"no list"]), |error| {
            matches!(error, WorkloadApiError::Crls(CrlsError::Malformed { index: 0, .. }))
        }),
        (response_with(&own, &[], &[&other.crl(&[7], |_| {})]), |error| {
            matches!(error, WorkloadApiError::Crls(CrlsError::Signature { index: 0 }))
        }),
        (response_with(&own, &[], &[&root.crl(&[1], |_| {})]), |error| {
            matches!(error, WorkloadApiError::Material(MaterialError::Verify(VerifyError::Revocation(_))))
        }),
    ];
    let mut lab = Lab::new(Pick::First);
    let mut call = lab.accept().await;
    call.send(&response_with(&own, &[], &[&root.crl(&[7], |_| {})]));
    let held = lab.given().await.unwrap();
    for (number, (bad, is_named)) in cases.into_iter().enumerate() {
        call.send(&bad);
        assert_eq!(lab.given().await.unwrap(), held, "case {number}");
        lab.with_trouble(|error| assert!(is_named(error), "case {number}: {error:?}"));
        let trust = lab.watch.at(lab.clock.now()).unwrap().trust().clone();
        assert!(
            believed(&numbered(&root, 7).x509_svid, &trust).is_err(),
            "case {number}: what was revoked stays"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_keeps_the_last_good_one_and_says_so() {
    type Check = fn(&WorkloadApiError) -> bool;
    let (ca, other, fixed) = (ca(), ca(), Clock::new(now));
    let good = entry(&issue(&ca, CART, HOUR, &fixed), &ca, "");
    let with = |change: fn(&mut X509Svid)| {
        let mut bad = good.clone();
        change(&mut bad);
        response(vec![bad])
    };
    let mut unvouched = good.clone();
    unvouched.bundle = entry(&issue(&other, CART, HOUR, &fixed), &other, "").bundle;
    let mut wrong_key = good.clone();
    wrong_key.x509_svid_key = entry(&issue(&ca, CART, HOUR, &fixed), &ca, "").x509_svid_key;
    let past = ca.issue(&id(CART), 60 * SECOND, now() - HOUR / 2).unwrap();
    let cases: Vec<(Vec<u8>, Check)> = vec![
        (response(vec![]), |error| matches!(error, WorkloadApiError::Empty)),
        (with(|svid| svid.spiffe_id = "spiffe://".into()), |error| matches!(error, WorkloadApiError::Id(_))),
        (with(|svid| svid.spiffe_id = "spiffe://cluster.local/other".into()), |error| {
            matches!(error, WorkloadApiError::Material(MaterialError::Id { .. }))
        }),
        (with(|svid| svid.x509_svid.clear()), |error| {
            matches!(error, WorkloadApiError::Svid(SvidError::Chain(_)))
        }),
        (with(|svid| svid.x509_svid.truncate(99)), |error| matches!(error, WorkloadApiError::Certificates)),
        (with(|svid| svid.x509_svid_key.clear()), |error| matches!(error, WorkloadApiError::Key)),
        (with(|svid| svid.x509_svid_key.truncate(50)), |error| {
            matches!(error, WorkloadApiError::Svid(SvidError::Key(_)))
        }),
        (with(|svid| svid.bundle.clear()), |error| {
            matches!(error, WorkloadApiError::Bundle(BundleError::Empty))
        }),
        (response(vec![wrong_key]), |error| matches!(error, WorkloadApiError::Svid(SvidError::Key(_)))),
        (response(vec![unvouched]), |error| {
            matches!(error, WorkloadApiError::Material(MaterialError::Verify(VerifyError::Path(_))))
        }),
        (response(vec![entry(&past, &ca, "")]), |error| {
            matches!(error, WorkloadApiError::Material(MaterialError::Expired { .. }))
        }),
    ];
    let mut lab = Lab::new(Pick::First);
    let mut call = lab.accept().await;
    call.send(&response(vec![good.clone()]));
    let held = lab.given().await.unwrap();
    for (number, (bad, is_named)) in cases.into_iter().enumerate() {
        call.send(&bad);
        assert_eq!(lab.given().await.unwrap(), held, "case {number}");
        lab.with_trouble(|error| assert!(is_named(error), "case {number}: {error:?}"));
    }
    call.send(&response(vec![good]));
    assert_eq!(lab.given().await.unwrap(), held);
    assert!(lab.watch.trouble().is_none(), "what was told is over");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_is_looked_for_at_first_soon_and_then_less_often() {
    let (mut lab, ca) = (Lab::new(Pick::First), ca());
    let mut call = lab.accept().await;
    let svid = issue(&ca, CART, HOUR, &lab.clock);
    call.send(&response(vec![entry(&svid, &ca, "")]));
    let held = lab.given().await.unwrap();
    pass(10 * SECOND).await;
    let gone = Instant::now();
    call.cut();
    // A stream that was good is opened again at once.
    let call = lab.accept().await;
    assert!(gone.elapsed() < SECOND / 10);
    call.cut();
    let mut before = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..10 {
        lab.accept().await.cut();
        waits.push(before.elapsed());
        before = Instant::now();
    }
    assert!(waits.iter().all(|wait| *wait >= SECOND && *wait <= 18 * SECOND), "{waits:?}");
    assert!(waits[0] < 2 * SECOND && waits[9] > 11 * SECOND, "{waits:?}");
    assert_eq!(lab.watch.at(lab.clock.now()).map(|material| serial(&material)).unwrap(), held.1, "it stays");
    // Not even a socket.
    drop(std::mem::replace(&mut lab.listener, UnixListener::bind(lab.path.with_extension("other")).unwrap()));
    fs::remove_file(&lab.path).unwrap();
    pass(60 * SECOND).await;
    lab.with_trouble(|error| assert!(matches!(error, WorkloadApiError::Connect { .. }), "{error:?}"));
    lab.listener = UnixListener::bind(&lab.path).unwrap();
    let svid = issue(&ca, CART, HOUR, &lab.clock);
    let mut call = lab.accept().await;
    call.send(&response(vec![entry(&svid, &ca, "")]));
    pass(SECOND).await;
    assert_eq!(lab.watch.at(lab.clock.now()).map(|material| serial(&material)).unwrap(), number(&svid));
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_good_and_short_make_no_hot_loop() {
    let (mut lab, ca) = (Lab::new(Pick::First), ca());
    let start = Instant::now();
    for _ in 0..20 {
        let mut call = lab.accept().await;
        call.send(&response(vec![entry(&issue(&ca, CART, HOUR, &lab.clock), &ca, "")]));
        call.end(0);
        lab.given().await.unwrap();
    }
    let mean = start.elapsed() / 19;
    assert!(mean >= SECOND && mean < 2 * SECOND, "{mean:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_left() {
    let (mut lab, ca) = (Lab::new(Pick::First), ca());
    let silent = lab.accept().await.reply(Reply::Silence).await;
    let start = Instant::now();
    let mut call = lab.accept().await;
    assert!(start.elapsed() >= 10 * SECOND);
    drop(silent);
    assert!(lab.given().await.is_err());
    lab.with_trouble(|error| assert!(matches!(error, WorkloadApiError::Deadline { .. })));
    // Nor is it waited for beyond the end of what it gave.
    call.send(&response(vec![entry(&issue(&ca, CART, 60 * SECOND, &lab.clock), &ca, "")]));
    lab.given().await.unwrap();
    let start = Instant::now();
    let _next = lab.accept().await;
    assert!(start.elapsed() >= 60 * SECOND && start.elapsed() < 63 * SECOND);
    assert!(matches!(lab.watch.at(lab.clock.now()), Err(Unavailable::Stale { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_will_never_understand_is_not_asked_again() {
    for code in [3, 12] {
        let mut lab = Lab::new(Pick::First);
        lab.accept().await.reply(Reply::Refusal(code, "no")).await;
        assert!(lab.given().await.is_err());
        lab.driver.await.unwrap();
        assert!(lab.watch.changed().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_when_nobody_watches() {
    let lab = Lab::new(Pick::First);
    let _call = lab.accept().await;
    let Lab { driver, watch, .. } = lab;
    drop(watch);
    driver.await.unwrap();
}
