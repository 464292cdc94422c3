//! SVIDs and roots that change while everybody talks.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inpod_identity::source::{Cache, EmbeddedCa, Lease, Limits, Material, Publisher, Source, Watch};
use inpod_identity::{Bundle, Ca, Expected, tls};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::lab::{self, HOUR, domain, ends, handshake_at, id, provider, shake, stopped};
use crate::serial;
use crate::virtual_time::{clock, pass, settable_clock};

const SECOND: Duration = Duration::from_secs(1);

fn configs(client: &Material, server: &Material) -> (ClientConfig, ServerConfig) {
    let expect = |other: &Material| Arc::new(Expected::one(other.id().clone()));
    let provider = provider();
    (
        tls::client_config(&provider, client.svid(), client.bundle(), expect(server)).unwrap(),
        tls::server_config(&provider, server.svid(), server.bundle(), expect(client)).unwrap(),
    )
}

/// Whether two ends with this material, at this time, believe each other. Each is once the client.
fn believe(one: &Material, other: &Material, time: SystemTime) -> bool {
    [(one, other), (other, one)].into_iter().all(|(client, server)| {
        let (client_config, server_config) = configs(client, server);
        let outcome = handshake_at(time, client_config, server_config);
        matches!(outcome.client, Ok(Some(peer)) if peer == *server.id())
            && matches!(outcome.server, Ok(Some(peer)) if peer == *client.id())
    })
}

/// Two ends that stay connected.
struct Connected(ClientConnection, ServerConnection);

impl Connected {
    fn new(client: &Material, server: &Material, time: SystemTime) -> Self {
        let (mut client, mut server) = configs(client, server);
        (client.time_provider, server.time_provider) = (stopped(time), stopped(time));
        let (mut client, mut server) = ends(&Arc::new(client), &Arc::new(server));
        let outcome = shake(&mut client, &mut server);
        assert!(outcome.client.is_ok() && outcome.server.is_ok(), "{outcome:?}");
        Self(client, server)
    }

    fn carries(&mut self, text: &[u8]) -> bool {
        self.0.writer().write_all(text).unwrap();
        let outcome = shake(&mut self.0, &mut self.1);
        let mut got = vec![0; text.len()];
        self.1.reader().read_exact(&mut got).is_ok() && got == text && outcome.client.is_ok()
    }
}

