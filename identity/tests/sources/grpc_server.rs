//! A gRPC server on h2, which answers one call for each connection, well or badly.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a server does with a call.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These messages, and then this status.
    Messages(Vec<Vec<u8>>, u32),
    /// A status with a message, in the headers.
    Refusal(u32, &'static str),
    /// An HTTP status that is not 200.
    Http(u16),
    /// Something that is not gRPC.
    Html,
    /// Nothing.
    Silence,
    /// These bytes, and then the end of the connection.
    Cut(Vec<u8>),
    /// These bytes, and then status OK.
    Raw(Vec<u8>),
    /// A message, and an end without a status.
    NoStatus(Vec<u8>),
}

/// A message with its head.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// A call that has arrived. While it is held, its connection goes on.
pub(crate) struct Call {
    pub(crate) request: http::request::Parts,
    /// The request's message.
    pub(crate) message: Vec<u8>,
    respond: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
    connection: tokio::task::JoinHandle<()>,
}

impl Call {
    /// The first call on `io`. `None` if the other end had no use for it.
    pub(crate) async fn accept<T>(io: T) -> Option<Self>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connection = h2::server::handshake(io).await.ok()?;
        let (request, respond) = connection.accept().await?.ok()?;
        let connection = tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (request, body): (_, RecvStream) = Request::into_parts(request);
        let message = collect(body).await;
        assert_eq!(message[..5], framed(&message[5..])[..5], "one message, and not compressed");
        Some(Self { request, message: message[5..].to_vec(), respond, body: None, connection })
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.send_raw(framed(message));
    }

    pub(crate) fn send_raw(&mut self, bytes: Vec<u8>) {
        self.body().send_data(bytes.into(), false).unwrap();
    }

    /// Ends the call.
    pub(crate) fn end(mut self, status: u32) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.into());
        self.body().send_trailers(trailers).unwrap();
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(self) {
        self.connection.abort();
    }

    /// Does what `reply` says. Gives itself back if the call goes on.
    pub(crate) async fn reply(mut self, reply: Reply) -> Option<Self> {
        match reply {
            Reply::Messages(messages, status) => {
                messages.iter().for_each(|message| self.send(message));
                self.end(status);
            }
            Reply::Refusal(status, message) => {
                let mut response = head();
                response.headers_mut().insert("grpc-status", status.into());
                response.headers_mut().insert("grpc-message", message.parse().unwrap());
                self.respond.send_response(response, true).unwrap();
            }
            Reply::Http(status) => {
                let response = Response::builder().status(status).body(()).unwrap();
                self.respond.send_response(response, true).unwrap();
            }
            Reply::Html => {
                let response = Response::builder().header("content-type", "text/html").body(()).unwrap();
                self.respond.send_response(response, false).unwrap();
            }
            Reply::Silence => return Some(self),
            Reply::Cut(bytes) => {
                self.send_raw(bytes);
                // So that they are on their way.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                self.cut();
            }
            Reply::Raw(bytes) => {
                self.send_raw(bytes);
                self.end(0);
            }
            Reply::NoStatus(message) => {
                self.body().send_data(framed(&message).into(), true).unwrap();
            }
        }
        None
    }

    fn body(&mut self) -> &mut SendStream<Bytes> {
        self.body.get_or_insert_with(|| self.respond.send_response(head(), false).unwrap())
    }
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

async fn collect(mut body: RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes.unwrap();
        body.flow_control().release_capacity(bytes.len()).unwrap();
        all.extend_from_slice(&bytes);
    }
    all
}
