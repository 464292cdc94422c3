//! What a runtime is told when a command fails: an error object (section 5 of the specification).

use std::error::Error;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::version::Version;

/// Why a command failed, by its number. Below 100 are the specification's, from 100 on ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1: the configuration's version is none of ours, or has no such command.
    IncompatibleVersion,
    /// 4: a variable of the environment is missing or wrong.
    InvalidEnvironment,
    /// 5: the configuration could not be read.
    Io,
    /// 6: the configuration is no JSON.
    Decode,
    /// 7: the configuration is JSON, but not one of ours.
    InvalidConfiguration,
    /// 11: not now; the same again later may succeed.
    TryAgainLater,
    /// 50: no container can be attached now.
    NotAvailable,
    /// 100: the agent cannot be reached.
    AgentUnreachable,
    /// 101: the agent has not answered in time, so that nobody knows what it did.
    AgentSilent,
    /// 102: the agent's answer is no answer.
    AgentGarbled,
    /// 103: the agent refuses, for good.
    AgentRefused,
}

impl Code {
    /// As it goes into the error object.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfiguration => 7,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::AgentUnreachable => 100,
            Self::AgentSilent => 101,
            Self::AgentGarbled => 102,
            Self::AgentRefused => 103,
        }
    }
}

/// A failed command, as a runtime is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    version: Version,
    code: Code,
    message: String,
    details: String,
}

impl Failure {
    /// A failure of a command whose configuration is of `version`: its message is the error's, its details are the causes.
    pub(crate) fn new(version: Version, code: Code, error: &(impl Error + ?Sized)) -> Self {
        let mut details = String::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let comma = if details.is_empty() { "" } else { ": " };
            // Writing to a string does not fail.
            let _ = write!(details, "{comma}{error}");
            cause = error.source();
        }
        Self { version, code, message: error.to_string(), details }
    }

    /// The same failure under another number.
    pub(crate) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Its number.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it says, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error object, as it goes to the standard output.
    #[must_use]
    pub fn to_json(&self) -> String {
        let object = ErrorObject {
            cni_version: self.version.as_str(),
            code: self.code.number(),
            msg: &self.message,
            details: &self.details,
        };
        // Text and a number: there is nothing in it that could not be written as JSON.
        serde_json::to_string(&object).unwrap_or_default()
    }
}

/// For people: the message and its causes on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.details.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.message, self.details)
    }
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the \"agent\"")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_object_is_as_the_specification_has_it() {
        let error = Outer(std::io::Error::other("line\nbreak"));
        let failure = Failure::new(Version::V0_4_0, Code::AgentUnreachable, &error);
        let expected = r#"{"cniVersion":"0.4.0","code":100,"msg":"the \"agent\"","details":"line\nbreak"}"#;
        assert_eq!(failure.to_json(), expected);
    }
}
