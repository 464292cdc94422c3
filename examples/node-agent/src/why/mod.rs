//! `node-agent why`: which rule, socket, route, tunnel, identity and policy decide a connection, and what is not as intended.
//!
//! ```text
//!   question --resolve--> connection --gather--> Why: what the kernel and the proxy say --differs, verdict--> answer
//!   (asker)               (agent, pure)          (agent, the only part that acts)         (agent, pure)       render (asker)
//! ```

mod differs;
mod gather;
mod question;
mod render;
#[cfg(test)]
mod tests;
mod translate;
mod verdict;
mod view;

use std::io::Write as _;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::args;
use crate::control;

pub(crate) use self::gather::{answer, no_question};
pub(crate) use self::question::{Destination, Question, Source};
use self::view::Answer;

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All is as intended.
    AsIntended,
    /// Something is not.
    Differs,
}

/// Asks the agent, and shows what it says.
pub(crate) fn show(why: &args::Why) -> Result<Shown> {
    let question = Question { pod: why.pod.clone(), source: why.source, destination: why.destination };
    let answer = control::ask(&why.control, &control::Question::Why(question));
    let answer = answer.with_context(|| format!("asking the agent at {}", why.control.display()))?;
    let told = match serde_json::from_str(&answer).context("what the agent says")? {
        Answer::Why(told) => told,
        Answer::Refused(refusal) => bail!(refusal),
    };
    let text = if why.json {
        serde_json::to_string_pretty(&told)? + "\n"
    } else {
        render::text(&told, SystemTime::now())
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if told.differs.is_empty() { Shown::AsIntended } else { Shown::Differs })
}
