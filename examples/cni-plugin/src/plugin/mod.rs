//! What the plugin does with a command: reads it, has the agent asked, and says what the runtime is told.
//!
//! ```text
//!            agent: done, or not ours     refused      try again     absent, slow, garbled
//!   ADD      previous result              103          11            100, 101, 102
//!   CHECK    nothing                      103          11            100, 101, 102
//!   GC       nothing                      103          11            100, 101, 102
//!   STATUS   nothing                      50           50            50
//!   DEL      nothing, whatever the agent says: a pod that goes is not held up
//! ```

use std::error::Error;
use std::ffi::OsString;

use serde::Serialize;

use crate::attachment::NamespacePath;
use crate::client::AskError;
use crate::command::Command;
use crate::configuration::{self, Agent, Configuration, ConfigurationError};
use crate::environment::{self, EnvironmentError, Place, Task};
use crate::failure::{Code, Failure};
use crate::message::{Answer, Leaving, Placed, Reason, Request, Valid};
use crate::previous::PreviousResult;
use crate::version::Version;

/// What a command that succeeds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// For the runtime: all of the standard output.
    pub output: String,
    /// For people: why a DEL left something to the agent.
    pub warning: Option<Failure>,
}

/// Why a command is not done, where nobody else's error says it.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("{command} came with version {since} of CNI; the configuration is of {version}")]
    NotYet { command: Command, since: Version, version: Version },
    #[error("the node agent refuses: {0}")]
    Refused(Reason),
    #[error("the node agent cannot now: {0}")]
    TryAgain(Reason),
}

/// Does a command: `variable` looks up the environment, `ask` asks the agent and takes the namespace along.
///
/// # Errors
/// [`Failure`], as the runtime is told.
pub fn run(
    variable: impl Fn(&str) -> Option<OsString>,
    configuration: &[u8],
    ask: impl FnOnce(&Agent, &Request, Option<&NamespacePath>) -> Result<Answer, AskError>,
) -> Result<Said, Failure> {
    let declared = configuration::version(configuration).unwrap_or(Version::NEWEST);
    let task = environment::parse(variable).map_err(|error| environment_failure(declared, &error))?;
    if task == Task::Version {
        return Ok(Said { output: versions(declared), warning: None });
    }
    let fails = |error| configuration_failure(declared, &error);
    let configuration = Configuration::parse(configuration).map_err(fails)?;
    let (command, version) = (task.command(), configuration.version);
    if version < command.since() {
        let error = Undone::NotYet { command, since: command.since(), version };
        return Err(Failure::new(version, Code::IncompatibleVersion, &error));
    }
    let errand = Errand::new(task, &configuration).map_err(fails)?;
    let answer = ask(&configuration.agent, &errand.request, errand.path.as_ref());
    errand.conclude(command, judge(version, answer))
}

/// What the agent is to be asked, and what there is to say afterwards.
struct Errand {
    request: Request,
    path: Option<NamespacePath>,
    previous: Option<PreviousResult>,
}

impl Errand {
    fn new(task: Task, configuration: &Configuration) -> Result<Self, ConfigurationError> {
        let errand = |request| Self { request, path: None, previous: None };
        match task {
            Task::Add(place) => Self::at(place, configuration.previous()?, Request::Add),
            Task::Check(place) => Self::at(place, configuration.previous()?, Request::Check),
            Task::Del(leftover) => {
                // The agent knows it by its name. The namespace may be gone, or by now be another one at the same path.
                let leaving = Leaving { attachment: leftover.attachment, pod: leftover.pod };
                Ok(errand(Request::Del(leaving)))
            }
            Task::Gc => Ok(errand(Request::Gc(Valid { attachments: configuration.valid()?.to_vec() }))),
            Task::Status | Task::Version => Ok(errand(Request::Status)),
        }
    }

    fn at(
        place: Place,
        previous: PreviousResult,
        request: fn(Placed) -> Request,
    ) -> Result<Self, ConfigurationError> {
        let path = place.path.clone();
        let addresses = previous.addresses().to_vec();
        let placed = Placed { attachment: place.attachment, pod: place.pod, path: place.path, addresses };
        Ok(Self { request: request(placed), path: Some(path), previous: Some(previous) })
    }

    /// The table above.
    fn conclude(self, command: Command, judged: Result<(), Failure>) -> Result<Said, Failure> {
        match (command, judged) {
            (Command::Add, Ok(())) => {
                let output =
                    self.previous.as_ref().map(PreviousResult::as_str).unwrap_or_default().to_owned();
                Ok(Said { output, warning: None })
            }
            (Command::Del, judged) => Ok(Said { output: String::new(), warning: judged.err() }),
            (Command::Status, Err(failure)) => Err(failure.with_code(Code::NotAvailable)),
            (Command::Check | Command::Gc | Command::Status | Command::Version, Ok(())) => {
                Ok(Said { output: String::new(), warning: None })
            }
            (Command::Add | Command::Check | Command::Gc | Command::Version, Err(failure)) => Err(failure),
        }
    }
}

/// What an answer comes to. Only two let a pod start: that it is enrolled, and that it certainly need not be.
fn judge(version: Version, answer: Result<Answer, AskError>) -> Result<(), Failure> {
    let fails = |code, error: &dyn Error| Err(Failure::new(version, code, error));
    match answer {
        Ok(Answer::Done | Answer::NotOurs) => Ok(()),
        Ok(Answer::Refused(reason)) => fails(Code::AgentRefused, &Undone::Refused(reason)),
        Ok(Answer::TryAgain(reason)) => fails(Code::TryAgainLater, &Undone::TryAgain(reason)),
        Err(error) => fails(ask_code(&error), &error),
    }
}

fn ask_code(error: &AskError) -> Code {
    match error {
        AskError::Namespace { .. } => Code::InvalidEnvironment,
        AskError::Request(_) => Code::InvalidConfiguration,
        AskError::Unreachable { .. } | AskError::Stranger { .. } => Code::AgentUnreachable,
        AskError::Broken(_) | AskError::TimedOut { .. } | AskError::Closed => Code::AgentSilent,
        AskError::Garbled(_) => Code::AgentGarbled,
    }
}

fn environment_failure(version: Version, error: &EnvironmentError) -> Failure {
    Failure::new(version, Code::InvalidEnvironment, error)
}

fn configuration_failure(version: Version, error: &ConfigurationError) -> Failure {
    let code = match error {
        ConfigurationError::TooLong => Code::Io,
        ConfigurationError::Json(_) => Code::Decode,
        ConfigurationError::Version(_) => Code::IncompatibleVersion,
        ConfigurationError::Shape(_)
        | ConfigurationError::Name(_)
        | ConfigurationError::Socket(_)
        | ConfigurationError::Limit(_)
        | ConfigurationError::NoPrevious
        | ConfigurationError::Previous(_)
        | ConfigurationError::NoValid => Code::InvalidConfiguration,
    };
    Failure::new(version, code, error)
}

/// The answer to VERSION, in the words of the version that was asked in.
fn versions(declared: Version) -> String {
    #[derive(Serialize)]
    struct Versions {
        #[serde(rename = "cniVersion")]
        version: &'static str,
        #[serde(rename = "supportedVersions")]
        supported: [&'static str; 4],
    }
    let supported = Version::ALL.map(Version::as_str);
    // Text alone: there is nothing in it that could not be written as JSON.
    serde_json::to_string(&Versions { version: declared.as_str(), supported }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
