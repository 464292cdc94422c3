//! An application that knows nothing of any mesh: a small HTTP/1.1 server that says whom it saw, and its client.
//!
//! The server answers every request with `peer=ADDRESS:PORT`, a line feed, and the request's own body.

mod client;
mod message;
mod server;

pub use self::client::{RequestError, Response, request};
pub use self::server::Server;
