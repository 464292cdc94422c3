//! How long it takes to parse an id, to verify a chain, and to shake hands: `cargo bench -p inpod-identity`.
//!
//! Each is done for a second, in batches; what is printed is the best of those, the least disturbed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use inpod_identity::{Ca, Crls, Expected, RevocationPolicy, Role, SpiffeId, Trust, tls, verify};
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::UnixTime;
use webpki::{EndEntityCert, KeyUsage};

const TEXT: &str =
    "spiffe://cluster.local/ns/some-namespace/sa/some-service-account-of-about-a-hundred-bytes-in-length";

fn main() {
    measure("parse an id of about 100 bytes", || black_box(TEXT).parse::<SpiffeId>().unwrap());
    let bad = format!("{}%41", TEXT.get(..97).unwrap());
    measure("refuse an id of about 100 bytes", || black_box(&bad).parse::<SpiffeId>().unwrap_err());

    let ca = Ca::generate("cluster.local".parse().unwrap()).unwrap();
    let id: SpiffeId = TEXT.parse().unwrap();
    let svid = ca.issue(&id, Duration::from_secs(3600), SystemTime::now()).unwrap();
    measure("issue an SVID", || ca.issue(&id, Duration::from_secs(3600), SystemTime::now()).unwrap());

    let provider = tls::aws_lc_rs();
    let algorithms = provider.signature_verification_algorithms.all;
    let trust = Trust::from(ca.bundle());
    let check =
        |trust: &Trust| verify(svid.chain(), trust, Role::Client, algorithms, UnixTime::now()).unwrap();
    measure("verify a chain", || check(&trust));
    let root = webpki::anchor_from_trusted_cert(&ca.bundle().roots()[0]).unwrap();
    measure("verify a chain, by webpki alone", || {
        let leaf = EndEntityCert::try_from(&svid.chain()[0]).unwrap();
        let (anchors, above) = (std::slice::from_ref(&root), &svid.chain()[1..]);
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(algorithms, anchors, above, UnixTime::now(), usage, None, None)
            .map(|_| ())
            .unwrap();
    });
    let no_lists = trust.with_crls(&Crls::default(), RevocationPolicy::default(), algorithms).unwrap();
    measure("verify a chain, with a policy of no lists", || check(&no_lists));

    let anyone = || Arc::new(Expected::in_trust_domain("cluster.local".parse().unwrap()));
    for (what, groups) in [("X25519MLKEM768", 0..1), ("X25519", 1..2)] {
        let mut provider = (*provider).clone();
        provider.kx_groups = provider.kx_groups.get(groups).unwrap().to_vec();
        let provider = Arc::new(provider);
        let client = Arc::new(tls::client_config(&provider, &svid, &trust, anyone()).unwrap());
        let server = Arc::new(tls::server_config(&provider, &svid, &trust, anyone()).unwrap());
        measure(&format!("shake hands, both ends, {what}"), || {
            let mut client = ClientConnection::new(Arc::clone(&client), tls::unnamed()).unwrap();
            let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
            shake(&mut client, &mut server);
            assert!(tls::peer_id(&server).is_some());
        });
    }
}

/// Carries bytes between the ends until neither has more to say.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) {
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

fn measure<T>(what: &str, mut once: impl FnMut() -> T) {
    let mut batch = |size: u32| {
        let begun = Instant::now();
        (0..size).for_each(|_| drop(black_box(once())));
        begun.elapsed()
    };
    let mut size = 1;
    while batch(size) < LONG {
        size *= 2;
    }
    let (begun, mut best) = (Instant::now(), Duration::MAX);
    while begun.elapsed() < Duration::from_secs(1) {
        best = best.min(batch(size));
    }
    println!("{what:<44} {:>12.1} ns", best.as_secs_f64() * 1e9 / f64::from(size));
}

/// A thousand times what it takes to read the clock, and short enough that some of a second's batches are not disturbed.
const LONG: Duration = Duration::from_micros(50);
