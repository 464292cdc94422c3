//! A chained CNI plugin that lets a pod start only when the node's agent has enrolled it.
//!
//! **The one rule: an agent answers [`Done`](message::Answer::Done) only when the pod's traffic is captured, and
//! [`NotOurs`](message::Answer::NotOurs) only when it certainly need not be.** Everything else, silence too, keeps the pod from
//! starting.
//!
//! ```text
//!   container runtime ── environment, configuration ──> inpod-cni ── request, the pod's namespace ──> node agent
//!                     <── previous result, or error ──   plugin   <── answer ───────────────────────   server::Handler
//!                                                        client
//! ```
//!
//! The plugin knows nothing of a mesh: it reads a command ([`environment`], [`configuration`]), asks ([`client`]) and tells the
//! runtime ([`plugin`]). Which pods are enrolled, and how, is the [`server::Handler`]'s, in the agent.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod attachment;
pub mod client;
pub mod command;
pub mod configuration;
pub mod environment;
pub mod failure;
pub mod install;
pub mod message;
pub mod name;
pub mod plugin;
pub mod previous;
pub mod server;
pub mod version;
