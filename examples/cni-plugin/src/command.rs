//! The commands of the specification (section 2).

use std::fmt;
use std::str::FromStr;

use crate::version::Version;

/// What a runtime asks for (`CNI_COMMAND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Is a container still attached?
    Check,
    /// Detach all but some containers.
    Gc,
    /// Could a container be attached now?
    Status,
    /// Which versions of the specification are spoken?
    Version,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As the environment has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version of the specification that has it, of those that we speak.
    #[must_use]
    pub fn since(self) -> Version {
        match self {
            Self::Add | Self::Del | Self::Version => Version::V0_3_1,
            Self::Check => Version::V0_4_0,
            Self::Gc | Self::Status => Version::V1_1_0,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command that we do not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of ADD, DEL, CHECK, GC, STATUS, VERSION")]
pub struct UnknownCommand {
    /// As it was written.
    pub found: String,
}

impl FromStr for Command {
    type Err = UnknownCommand;

    fn from_str(text: &str) -> Result<Self, UnknownCommand> {
        let known = Self::ALL.into_iter().find(|command| command.as_str() == text);
        known.ok_or_else(|| UnknownCommand { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_all_commands() {
        let said = "add".parse::<Command>().unwrap_err().to_string();
        for command in Command::ALL {
            assert!(said.contains(command.as_str()), "{said}");
            assert_eq!(command.to_string().parse(), Ok(command));
        }
    }
}
