//! The node's agent: brings each pod where it is wanted, in the kernel and at the proxies, and keeps it there.
//!
//! **The rule to keep:** a [`Source`] calls [`Agent::complete`] only when it has named every pod that there is. Proxies stop serving
//! the others then.
//!
//! ```text
//!   Source ──put, release, gone──> Agent ──wanted──> actor, one for each pod ──steps──> kernel: rules in the pod's namespace
//!   CNI, files, Kubernetes                              ^   decide(wanted, known)  └──> roster ──ZDS──> proxies
//!                                                       └──────────── known: rules read back, proxies' answers ───┘
//! ```
//!
//! An actor does not follow orders, it compares: what is wanted with what the kernel and the newest proxy say, again and again. So
//! it does not matter what was missed, or who died in between. A pod is captured when a proxy listens in it, not before; once it is,
//! nothing but [`Agent::release`] ends that: not a proxy that is gone, not an error, not the end of the agent.
//!
//! The agent binds the pods' listening sockets and hands them to proxies of this crate, so connections wait, and do not fail, between
//! a proxy that is gone and the next. Proxies of another make bind their own.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use inpod_proxy_core::agent::{Agent, Pod, Settings};
//! use inpod_proxy_core::{workload::PodName, zds};
//!
//! let agent = Agent::start(&Settings::default(), zds::agent::Listener::bind("/run/inpod/zds.sock".as_ref())?)?;
//! let name = PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() };
//! agent.put(Pod::new("0b6c", name, netns::Namespace::open("/run/netns/cart-0")?))?;
//! agent.complete();
//! agent.enrolled("0b6c", Duration::from_secs(20)).await?; // now it may start
//! # Ok(()) }
//! ```

mod actor;
mod asking;
mod backoff;
mod decide;
#[cfg(feature = "yaml")]
pub mod folder;
mod handle;
mod held;
mod inspect;
mod kernel;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(any(feature = "yaml", feature = "kubernetes"))]
mod name;
mod plans;
mod pod;
mod probes;
mod proxies;
mod remaining;
mod roster;
mod source;
mod status;
mod watched;

pub use self::asking::ExplainError;
pub use self::backoff::Backoff;
pub use self::handle::{Agent, PutError, Settings, WaitError};
pub use self::inspect::{InspectError, Inspection, Listener, Look, Met, Place, Walk};
pub use self::kernel::{Istio, StepError};
pub use self::pod::Pod;
pub use self::roster::Heard;
pub use self::source::{Recognised, Source, Starting};
pub use self::status::{Captured, PodStatus, Status, Wanted};
