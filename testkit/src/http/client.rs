//! The client: one request on one connection, with a time limit.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use netns::{Namespace, SocketError, SocketOptions};

use super::message::Message;

/// Asks a server, from inside a namespace: `POST path` with this body. A step that takes ten seconds is an error.
///
/// # Errors
///
/// [`RequestError`], naming the step.
pub fn request(
    namespace: &Namespace,
    server: SocketAddr,
    path: &str,
    body: &[u8],
) -> Result<Response, RequestError> {
    let socket = namespace.tcp_socket(server, &SocketOptions::default())?;
    let connect = |source| RequestError::Connect { server, source };
    socket.connect_timeout(&server.into(), LIMIT).map_err(connect)?;
    socket.set_nonblocking(false).map_err(connect)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).map_err(connect)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(connect)?;
    ask(&stream, server, path, body).map_err(|source| RequestError::Talk { server, source })
}

/// How long connecting, sending and each piece of the answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    body: Vec<u8>,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whom the server saw, if it is a [`Server`](super::Server) of this crate.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let line = self.body.split(|byte| *byte == b'\n').next()?;
        str::from_utf8(line).ok()?.strip_prefix("peer=")?.parse().ok()
    }

    /// What the server sent back, if it is a [`Server`](super::Server) of this crate.
    #[must_use]
    pub fn echo(&self) -> Option<&[u8]> {
        let line = self.body.iter().position(|byte| *byte == b'\n')?;
        self.body.get(line + 1..)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No socket in the namespace.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No connection.
    #[error("cannot connect to {server}")]
    Connect {
        /// Whom.
        server: SocketAddr,
        /// What the kernel said, or that it took too long.
        #[source]
        source: io::Error,
    },
    /// The connection ended, took too long, or what came was no answer.
    #[error("no answer from {server}")]
    Talk {
        /// Whom.
        server: SocketAddr,
        /// What the kernel said, or how the answer was wrong.
        #[source]
        source: io::Error,
    },
}

fn ask(mut stream: &TcpStream, server: SocketAddr, path: &str, body: &[u8]) -> io::Result<Response> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let answer = Message::read(&mut BufReader::new(stream))?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = answer.start.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Response { status: status.ok_or(io::ErrorKind::InvalidData)?, body: answer.body })
}