/// When an SVID of an embedded CA was issued: they are dated back by a minute.
fn age(material: &Material, now: SystemTime) -> Duration {
    now.duration_since(material.svid().not_before() + 60 * SECOND).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_svid_for_each_second_and_nobody_notices() {
    const SECONDS: u32 = 60;
    let now = clock();
    let ca = Ca::generate_at(domain(), lab::now() - HOUR).unwrap();
    // At half of two seconds.
    let issuer = EmbeddedCa::new(ca, 2 * SECOND);
    let (cache, driver) = Cache::with_clock(issuer, Limits::default(), now.clone());
    tokio::spawn(driver.run());
    let leases: Vec<Lease> =
        ["/ns/shop/sa/cart", "/ns/shop/sa/till"].iter().map(|path| cache.lease(&id(path)).unwrap()).collect();
    let watches: Vec<Watch> = leases.iter().map(Source::watch).collect();
    for lease in &leases {
        lease.material().await.unwrap();
    }
    let mut connected: Vec<Connected> = Vec::new();
    let (mut serials, mut handshakes) = (BTreeSet::new(), 0);
    for tick in 0..SECONDS * 10 {
        pass(SECOND / 10).await;
        let time = now.now();
        let [cart, till] =
            [0, 1].map(|end: usize| watches[end].at(time).expect("there is always a valid one"));
        assert!(age(&cart, time) <= 2 * SECOND && age(&till, time) <= 2 * SECOND, "the newest is used");
        assert!(believe(&cart, &till, time), "at tick {tick}");
        handshakes += 2;
        serials.extend([serial(&cart), serial(&till)]);
        if tick % 50 == 0 {
            connected.push(Connected::new(&cart, &till, time));
        }
        assert!(connected.iter_mut().all(|pair| pair.carries(b"still here")), "no connection is cut");
    }
    assert_eq!(handshakes, SECONDS * 20);
    // Two ends, one each second, and a tenth of jitter.
    let rotations = u32::try_from(serials.len()).unwrap();
    assert!((SECONDS * 2 * 8 / 10..=SECONDS * 2 + 2).contains(&rotations), "{rotations}");
}

/// Three days of SVIDs that live for an hour.
#[tokio::test(start_paused = true)]
async fn whoever_sets_the_clock_costs_half_a_minute_at_most() {
    const MINUTE: i64 = 60;
    const HOURS: i64 = 60 * MINUTE;
    // Past what is held, and before it; to a little before its end, and to a little after its beginning.
    const TURNS: [i64; 9] =
        [0, 40 * MINUTE, -40 * MINUTE, 3 * HOURS, -3 * HOURS, 25 * HOURS, -25 * HOURS, 29 * MINUTE, -20];
    let (now, hands) = settable_clock();
    let ca = Ca::generate_at(domain(), lab::now() - 48 * HOUR).unwrap();
    let (cache, driver) = Cache::with_clock(EmbeddedCa::new(ca, HOUR), Limits::default(), now.clone());
    tokio::spawn(driver.run());
    let leases = ["/ns/shop/sa/cart", "/ns/shop/sa/till"].map(|path| cache.lease(&id(path)).unwrap());
    let watches = [0, 1].map(|end: usize| leases[end].watch());
    leases[0].material().await.unwrap();
    leases[1].material().await.unwrap();
    let mut serials = BTreeSet::new();
    let mut check = |turn: i64| {
        let time = now.now();
        let [cart, till] = [0, 1].map(|end: usize| watches[end].at(time).expect("there is a valid one"));
        for material in [&cart, &till] {
            // Half of its life, a tenth of that, and a look at the clock.
            assert!(age(material, time) < 34 * 60 * SECOND, "an old one is used after {turn}");
            serials.insert(serial(material));
        }
        assert!(believe(&cart, &till, time), "after {turn}");
    };
    for turn in TURNS {
        hands.turn(turn);
        // Who waits gets one that is valid, and does not wait for the clock to be looked at.
        for lease in &leases {
            let material = tokio::time::timeout(3 * SECOND, lease.material()).await.unwrap().unwrap();
            assert!(material.svid().not_before() <= now.now() && now.now() <= material.svid().not_after());
        }
        pass(31 * SECOND).await;
        for _ in 0..48 {
            check(turn);
            pass(600 * SECOND).await;
        }
    }
    // Two ends, one in half an hour, a tenth of jitter, and one more for each time that the clock was set.
    let (most, least) = (2 * (72 * 60 / 27 + TURNS.len()), 2 * 72 * 60 / 34);
    assert!((least..=most).contains(&serials.len()), "{}", serials.len());
}

#[test]
fn from_one_root_to_another_without_a_failure() {
    let time = lab::now();
    let [old, new] = [(); 2].map(|()| Ca::generate_at(domain(), time - HOUR).unwrap());
    let roots = |cas: &[&Ca]| {
        let roots = cas.iter().flat_map(|ca| ca.bundle().roots().to_vec()).collect();
        Bundle::new(domain(), roots).unwrap()
    };
    let material = |ca: &Ca, path: &str, bundle: &Bundle| {
        let material = Material::new(ca.issue(&id(path), HOUR, time).unwrap(), bundle.clone()).unwrap();
        material.check(&provider(), time).unwrap();
        material
    };
    let (only_old, both, only_new) = (roots(&[&old]), roots(&[&old, &new]), roots(&[&new]));
    let steps = [(&old, &only_old), (&old, &both), (&new, &both), (&new, &only_new)];
    let paths = ["/ns/shop/sa/cart", "/ns/shop/sa/till"];
    let publishers = [Publisher::new(), Publisher::new()];
    let watches = [0, 1].map(|end: usize| publishers[end].watch());
    let held = || [0, 1].map(|end: usize| watches[end].at(time).unwrap());
    for (publisher, path) in publishers.iter().zip(paths) {
        publisher.publish(material(&old, path, &only_old));
    }
    let before = held();
    for (ca, bundle) in steps {
        // Never both at once: each end meets the other before and after its step.
        for (publisher, path) in publishers.iter().zip(paths) {
            publisher.publish(material(ca, path, bundle));
            let [cart, till] = held();
            assert!(believe(&cart, &till, time));
        }
    }
    let after = held();
    assert!(!believe(&before[0], &after[1], time) && !believe(&after[0], &before[1], time));
    // One end that was forgotten: it has both roots and an old leaf, and is refused for the leaf.
    let forgotten = material(&old, paths[0], &both);
    let (client, server) = configs(&forgotten, &after[1]);
    let outcome = handshake_at(time, client, server);
    assert!(outcome.server.is_err(), "{outcome:?}");
    // Nor may it be taken by mistake.
    let svid = old.issue(&id(paths[0]), HOUR, time).unwrap();
    Material::new(svid, only_new).unwrap().check(&provider(), time).unwrap_err();
}
