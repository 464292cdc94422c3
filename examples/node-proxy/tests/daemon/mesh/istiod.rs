//! Istiod: Istio's CA, as much of it as a proxy asks, in the node's namespace. The certificates that it signs live for seconds.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use netns::Namespace;
use prost::Message as _;
use prost::bytes::Bytes;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::{Files, Result};

/// How long what it signs is valid.
const LIFE: Duration = Duration::from_secs(4);

// The messages of `istio.v1.auth.IstioCertificateService`, as far as they are of use here.

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    csr: String,
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
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, repeated, tag = "1")]
    chain: Vec<String>,
}

/// What it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The SPIFFE id.
    pub(crate) whom: String,
    /// What authorized it.
    pub(crate) authorization: String,
}

pub(crate) struct Istiod {
    address: SocketAddr,
    office: Arc<Office>,
    _runtime: Runtime,
}

impl Istiod {
    /// One that signs as the root of `files`.
    pub(crate) fn start(node: &Namespace, files: &Files) -> Result<Self> {
        let root = fs::read_to_string(files.ca_cert())?;
        let key = fs::read_to_string(files.ca_key())?;
        let signer = Issuer::from_ca_cert_pem(&root, KeyPair::from_pem(&key)?)?;
        let acceptor = acceptor(&signer)?;
        let listener = node.run(|| std::net::TcpListener::bind("127.0.0.1:0"))??;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let office = Arc::new(Office { root, signer, books: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(async { TcpListener::from_std(listener) })?;
        runtime.spawn(serve(listener, acceptor, Arc::clone(&office)));
        Ok(Self { address, office, _runtime: runtime })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked for.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.office.books().asked.clone()
    }

    /// Signs nothing for this id any more, or does again.
    pub(crate) fn refuse(&self, whom: Option<&str>) {
        self.office.books().refused = whom.map(str::to_owned);
    }
}

struct Office {
    root: String,
    signer: Issuer<'static, KeyPair>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    asked: Vec<Asked>,
    refused: Option<String>,
}

impl Office {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, or the status of a refusal (PERMISSION_DENIED).
    fn answer(&self, request: &Request, authorization: String) -> Result<Result<Answer, u32>> {
        let whom = request.metadata.as_ref().and_then(|metadata| metadata.fields.get("ImpersonatedIdentity"));
        let whom = whom.map(|value| value.text.clone()).ok_or("nobody is impersonated")?;
        let mut books = self.books();
        books.asked.push(Asked { whom: whom.clone(), authorization });
        if books.refused.as_ref() == Some(&whom) {
            return Ok(Err(7));
        }
        let mut request = CertificateSigningRequestParams::from_pem(&request.csr)?;
        request.params.subject_alt_names = vec![SanType::URI(whom.try_into()?)];
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        request.params.not_before = SystemTime::now().into();
        request.params.not_after = (SystemTime::now() + LIFE).into();
        Ok(Ok(Answer { chain: vec![request.signed_by(&self.signer)?.pem(), self.root.clone()] }))
    }
}

/// With a certificate for the loopback address.
fn acceptor(signer: &Issuer<'static, KeyPair>) -> Result<TlsAcceptor> {
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()])?.signed_by(&key, signer)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(identity::tls::aws_lc_rs())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, office: Arc<Office>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, acceptor.clone(), Arc::clone(&office)));
    }
}

/// One connection. A client that is not what is expected gets none, which its test sees.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor, office: Arc<Office>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let office = Arc::clone(&office);
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut message = Vec::new();
            while let Some(Ok(bytes)) = body.data().await {
                message.extend_from_slice(&bytes);
            }
            let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
            // Before the message: whether it is compressed, and its length.
            let request = Request::decode(message.get(5..).unwrap_or_default()).unwrap_or_default();
            let answer = office.answer(&request, authorization.unwrap_or_default().to_owned());
            // INTERNAL.
            send(respond, answer.unwrap_or(Err(13)))
        });
    }
}

fn send(mut respond: SendResponse<Bytes>, answer: Result<Answer, u32>) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    let status = match answer {
        Ok(answer) => {
            let message = answer.encode_to_vec();
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
            stream.send_data([&[0], &length[..], &message].concat().into(), false)?;
            0
        }
        Err(status) => status,
    };
    stream.send_trailers(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status.into())]))
}
