//! Live: capture that begins and ends while connections are open.

mod drain;
mod end;
mod enrol;
mod error;
mod existing;
mod forget;
mod hold;
mod list;
mod listening;
mod look;
mod proxy;
mod tcp_socket;

pub use drain::{Drained, captured, drain};
pub use end::{Ending, end};
pub use enrol::{Enrolled, Existing, enrol};
pub use error::{DrainError, EndError, EnrolError, ForgetError, ListError};
pub use forget::{Forgotten, forget};
pub use list::{tcp_listeners, tcp_sockets};
pub use listening::Listening;
pub(crate) use tcp_socket::SocketName;
pub use tcp_socket::{TcpSocket, TcpState};
