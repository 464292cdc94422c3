//! Questions to a running agent, on a socket that only root and the agent's own user come near: a question is one JSON text, which
//! ends with the asker's side of the connection, and so is the answer.

mod client;
mod server;

use serde::{Deserialize, Serialize};

use crate::why;

pub(crate) use self::client::ask;
pub(crate) use self::server::Server;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Question {
    /// Where each pod is.
    Status,
    /// What decides a connection.
    Why(why::Question),
}

/// Longest question, in bytes: a few names.
const MAX_QUESTION: u64 = 16 << 10;
