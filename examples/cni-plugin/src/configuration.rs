//! The configuration of a command: what a runtime writes to the plugin's standard input (section 4 of the specification).

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::attachment::Attachment;
use crate::name::{ContainerId, InterfaceName, NameError, NetworkName};
use crate::previous::{PreviousError, PreviousResult};
use crate::version::{UnknownVersion, Version};

/// A configuration of this plugin.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The version of the specification in whose words it is.
    pub version: Version,
    /// Where the agent listens, and how long it may take.
    pub agent: Agent,
    previous: Option<Box<RawValue>>,
    valid: Option<Vec<Attachment>>,
}

/// How the agent is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its socket (`agentSocket`), an absolute path.
    pub socket: PathBuf,
    /// The longest wait for its answer, connecting included (`answerLimitSeconds`).
    pub limit: Duration,
}

impl Default for Agent {
    fn default() -> Self {
        Self { socket: PathBuf::from(SOCKET), limit: LIMIT }
    }
}

/// Where the agent listens when the configuration does not say.
pub const SOCKET: &str = "/run/inpod/cni/agent.sock";

/// The wait when the configuration does not say: well within the two minutes that the kubelet gives a runtime
/// (`--runtime-request-timeout`), so that the runtime still has time to undo the chain.
const LIMIT: Duration = Duration::from_secs(30);

/// The longest wait that can be configured, in seconds: within the kubelet's two minutes.
const LONGEST: u64 = 110;

/// The longest configuration, in bytes: a GC lists every container of the node, some hundred bytes each.
pub const MAX_CONFIGURATION: usize = 1 << 20;

