//! What the tests share: a forger of certificates that keep or break one rule each, a clock that stands still, and two
//! TLS ends in one thread.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "every test binary compiles this file and uses its own part of it"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inpod_identity::{Authorizer, Bundle, Ca, SpiffeId, Trust, TrustDomain, Unexpected, tls};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName as TlsName,
    Error, OtherError, ServerConfig, ServerConnection, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};

pub const HOUR: Duration = Duration::from_secs(3600);

/// 2030-01-01T00:00:00Z: what all tests call now.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

pub fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

pub fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

pub fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&domain(), path).unwrap()
}

/// Every provider that is compiled in.
pub fn providers() -> Vec<Arc<CryptoProvider>> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        tls::aws_lc_rs(),
        #[cfg(feature = "ring")]
        tls::ring(),
    ]
}

pub fn provider() -> Arc<CryptoProvider> {
    providers().remove(0)
}

// The forger.

pub type Chain = Vec<CertificateDer<'static>>;

/// An authority that signs anything.
pub struct Authority {
    pub certificate: CertificateDer<'static>,
    name: DistinguishedName,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        Self::self_signed(params, KeyPair::generate().unwrap())
    }

    /// A root with a key of the test's choice.
    pub fn root_of(name: &str, key: KeyPair) -> Self {
        Self::self_signed(authority_params(name), key)
    }

    fn self_signed(params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.self_signed(&key).unwrap().into();
        Self { certificate, name: params.distinguished_name.clone(), issuer: Issuer::new(params, key) }
    }

    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    pub fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(name), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().into();
        Self { certificate, name: params.distinguished_name.clone(), issuer: Issuer::new(params, key) }
    }

    /// Signs revocation lists from now on, whatever its certificate says.
    pub fn may_sign_crls(&mut self) {
        let key = KeyPair::try_from(self.issuer.key().serialize_der()).unwrap();
        let mut params = authority_params("");
        params.distinguished_name = self.name.clone();
        self.issuer = Issuer::new(params, key);
    }

    /// The certificate, and the key in PKCS#8.
    pub fn into_parts(self) -> (CertificateDer<'static>, Vec<u8>) {
        (self.certificate, self.issuer.key().serialize_der())
    }

    pub fn bundle(&self) -> Bundle {
        Bundle::new(domain(), vec![self.certificate.clone()]).unwrap()
    }

    /// A leaf that would be right for `/ns/shop/sa/cart`, but for what `change` does to it.
    pub fn leaf(
        &self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (mut params, key) = (leaf_params(), KeyPair::generate().unwrap());
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().into();
        (leaf, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// A revocation list that is a minute old and good for an hour, with these serial numbers, but for what `change`
    /// does to it.
    pub fn crl(
        &self,
        serials: &[u64],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (now() - HOUR).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: (now() - Duration::from_secs(60)).into(),
            next_update: (now() + HOUR).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().into()
    }

    /// The right leaf, for a key of the test's choice.
    pub fn leaf_of(&self, key: &KeyPair) -> CertificateDer<'static> {
        leaf_params().signed_by(key, &self.issuer).unwrap().into()
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/cart")];
    params.not_before = (now() - HOUR).into();
    params.not_after = (now() + HOUR).into();
    params
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

pub fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

/// An Ed25519 key as a file that keeps silent about its public half: OneAsymmetricKey version 1 (RFC 8410 §7).
pub fn silent_pkcs8(key: &KeyPair) -> Vec<u8> {
    let der = key.serialize_der();
    let start = der.windows(4).position(|window| window == [0x04, 0x22, 0x04, 0x20]).unwrap() + 4;
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&head, &der[start..start + 32]].concat()
}

/// An ECDSA key as a file that says the public half of another.
pub fn lying_pkcs8(key: &KeyPair, other: &KeyPair) -> Vec<u8> {
    let (mut der, bits) = (key.serialize_der(), key.public_key_raw());
    let start = der.windows(bits.len()).position(|window| window == bits).unwrap();
    der[start..start + bits.len()].copy_from_slice(other.public_key_raw());
    der
}

/// Any bytes as PEM, on one line.
pub fn pem(label: &str, der: &[u8]) -> String {
    let digits: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let base64: String = der
        .chunks(3)
        .flat_map(|chunk| {
            let bits =
                chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            let digit = |at: usize| char::from(digits[(bits >> (18 - 6 * at) & 63) as usize]);
            (0..4).map(|at| if at > chunk.len() { '=' } else { digit(at) }).collect::<Vec<_>>()
        })
        .collect();
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

// The TLS ends.

/// A clock that shows one time.
#[derive(Debug)]
struct Stopped(UnixTime);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// What each end of a handshake came to: who the peer is, or why not.
#[derive(Debug)]
pub struct Outcome {
    pub client: Result<Option<SpiffeId>, Error>,
    pub server: Result<Option<SpiffeId>, Error>,
}

/// A handshake at [`now`].
pub fn handshake(client: ClientConfig, server: ServerConfig) -> Outcome {
    handshake_at(now(), client, server)
}

pub fn handshake_at(time: SystemTime, mut client: ClientConfig, mut server: ServerConfig) -> Outcome {
    client.time_provider = stopped(time);
    server.time_provider = stopped(time);
    let (mut client, mut server) = ends(&Arc::new(client), &Arc::new(server));
    shake(&mut client, &mut server)
}

pub fn stopped(time: SystemTime) -> Arc<dyn TimeProvider> {
    Arc::new(Stopped(unix(time)))
}

pub fn ends(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (ClientConnection, ServerConnection) {
    let client = ClientConnection::new(Arc::clone(client), tls::unnamed()).unwrap();
    (client, ServerConnection::new(Arc::clone(server)).unwrap())
}

/// Carries the bytes of a handshake one at a time, and asks the client after each one of them.
pub fn shake_slowly(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
    mut ask: impl FnMut(&ClientConnection),
) {
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut &wire[..]).unwrap();
    server.process_new_packets().unwrap();
    wire.clear();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    for byte in wire {
        client.read_tls(&mut &[byte][..]).unwrap();
        client.process_new_packets().unwrap();
        ask(client);
    }
}

/// Carries bytes between the ends until neither has more to say.
pub fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Outcome {
    let (mut client_result, mut server_result) = (Ok(()), Ok(()));
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let said = wire.len();
        deliver(&wire, server, &mut server_result);
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        deliver(&wire, client, &mut client_result);
        if said + wire.len() == 0 {
            break;
        }
    }
    Outcome {
        client: client_result.map(|()| tls::peer_id(client)),
        server: server_result.map(|()| tls::peer_id(server)),
    }
}

fn deliver<Data>(
    mut wire: &[u8],
    end: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<Data>>,
    result: &mut Result<(), Error>,
) {
    while !wire.is_empty() && result.is_ok() {
        end.read_tls(&mut wire).unwrap();
        *result = end.process_new_packets().map(|_| ());
    }
}

/// Lets everyone in, of whatever trust domain: for tests of what comes before.
#[derive(Debug)]
pub struct Anyone;

impl Authorizer for Anyone {
    fn authorize(&self, _: &SpiffeId) -> Result<(), Unexpected> {
        Ok(())
    }
}

/// What our server, and then our client, makes of a peer that shows this chain.
pub fn at_both_ends(
    (chain, key): (Chain, PrivateKeyDer<'static>),
    trust: impl Into<Trust>,
) -> [Result<Option<SpiffeId>, Error>; 2] {
    let trust = trust.into();
    let own = Ca::generate_at(domain(), now()).unwrap().issue(&id("/own"), HOUR, now()).unwrap();
    let anyone = || Arc::new(Anyone);
    let client = careless_client(&provider(), Some((chain.clone(), key.clone_key())));
    let server = tls::server_config(&provider(), &own, &trust, anyone()).unwrap();
    let shown_to_server = handshake(client, server);

    let client = tls::client_config(&provider(), &own, &trust, anyone()).unwrap();
    let server = careless_server(&provider(), (chain, key));
    let shown_to_client = handshake(client, server);

    // Whoever is refused hears of it.
    for (ours, theirs) in [
        (&shown_to_server.server, &shown_to_server.client),
        (&shown_to_client.client, &shown_to_client.server),
    ] {
        if ours.is_err() {
            assert!(matches!(theirs, Err(Error::AlertReceived(_))), "{theirs:?}");
        }
    }
    let (Outcome { server, .. }, Outcome { client, .. }) = (shown_to_server, shown_to_client);
    [server, client]
}

pub fn cause<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    }
}

/// A client that shows any chain, or none, and believes anyone.
pub fn careless_client(
    provider: &Arc<CryptoProvider>,
    shown: Option<(Chain, PrivateKeyDer<'static>)>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(Arc::clone(provider))));
    match shown {
        Some(shown) => config.with_client_cert_resolver(shows(provider, shown)),
        None => config.with_no_client_auth(),
    }
}

/// A server that shows any chain and believes anyone.
pub fn careless_server(
    provider: &Arc<CryptoProvider>,
    shown: (Chain, PrivateKeyDer<'static>),
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Credulous(Arc::clone(provider))))
        .with_cert_resolver(shows(provider, shown))
}

/// What is shown without having been looked at: rustls would refuse some of it itself.
fn shows(provider: &CryptoProvider, (chain, key): (Chain, PrivateKeyDer<'static>)) -> Arc<SingleCertAndKey> {
    let key = provider.key_provider.load_private_key(key).unwrap();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl Credulous {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }
}

macro_rules! check_signatures_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.check(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    check_signatures_only!();
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[TlsName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    check_signatures_only!();
}
