//! What a plugin answers: a result, nothing, or an error.

use std::io;
use std::process::Output;

use netns::EnterError;
use serde_json::Value;

/// What a plugin wrote, if it succeeded.
pub(super) fn read_answer(plugin: &str, output: Output) -> Result<String, CniError> {
    let malformed = |source| {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        CniError::Malformed { plugin: plugin.to_owned(), stderr, source }
    };
    if output.status.success() {
        if !output.stdout.is_empty() {
            serde_json::from_slice::<Value>(&output.stdout).map_err(malformed)?;
        }
        // JSON is UTF-8: nothing is lost.
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = serde_json::from_slice(&output.stdout).map_err(malformed)?;
    Err(CniError::Failed { plugin: plugin.to_owned(), error })
}

/// Why a container was not attached or detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// The node's namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// There is no such plugin.
    #[error("there is no plugin {plugin}")]
    Missing {
        /// Its type.
        plugin: String,
    },
    /// A plugin could not be run.
    #[error("cannot run the plugin {plugin}")]
    Run {
        /// Its type.
        plugin: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A plugin failed.
    #[error("the plugin {plugin} failed: {error}")]
    Failed {
        /// Its type.
        plugin: String,
        /// What it said: section 5 of the specification.
        error: Value,
    },
    /// A plugin did not answer in the words of the specification.
    #[error("the plugin {plugin} answered with something else than JSON, and said: {stderr}")]
    Malformed {
        /// Its type.
        plugin: String,
        /// What it wrote for people.
        stderr: String,
        /// How the answer is wrong.
        #[source]
        source: serde_json::Error,
    },
}
