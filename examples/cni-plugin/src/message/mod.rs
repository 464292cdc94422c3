//! What the plugin and the agent say to each other: one request and one answer, each a JSON text that ends with its side of
//! the connection. An ADD and a CHECK come with the pod's network namespace, as a descriptor beside the first byte.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, NamespacePath, Pod};

/// The version of what is said. Whoever hears another one refuses: both are installed by one agent, so they differ only while
/// it is replaced.
pub const PROTOCOL: u32 = 1;

/// The longest request, in bytes: a GC lists each container of the node, in about 130 bytes, and a thousand of them are to fit.
pub const MAX_REQUEST: usize = 256 << 10;

/// The longest answer, in bytes: its reason, of which each character may need a backslash, and some words.
pub const MAX_ANSWER: usize = 4096;

/// What the plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Enrol a pod: [`Answer::Done`] once its traffic is captured.
    Add(Placed),
    /// Is it still enrolled?
    Check(Placed),
    /// It goes.
    Del(Leaving),
    /// All but these are gone.
    Gc(Valid),
    /// Could a pod be enrolled now?
    Status,
}

/// A container that is there, on its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// Its interface.
    pub attachment: Attachment,
    /// Its pod, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Where the runtime keeps its namespace, for logs: the namespace itself comes beside.
    pub path: NamespacePath,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A container that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaving {
    /// Its interface.
    pub attachment: Attachment,
    /// Its pod, if it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
}

/// The containers that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Valid {
    /// Their interfaces.
    pub attachments: Vec<Attachment>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is so.
    Done,
    /// The pod is certainly not in the mesh: let it start as it is.
    NotOurs,
    /// It will not be done, now or later.
    Refused(Reason),
    /// It cannot be done now, or nobody knows.
    TryAgain(Reason),
}

impl Answer {
    /// It will not be done, now or later.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::Refused(Reason::new(why))
    }

    /// It cannot be done now, or nobody knows.
    pub fn try_again(why: impl fmt::Display) -> Self {
        Self::TryAgain(Reason::new(why))
    }
}

/// A reason for people: bounded, one line, nothing in it that would move a terminal's cursor.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Reason(String);

impl Reason {
    /// The longest, in bytes.
    pub const MAX: usize = 1024;

    /// A reason in these words. What does not fit is cut off.
    pub fn new(words: impl fmt::Display) -> Self {
        let mut reason = Self(String::new());
        // The only error is that it is full.
        let _ = write!(reason, "{words}");
        reason
    }
}

/// Takes as much as fits, each control character as its escape.
impl fmt::Write for Reason {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        for character in words.chars() {
            let before = self.0.len();
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
            if self.0.len() > Self::MAX {
                self.0.truncate(before);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

impl From<String> for Reason {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// They are no message of this version.
    #[error("a message that is none")]
    Malformed(#[source] serde_json::Error),
    /// They are of another version.
    #[error("a message of version {found}; only {PROTOCOL} is spoken here")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It is longer than such a message may be.
    #[error("a message of {actual} bytes; at most {limit} are allowed")]
    TooLong {
        /// How long it may be.
        limit: usize,
        /// How long it is.
        actual: usize,
    },
}

/// The version is read by itself first, so that a message of another one is known as such whatever else is in it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<T> {
    version: u32,
    message: T,
}

impl Request {
    /// The request as bytes, to be sent.
    ///
    /// # Errors
    /// [`MessageError::TooLong`], and nothing else.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        encode(self, MAX_REQUEST)
    }

    /// The request that bytes are.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        decode(bytes, MAX_REQUEST)
    }
}

impl Answer {
    /// The answer as bytes, to be sent.
    ///
    /// # Errors
    /// [`MessageError::TooLong`], and nothing else.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        encode(self, MAX_ANSWER)
    }

    /// The answer that bytes are.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        decode(bytes, MAX_ANSWER)
    }
}

fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, MessageError> {
    let bytes = serde_json::to_vec(&Said { version: PROTOCOL, message }).map_err(MessageError::Malformed)?;
    if bytes.len() > limit {
        return Err(MessageError::TooLong { limit, actual: bytes.len() });
    }
    Ok(bytes)
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8], limit: usize) -> Result<T, MessageError> {
    if bytes.len() > limit {
        return Err(MessageError::TooLong { limit, actual: bytes.len() });
    }
    let Versioned { version } = serde_json::from_slice(bytes).map_err(MessageError::Malformed)?;
    if version != PROTOCOL {
        return Err(MessageError::Version { found: version });
    }
    let said: Said<T> = serde_json::from_slice(bytes).map_err(MessageError::Malformed)?;
    Ok(said.message)
}

#[cfg(test)]
mod tests;
