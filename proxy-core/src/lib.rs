//! Take a captured connection to where it may go.
//!
//! The other four crates each know one thing: entering namespaces, capture rules, tunnels, identities. This one composes
//! them into a node's proxy: it listens inside each pod, asks the facts where a connection goes and policy whether it may,
//! and moves its bytes. It is the only crate that spawns tasks.
//!
//! **The rule to keep:** capture a pod ([`capture`]) only while its [`Proxy`] listens, and release it before the
//! proxy stops. In between there is no way past the proxy: when it is down, connections fail.
//!
//! ```text
//!    pod A                        node                              pod B
//!  app ----> :15001 ===> outbound: route -> pool -> HBONE ======> :15008 ===> inbound: policy -> dial ----> app
//!                         (sockets of one process, each in its pod's network namespace)
//! ```
//!
//! # Reading order
//!
//! `outbound.rs` and `inbound.rs` read top to bottom like the walk of a connection in the project's documentation; what they
//! decide is in [`route`] and [`policy`], pure functions of a [`Snapshot`](workload::Snapshot). [`Proxy`] is one pod,
//! [`Node`] all of them, [`zds`] how an agent names them.
//!
//! # Smallest program
//!
//! A proxy for the pods that an agent hands over at `/run/agent.sock`:
//!
//! ```no_run
//! # #[cfg(all(feature = "yaml", feature = "aws-lc-rs"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use inpod_proxy_core::{AccessLog, Authority, Config, Facts, Node, Shared, Workers, workload, zds};
//!
//! let trust_domain = "cluster.local".parse()?;
//! let snapshot = workload::file::parse(&std::fs::read_to_string("workloads.yaml")?, &trust_domain)?;
//! let config = Config::default();
//! let workers = Workers::start(std::thread::available_parallelism()?)?;
//! let ca = identity::Ca::generate(trust_domain.clone())?;
//! let trust = identity::SharedTrust::from(ca.bundle().clone());
//! let issuer = Arc::new(identity::source::EmbeddedCa::new(ca, config.svid_lifetime));
//! let authority = Authority::start(trust_domain, issuer, trust, identity::tls::aws_lc_rs(), &workers);
//! let shared = Shared {
//!     authority: Arc::new(authority),
//!     config: Arc::new(config),
//!     facts: Arc::new(Facts::new(snapshot)),
//!     observer: Arc::new(AccessLog),
//!     workers: Arc::new(workers),
//! };
//! let follower = zds::proxy::Follower::new("/run/agent.sock".as_ref(), Node::new(shared)?);
//! let node = follower.run(&Default::default()).await;
//! node.drain(std::time::Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! - `aws-lc-rs` (default), `ring`: cryptography for TLS; additive.
//! - `yaml` (default): [`workload::file`] and [`agent::folder`].
//! - `kubernetes`: `agent::kubernetes`, the pods of a cluster's node.

#![forbid(unsafe_code)]

mod address;
pub mod agent;
mod authority;
pub mod capture;
mod config;
mod credentials;
mod dial;
mod double;
mod drain;
mod error;
pub mod explain;
mod hand_over;
mod headers;
mod inbound;
mod listen;
mod listeners;
pub mod local_socket;
mod node;
mod outbound;
mod passthrough;
mod pod;
pub mod policy;
mod proxy;
mod relay;
mod report;
pub mod route;
mod standings;
mod underway;
mod workers;
pub mod workload;
pub mod zds;

pub use address::{ClientAddr, HopAddr, LocalAddr, OriginalDst};
pub use authority::Authority;
pub use config::{Config, Ports};
pub use double::DoubleError;
pub use error::{ConnectionError, CredentialsError, DialError, HandshakeError, Side};
pub use listeners::{GivenError, ListenError, Listeners};
pub use node::{AddError, Node};
pub use proxy::{Proxy, Shared, StartError};
pub use report::{AccessLog, Direction, Observer, Report, Transferred};
pub use workers::{Workers, WorkersError};
pub use workload::Facts;