/// Why a configuration is none of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It is longer than [`MAX_CONFIGURATION`].
    #[error("the configuration has more than {MAX_CONFIGURATION} bytes")]
    TooLong,
    /// It is no JSON.
    #[error("the configuration is no JSON")]
    Json(#[source] serde_json::Error),
    /// A field has another type than the specification says.
    #[error("the configuration has the wrong shape")]
    Shape(#[source] serde_json::Error),
    /// The version is none of ours.
    #[error("cniVersion")]
    Version(#[source] UnknownVersion),
    /// The network has no name, or a wrong one.
    #[error("name")]
    Name(#[source] NameError),
    /// The agent's socket depends on where the reader is.
    #[error("agentSocket {0:?} is not an absolute path")]
    Socket(PathBuf),
    /// The wait is none, or longer than a runtime waits.
    #[error("answerLimitSeconds is {0}, not one of 1 to {LONGEST}")]
    Limit(u64),
    /// There is nothing that we could be chained to.
    #[error("prevResult is missing: this plugin comes after another one")]
    NoPrevious,
    /// The result before us cannot be passed on.
    #[error(transparent)]
    Previous(#[from] PreviousError),
    /// A GC that does not list what is to stay would take away everything.
    #[error("cni.dev/valid-attachments is missing")]
    NoValid,
}

/// What we read; other fields are other programs'.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    name: Option<String>,
    #[serde(borrow, rename = "prevResult")]
    previous: Option<&'a RawValue>,
    #[serde(rename = "agentSocket")]
    socket: Option<PathBuf>,
    #[serde(rename = "answerLimitSeconds")]
    limit: Option<u64>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Valid>>,
}

/// An attachment as the specification writes it.
#[derive(Deserialize)]
struct Valid {
    #[serde(rename = "containerID")]
    container: ContainerId,
    #[serde(rename = "ifname")]
    interface: InterfaceName,
}

impl Configuration {
    /// Reads a configuration. Whether what a command needs is there is asked for later, by that command.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let shape = read(bytes)?;
        let version = declared(shape.version)?;
        shape.name.unwrap_or_default().parse::<NetworkName>().map_err(ConfigurationError::Name)?;
        Ok(Self {
            version,
            agent: agent(shape.socket, shape.limit)?,
            previous: shape.previous.map(ToOwned::to_owned),
            valid: shape.valid.map(|valid| valid.into_iter().map(Attachment::from).collect()),
        })
    }

    /// The result of the plugin before us.
    ///
    /// # Errors
    /// [`ConfigurationError::NoPrevious`] and [`ConfigurationError::Previous`].
    pub fn previous(&self) -> Result<PreviousResult, ConfigurationError> {
        let raw = self.previous.as_ref().ok_or(ConfigurationError::NoPrevious)?;
        Ok(PreviousResult::parse(raw, self.version)?)
    }

    /// What a GC is to leave.
    ///
    /// # Errors
    /// [`ConfigurationError::NoValid`].
    pub fn valid(&self) -> Result<&[Attachment], ConfigurationError> {
        self.valid.as_deref().ok_or(ConfigurationError::NoValid)
    }
}

/// The version that a configuration declares, all else aside: VERSION is asked with nothing else, and errors are told in it.
///
/// # Errors
/// [`ConfigurationError`] of the JSON and the version.
pub fn version(bytes: &[u8]) -> Result<Version, ConfigurationError> {
    #[derive(Deserialize)]
    struct Declared {
        #[serde(rename = "cniVersion")]
        version: Option<String>,
    }
    let declaration: Declared = serde_json::from_slice(bounded(bytes)?).map_err(wrong)?;
    declared(declaration.version)
}

fn read(bytes: &[u8]) -> Result<Shape<'_>, ConfigurationError> {
    serde_json::from_slice(bounded(bytes)?).map_err(wrong)
}

fn bounded(bytes: &[u8]) -> Result<&[u8], ConfigurationError> {
    if bytes.len() > MAX_CONFIGURATION { Err(ConfigurationError::TooLong) } else { Ok(bytes) }
}

fn wrong(error: serde_json::Error) -> ConfigurationError {
    if error.is_data() { ConfigurationError::Shape(error) } else { ConfigurationError::Json(error) }
}

/// A configuration without a version is of 0.1.0 (section 1 of the specification), which is none of ours.
fn declared(version: Option<String>) -> Result<Version, ConfigurationError> {
    version.as_deref().unwrap_or("0.1.0").parse().map_err(ConfigurationError::Version)
}

fn agent(socket: Option<PathBuf>, limit: Option<u64>) -> Result<Agent, ConfigurationError> {
    let default = Agent::default();
    let socket = socket.unwrap_or(default.socket);
    if !socket.is_absolute() {
        return Err(ConfigurationError::Socket(socket));
    }
    let limit = match limit {
        None => default.limit,
        Some(seconds @ 1..=LONGEST) => Duration::from_secs(seconds),
        Some(seconds) => return Err(ConfigurationError::Limit(seconds)),
    };
    Ok(Agent { socket, limit })
}

impl From<Valid> for Attachment {
    fn from(valid: Valid) -> Self {
        Self { container: valid.container, interface: valid.interface }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Configuration, ConfigurationError> {
        Configuration::parse(text.as_bytes())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let configuration =
            parse(r#"{"cniVersion":"1.1.0","name":"pods","type":"inpod-cni","x":[]}"#).unwrap();
        assert_eq!(configuration.version, Version::V1_1_0);
        assert_eq!(configuration.agent, Agent::default());
        assert!(matches!(configuration.previous(), Err(ConfigurationError::NoPrevious)));
        assert!(matches!(configuration.valid(), Err(ConfigurationError::NoValid)));
    }

    #[test]
    fn the_agent_is_named() {
        let text = r#"{"cniVersion":"1.0.0","name":"n","agentSocket":"/a","answerLimitSeconds":110}"#;
        let expected = Agent { socket: "/a".into(), limit: Duration::from_secs(110) };
        assert_eq!(parse(text).unwrap().agent, expected);
    }

    #[test]
    fn a_gc_lists_what_stays() {
        let text = r#"{"cniVersion":"1.1.0","name":"n",
            "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}"#;
        assert_eq!(parse(text).unwrap().valid().unwrap()[0].to_string(), "eth0 of c1");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (rest, expected) in [
            (r#""name":"a/b""#, "name"),
            (r#""nam":"a""#, "name"),
            (r#""name":"a","agentSocket":"a.sock""#, "agentSocket \"a.sock\" is not an absolute path"),
            (r#""name":"a","answerLimitSeconds":0"#, "answerLimitSeconds is 0, not one of 1 to 110"),
            (r#""name":"a","answerLimitSeconds":"9""#, "the configuration has the wrong shape"),
            (r#""name":"a","prevResult":{},"prevResult":{}"#, "the configuration has the wrong shape"),
            (r#""name":"a""name""#, "the configuration is no JSON"),
        ] {
            let error = parse(&format!(r#"{{"cniVersion":"1.0.0",{rest}}}"#)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{rest}");
        }
        assert!(matches!(parse("{}"), Err(ConfigurationError::Version(_))));
        assert!(matches!(parse(""), Err(ConfigurationError::Json(_))));
        let long = vec![b' '; MAX_CONFIGURATION + 1];
        assert!(matches!(Configuration::parse(&long), Err(ConfigurationError::TooLong)));
        let deep = "[".repeat(100_000);
        assert!(parse(&format!(r#"{{"cniVersion":"1.0.0","name":"a","x":{deep}"#)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_configuration_or_an_error(
            cut in 0_usize..200,
            flip in 0_usize..200,
            by: u8,
        ) {
            let text = r#"{"cniVersion":"1.0.0","name":"n","prevResult":{"ips":[{"address":"10.0.0.1/8"}]},"a":[1,2]}"#;
            let mut bytes = text.as_bytes().to_vec();
            if let Some(byte) = bytes.get_mut(flip) { *byte ^= by; }
            bytes.truncate(cut);
            let previous = Configuration::parse(&bytes).and_then(|configuration| configuration.previous());
            if let Ok(previous) = previous {
                let kept = previous.as_str().as_bytes();
                prop_assert!(bytes.windows(kept.len()).any(|part| part == kept));
            }
        }
    }
}
