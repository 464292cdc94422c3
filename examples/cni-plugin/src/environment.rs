//! The environment of a command: what a runtime says besides the configuration (section 2 of the specification).

use std::ffi::OsString;
use std::path::PathBuf;

use crate::arguments::{self, ArgumentsError};
use crate::attachment::{Attachment, NamespacePath, NamespacePathError, Pod};
use crate::command::{Command, UnknownCommand};
use crate::name::NameError;

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Attach it.
    Add(Place),
    /// Is it attached?
    Check(Place),
    /// Detach it.
    Del(Leftover),
    /// Detach what the configuration does not list.
    Gc,
    /// Could something be attached?
    Status,
    /// Which versions are spoken?
    Version,
}

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its interface.
    pub attachment: Attachment,
    /// Its pod, if it is in one.
    pub pod: Option<Pod>,
    /// Its network namespace.
    pub path: NamespacePath,
}

/// A container that goes, of which the namespace may be gone already. What is wrong with its pod or path is as good as not
/// said: nobody could repair it, and a runtime repeats a DEL that fails until it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its interface.
    pub attachment: Attachment,
    /// Its pod, if it was in one.
    pub pod: Option<Pod>,
    /// Its network namespace, if it is still said.
    pub path: Option<NamespacePath>,
}

/// Why an environment asks for nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable that the command needs is not there, or empty.
    #[error("{variable} is not set")]
    Missing {
        /// Its name.
        variable: &'static str,
    },
    /// A variable is not UTF-8.
    #[error("{variable} is not UTF-8")]
    NotText {
        /// Its name.
        variable: &'static str,
    },
    /// The command is none.
    #[error("{COMMAND}")]
    Command(#[source] UnknownCommand),
    /// A variable is no such name.
    #[error("{variable}")]
    Name {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The namespace is no such path.
    #[error("{NETNS}")]
    Path(#[source] NamespacePathError),
    /// The extra arguments are wrong.
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
}

const COMMAND: &str = "CNI_COMMAND";
const CONTAINER: &str = "CNI_CONTAINERID";
const INTERFACE: &str = "CNI_IFNAME";
const NETNS: &str = "CNI_NETNS";
const ARGUMENTS: &str = "CNI_ARGS";

/// What the environment asks for. `variable` looks one up, as [`std::env::var_os`] does.
///
/// # Errors
/// [`EnvironmentError`].
pub fn parse(variable: impl Fn(&str) -> Option<OsString>) -> Result<Task, EnvironmentError> {
    let environment = Environment { variable };
    match environment.need(COMMAND)?.parse().map_err(EnvironmentError::Command)? {
        Command::Add => environment.place().map(Task::Add),
        Command::Check => environment.place().map(Task::Check),
        Command::Del => environment.leftover().map(Task::Del),
        Command::Gc => Ok(Task::Gc),
        Command::Status => Ok(Task::Status),
        Command::Version => Ok(Task::Version),
    }
}

impl Task {
    /// Its command.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Add(_) => Command::Add,
            Self::Check(_) => Command::Check,
            Self::Del(_) => Command::Del,
            Self::Gc => Command::Gc,
            Self::Status => Command::Status,
            Self::Version => Command::Version,
        }
    }
}

struct Environment<F> {
    variable: F,
}

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    fn place(&self) -> Result<Place, EnvironmentError> {
        let path = self.raw(NETNS).ok_or(EnvironmentError::Missing { variable: NETNS })?;
        Ok(Place {
            attachment: self.attachment()?,
            pod: arguments::pod(&self.text(ARGUMENTS)?.unwrap_or_default())?,
            path: PathBuf::from(path).try_into().map_err(EnvironmentError::Path)?,
        })
    }

    fn leftover(&self) -> Result<Leftover, EnvironmentError> {
        let arguments = self.text(ARGUMENTS).ok().flatten().unwrap_or_default();
        Ok(Leftover {
            attachment: self.attachment()?,
            pod: arguments::pod(&arguments).ok().flatten(),
            path: self.raw(NETNS).and_then(|path| PathBuf::from(path).try_into().ok()),
        })
    }

    fn attachment(&self) -> Result<Attachment, EnvironmentError> {
        let name = |variable| move |source| EnvironmentError::Name { variable, source };
        Ok(Attachment {
            container: self.need(CONTAINER)?.parse().map_err(name(CONTAINER))?,
            interface: self.need(INTERFACE)?.parse().map_err(name(INTERFACE))?,
        })
    }

    fn need(&self, variable: &'static str) -> Result<String, EnvironmentError> {
        self.text(variable)?.ok_or(EnvironmentError::Missing { variable })
    }

    fn text(&self, variable: &'static str) -> Result<Option<String>, EnvironmentError> {
        let text = self.raw(variable).map(OsString::into_string).transpose();
        text.map_err(|_raw| EnvironmentError::NotText { variable })
    }

    /// A variable that is empty is as if it were not there.
    fn raw(&self, variable: &str) -> Option<OsString> {
        (self.variable)(variable).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(variables: &[(&str, &str)]) -> Result<Task, EnvironmentError> {
        parse(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(*value))
        })
    }

    const BASE: [(&str, &str); 3] =
        [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/run/netns/a")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        more.iter().chain(&BASE).copied().collect()
    }

    #[test]
    fn an_add_names_its_pod() {
        let arguments = ("CNI_ARGS", "K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop");
        let Ok(Task::Add(place)) = task(&with(&[("CNI_COMMAND", "ADD"), arguments])) else {
            panic!("no ADD")
        };
        assert_eq!(place.attachment.to_string(), "eth0 of c1");
        assert_eq!(place.pod.unwrap().to_string(), "shop/web");
    }

    #[test]
    fn an_add_needs_all_of_it() {
        for missing in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
            let without: Vec<_> =
                with(&[("CNI_COMMAND", "ADD")]).into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(task(&without), Err(EnvironmentError::Missing { variable: missing }));
        }
        assert_eq!(task(&BASE), Err(EnvironmentError::Missing { variable: "CNI_COMMAND" }));
        let wrong = task(&with(&[("CNI_COMMAND", "ADD"), ("CNI_ARGS", "x")]));
        assert!(matches!(wrong, Err(EnvironmentError::Arguments(_))), "{wrong:?}");
    }

    #[test]
    fn a_del_makes_do_with_less() {
        let Ok(Task::Del(leftover)) = task(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "not absolute"),
            ("CNI_ARGS", "nonsense"),
        ]) else {
            panic!("no DEL")
        };
        assert_eq!((leftover.pod, leftover.path), (None, None));
        let error = task(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "eth0")]);
        assert!(matches!(error, Err(EnvironmentError::Name { variable: "CNI_CONTAINERID", .. })));
    }

    #[test]
    fn commands_without_a_container_need_none() {
        for (command, expected) in [("GC", Task::Gc), ("STATUS", Task::Status), ("VERSION", Task::Version)] {
            assert_eq!(task(&[("CNI_COMMAND", command)]), Ok(expected));
        }
    }
}
