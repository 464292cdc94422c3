//! Evidence: what a step has found to be so. A fact is only added after it was checked.

use std::fmt::{Debug, Display};

use anyhow::{Result, bail, ensure};

/// One line: what is so, and how that shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) claim: String,
    pub(crate) proof: String,
}

/// The facts of one step, in order.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    facts: Vec<Fact>,
}

impl Evidence {
    pub(crate) fn add(&mut self, claim: impl Into<String>, proof: impl Display) {
        self.facts.push(Fact { claim: claim.into(), proof: proof.to_string() });
    }

    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }
}

/// Checks that two things are the same.
pub(crate) fn same<T: PartialEq + Debug + ?Sized>(what: &str, expected: &T, got: &T) -> Result<()> {
    ensure!(expected == got, "{what}: expected {expected:?}, got {got:?}");
    Ok(())
}

/// Checks that something is so; says what was expected and what there is when not.
pub(crate) fn holds(what: &str, is_so: bool, expected: impl Display, got: impl Display) -> Result<()> {
    if !is_so {
        bail!("{what}: expected {expected}, got {got}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_is_said() {
        assert!(same("ports", &[1], &[1]).is_ok());
        assert_eq!(same("ports", &[1], &[2]).unwrap_err().to_string(), "ports: expected [1], got [2]");
        let error = holds("the wire", false, "no canary", "a canary").unwrap_err();
        assert_eq!(error.to_string(), "the wire: expected no canary, got a canary");
    }
}
