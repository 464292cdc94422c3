//! Place: the network namespace that is meant.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use netns::Namespace;

#[derive(Debug, Clone, Default)]
pub(crate) enum Place {
    /// The one that this program is in.
    #[default]
    Here,
    /// The one of this process.
    Process(u32),
    /// The one at this path.
    Path(PathBuf),
}

impl Place {
    /// Acts inside it.
    pub(crate) fn run<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let namespace = match self {
            Self::Here => return act(),
            Self::Process(id) => {
                Namespace::of_process(*id).with_context(|| format!("the namespace of process {id}"))?
            }
            Self::Path(path) => {
                Namespace::open(path).with_context(|| format!("the namespace at {}", path.display()))?
            }
        };
        namespace.run(act).context("entering the namespace")?
    }
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            _ if text.is_empty() => Self::Here,
            Ok(id) => Self::Process(id),
            Err(_) => Self::Path(text.into()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => Ok(()),
            Self::Process(id) => id.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}
