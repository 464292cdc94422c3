//! Pods in namespaces, a wire canary and a leak counter, for inpod's own tests.
//!
//! **The one rule: call [`kernel::run`] (or [`kernel::sandbox`]) first in `main`, while the process has one thread.** It
//! moves the process into namespaces of its own, rootless where it must, so that nothing here touches the machine's own
//! network.
//!
//! ```text
//!   kernel::run(cases) ── sandbox ──> each case on its own thread; what cannot run is ignored, with the reason
//!                                     (INPOD_REQUIRE_KERNEL=1: it fails)
//!
//!   lab:    node  br0 10.77.0.1/16, fd77::1/64          http:    an app that says whom it saw, and its client
//!                 |          |                          canary:  was this on the wire? also over segments
//!           pod "a" eth0   pod "b" eth0                 leaks:   more open files, or threads elsewhere, than before?
//!                                                       cni:     attach a namespace by CNI plugins
//!                                                       kubernetes: an API server that fails when it is told to (feature)
//! ```
//!
//! ```no_run
//! use inpod_testkit::kernel::{run, test};
//! use inpod_testkit::lab::{INTERFACE, Lab};
//! use inpod_testkit::{canary::Capture, http};
//!
//! fn main() -> std::process::ExitCode {
//!     run(vec![test("plain_text_is_seen", || {
//!         let lab = Lab::new()?;
//!         let (client, app) = (lab.pod("client")?, lab.pod("app")?);
//!         let server = http::Server::start(app.namespace(), 8080)?;
//!         let capture = Capture::start(app.namespace(), INTERFACE)?;
//!         http::request(client.namespace(), (app.v4(), server.port()).into(), "/", b"canary-7f3a9c")?;
//!         assert!(capture.stop()?.contains(b"canary-7f3a9c"));
//!         Ok(())
//!     })])
//! }
//! ```
#![forbid(unsafe_code)]

pub mod canary;
pub mod child;
pub mod cni;
pub mod conversation;
pub mod http;
pub mod kernel;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod lab;
pub mod leaks;
mod listening;
mod rtnetlink;

pub use listening::listening;

/// Namespaces, for tests of crates that do not know `netns` themselves.
pub use netns;
