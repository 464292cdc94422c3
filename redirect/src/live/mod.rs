//! Live: capture that begins and ends while connections are open.

mod drain;
mod end;
mod error;
mod list;
mod proxy;
mod tcp_socket;

pub use drain::{Drained, captured, drain};
pub use end::{Ending, end};
pub use error::{DrainError, EndError, ListError};
pub use list::tcp_sockets;
pub(crate) use tcp_socket::SocketName;
pub use tcp_socket::{TcpSocket, TcpState};
