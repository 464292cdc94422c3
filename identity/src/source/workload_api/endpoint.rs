//! [`Endpoint`]: where the Workload API is.

use std::env;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::EndpointError;

/// The environment variable (SPIFFE Workload Endpoint §4).
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The Unix socket of a Workload API (SPIFFE Workload Endpoint §4).
///
/// ```
/// use inpod_identity::source::Endpoint;
///
/// let endpoint: Endpoint = "unix:///run/spire/agent.sock".parse()?;
/// assert_eq!(endpoint.path().to_str(), Some("/run/spire/agent.sock"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(PathBuf);

impl Endpoint {
    /// The socket at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The socket that `SPIFFE_ENDPOINT_SOCKET` names.
    pub fn from_env() -> Result<Self, EndpointError> {
        env::var(VARIABLE).map_err(|_| EndpointError::Unset)?.parse()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `unix:/PATH` or `unix:///PATH`: no authority, query or fragment, and nothing is percent-decoded.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse = || EndpointError::NotUnix { text: text.to_owned() };
        let rest = text.strip_prefix("unix:").ok_or_else(refuse)?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        match path.starts_with('/') && !path.contains(['?', '#', '%', '\0']) {
            true => Ok(Self(path.into())),
            false => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_as_the_standard_has_it() {
        for text in ["unix:///a/b.sock", "unix:/a/b.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().path(), Path::new("/a/b.sock"));
        }
        for text in [
            "",
            "/a",
            "unix:",
            "unix:a",
            "unix://a",
            "unix://a/b",
            "unix:////",
            "tcp://127.0.0.1:1",
            "unix:///a?b",
            "unix:///a#b",
            "unix:///a%20b",
            "UNIX:///a",
            "unix:///a\0",
        ] {
            let refused = text.parse::<Endpoint>();
            if text == "unix:////" {
                // Two slashes are one to the system.
                assert!(refused.is_ok());
            } else {
                assert_eq!(refused, Err(EndpointError::NotUnix { text: text.into() }));
            }
        }
    }
}
