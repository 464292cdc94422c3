//! Carry byte streams through HTTP/2 CONNECT tunnels, over any encrypted stream you give it.
//!
//! This is the transport that Istio's ambient mesh calls HBONE, and it interoperates with it. Bring a stream (TLS over
//! TCP, a [`Tunnel`], an in-memory pipe): this crate neither dials, nor encrypts, nor spawns. It keeps time with tokio,
//! whose runtime must have its clock enabled.
//!
//! # The one rule
//!
//! **Keep it moving.** A client's [`Driver`] must be polled, and a server's [`Server::next`] must be called, for as long
//! as any tunnel is to move a byte.
//!
//! # The picture
//!
//! ```text
//!   client                                                        server
//!   client::handshake(io) -> (Client, Driver)      server::handshake(io) -> Server
//!
//!   Client::open(request) --- HEADERS  CONNECT 10.0.0.5:8080 --->  Server::next() -> Incoming
//!                                                                     |
//!                        <--- HEADERS  400 401 503 + END_STREAM ---   |- refuse(Refusal), or dropped
//!                        <--- HEADERS  200 ------------------------   `- accept() -> Tunnel
//!   Tunnel               <--- DATA, WINDOW_UPDATE ... ------------>
//!   finish               ---- END_STREAM ------------------------->   end of file
//!   reset, or dropped    ---- RST_STREAM ------------------------->   ConnectionReset
//! ```
//!
//! A FIN stays a FIN and a reset stays a reset: a reader sees an end only if the writer said so. A [`Pool`] shares
//! connections: one dial for all who want the same, a bounded number of tunnels on each.
//!
//! What is on the wire, requirement by requirement and each with its test, is in the book: `docs/src/hbone.md`. The fields
//! that go with a request are in [`header`]; [`proxy_protocol`] hands a tunnel over to an application that asks who it is.
//!
//! # The smallest program
//!
//! ```
//! use inpod_hbone::{Arrival, Config, ConnectRequest, client, server};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//!
//! // One end answers whatever is asked for with "hello".
//! tokio::spawn(async move {
//!     let mut server = server::handshake(far, &Config::default()).await.unwrap();
//!     while let Some(Ok(arrival)) = server.next().await {
//!         if let Arrival::Connect(incoming) = arrival {
//!             let mut tunnel = incoming.accept().unwrap();
//!             tokio::spawn(async move {
//!                 tunnel.write_all(b"hello").await?;
//!                 tunnel.shutdown().await?;
//!                 tunnel.read_to_end(&mut Vec::new()).await
//!             });
//!         }
//!     }
//! });
//!
//! // The other asks.
//! let (client, driver) = client::handshake(near, &Config::default()).await?;
//! tokio::spawn(driver);
//! let mut tunnel = client.open(ConnectRequest::new("10.0.0.5:8080".parse()?)).await?;
//! tunnel.shutdown().await?;
//! let mut answer = String::new();
//! tunnel.read_to_string(&mut answer).await?;
//! assert_eq!(answer, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None: all of it is always there. Types of [`bytes`], [`h2`], [`http`] and [`tokio`] are part of the interface.

#![forbid(unsafe_code)]

pub mod client;
pub mod header;
pub mod proxy_protocol;
pub mod server;

mod config;
mod connect;
mod crumbs;
mod driver;
mod error;
mod gate;
mod greeting;
mod guard;
mod heartbeat;
mod idle;
mod keepalive;
mod ledger;
mod pool;
mod queue;
mod room;
mod slivers;
mod target;
mod tunnel;
mod windows;

/// What `gate` is made of. `tests/gate.rs` makes it of loom's, and tries every order of threads.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
}

pub use client::{Client, Note};
pub use config::{Config, ConfigError, Setting};
pub use connect::{ConnectRequest, MalformedRequest, Refusal};
pub use driver::Driver;
pub use error::{AcceptError, ConnectionError, HandshakeError, OpenError};
pub use keepalive::KeepAlivePolicy;
pub use pool::{Origin, Pool, PoolConfig, PoolError, Pooled, Usage};
pub use server::{Arrival, Incoming, Server};
pub use target::{HostName, Target, TargetError};
pub use tunnel::{FRAME_PAYLOAD, RecvHalf, SendHalf, Tunnel};
