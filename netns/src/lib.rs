//! Enter a Linux network namespace, and be certain to come back.
//!
//! **The one rule: a thread that cannot come back does not go on.** [`Namespace::run`] proves the way back before it
//! leaves, comes back when the closure returns and when it panics, and if the way back is lost meanwhile (the closure
//! gave its rights away) it ends the process, because any later socket of that thread would be made in somebody
//! else's network. The closure is synchronous: what it returns, a future too, runs *outside*.
//!
//! ```text
//!   thread ── run(f) ──> proves: I may come back ──> setns ──> f() ──> setns back ──> R
//!                          │ no                        │ no      │ panic    │ cannot
//!                          └─> EnterError, still here <┘         └─> back   └─> abort
//! ```
//!
//! A socket belongs to the namespace that it was *made* in, wherever it is used later. So nothing needs to stay
//! inside: [`Namespace::tcp_listener`], [`Namespace::tcp_socket`] and [`Namespace::udp_socket`] step in, make a
//! socket that does not block, step out, and the caller's runtime goes on with it where it is.
//!
//! ```no_run
//! use inpod_netns::{Namespace, SocketOptions};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let pod = Namespace::open("/run/netns/pod")?; // or of_process(pid), current(), create(), from_fd(fd)
//!     println!("{}", pod.id());
//!
//!     // A listener in the pod, served from here: tokio::net::TcpListener::from_std(listener).
//!     let listener = pod.tcp_listener("[::]:15001".parse()?, &SocketOptions::default())?;
//!     println!("{}", listener.local_addr()?);
//!
//!     // Anything else that depends on the namespace of the thread.
//!     let routes = pod.run(|| std::fs::read_to_string("/proc/thread-self/net/route"))??;
//!     println!("{routes}");
//!     Ok(())
//! }
//! ```
//!
//! Where a namespace comes from:
//!
//! | known is | |
//! |---|---|
//! | a path | [`Namespace::open`] |
//! | a process, its pidfd, or a thread | [`Namespace::of_process`], [`of_pidfd`](Namespace::of_pidfd), [`of_thread`](Namespace::of_thread) |
//! | a pod's UID or address | [`find::Finder`] |
//! | a name | [`Names`] |
//! | a descriptor that was received | [`Namespace::from_fd`] |
//! | nothing yet | [`Namespace::create`] |
//!
//! # Rights
//!
//! Entering needs `CAP_SYS_ADMIN` in the thread's user namespace and in the one that owns the network namespace, and
//! coming back needs it over the one that the thread is in: real root, or root of a user namespace that made both.
//! Errors say so: see `is_permission` on each of them.
//!
//! # Features
//!
//! None. Linux only; there is no runtime in here. [`Namespace::of_process`] needs Linux 5.3.
#![deny(unsafe_op_in_unsafe_fn)]

mod entered;
mod error;
pub mod find;
mod home;
mod id;
mod name;
mod named;
mod namespace;
mod options;
mod process;
mod run;
mod sockets;
#[expect(unsafe_code, reason = "the only file with system calls that nix and socket2 do not offer")]
mod sys;

pub use self::error::{EnterError, OpenError, Origin, SocketError};
pub use self::home::{Home, HomeError};
pub use self::id::NamespaceId;
pub use self::name::{Name, NameError};
pub use self::named::{NamedError, Names};
pub use self::namespace::Namespace;
pub use self::options::SocketOptions;
pub use self::sockets::Family;
