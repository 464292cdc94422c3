//! Ids and certificates.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group};
use identity::{
    Authorizer as _, Bundle, BundleError, Expected, ParseError, Role, ServiceAccount, ServiceAccountError,
    SpiffeId, Trust, TrustDomain, Unexpected, VerifyError, tls, verify,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::{kept, parsed};

/// A root of `cluster.local` and a leaf that it signed, both with ECDSA keys on P-256.
const ROOT: &[u8] = include_bytes!("../../../fuzz/seeds/root.pem");
const LEAF: &[u8] = include_bytes!("../../../fuzz/seeds/leaf.der");

const ID: &str = "spiffe://cluster.local/ns/shop/sa/cart-1";
const LONG: &str =
    "spiffe://cluster.local/ns/some-namespace/sa/some-service-account-of-about-a-hundred-bytes-in-length-";

#[library_benchmark]
#[bench::of_40_bytes(ID)]
#[bench::of_100_bytes(LONG)]
fn parse_id(text: &str) -> Result<SpiffeId, ParseError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::of_40_bytes(parsed(ID))]
fn see_service_account(id: &SpiffeId) -> Result<ServiceAccount, ServiceAccountError> {
    ServiceAccount::try_from(black_box(id))
}

#[library_benchmark]
#[bench::one(kept(Expected::one(ID.parse().expect("it is an id"))), parsed(ID))]
#[bench::trust_domain(kept(Expected::in_trust_domain(domain())), parsed(ID))]
fn authorize(expected: &Expected, id: &SpiffeId) -> Result<(), Unexpected> {
    black_box(expected).authorize(black_box(id))
}

#[library_benchmark]
#[bench::of_one_root(domain())]
fn parse_bundle(domain: TrustDomain) -> Result<Bundle, BundleError> {
    Bundle::from_pem(black_box(domain), black_box(ROOT))
}

// With the root's signature on the leaf.
#[library_benchmark]
#[bench::of_one_certificate(kept(trust()), kept(tls::aws_lc_rs()))]
fn verify_chain(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<SpiffeId, VerifyError> {
    let algorithms = provider.signature_verification_algorithms.all;
    let chain = [CertificateDer::from_slice(LEAF)];
    verify(black_box(&chain), black_box(trust), Role::Client, algorithms, IN_2030)
}

/// When all seeds are valid.
const IN_2030: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));

fn domain() -> TrustDomain {
    "cluster.local".parse().expect("it is a trust domain")
}

fn trust() -> Trust {
    Bundle::from_pem(domain(), ROOT).expect("it is a root").into()
}

library_benchmark_group!(
    name = identities,
    benchmarks = [parse_id, see_service_account, authorize, parse_bundle, verify_chain]
);
