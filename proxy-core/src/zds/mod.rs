//! ZDS: how a node agent hands pods to the proxy, wire-compatible with Istio's (version 1).
//!
//! ```text
//!   proxy (connects)                       agent (listens)
//!     | Hello{V1} ---------------------------> |
//!     | <-------- Add(uid, name) + netns fd    |  one for each pod
//!     | Ack / Nack --------------------------> |
//!     | <-------- Keep(uid)                    |  a pod whose namespace the agent lost
//!     | Ack ---------------------------------> |
//!     | <-------- SnapshotSent                 |  pods not named by now are stopped
//!     | Ack ---------------------------------> |
//!     | <-------- Add + fd, Del ...            |  as pods come and go
//! ```
//!
//! One request, one answer, in order. A lost connection changes nothing for running pods; the next one's snapshot says
//! which of them are still wanted. What both sides may do beyond version 1 is in [`Extensions`].

pub mod agent;
mod explanation;
mod extensions;
mod message;
mod packet;
pub mod proxy;
mod session;

pub use explanation::{ExplanationError, MAX_EXPLANATION};
pub use extensions::Extensions;
pub use message::{Hello, MAX_MESSAGE, MessageError, Request, Response};
pub use packet::PacketError;
