//! Counters: how many packets have met each rule of a plan.

use crate::apply::Kernel;
use crate::error::VerifyError;
use crate::explain::Met;

/// How many packets have met a rule, since it was put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// So many packets. In chains that translate addresses these are the first of their connections only.
    pub packets: u64,
    /// So many bytes, headers of IP and up.
    pub bytes: u64,
}

/// The counters of our table, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The name of each chain, and the counters of its rules in order.
    chains: Vec<(String, Vec<Option<Counter>>)>,
}

/// Reads the counters in the network namespace that the calling thread is in. They are a plan's if
/// [`verify`](crate::verify) says so.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn counters() -> Result<Counters, VerifyError> {
    let found = Kernel::open().and_then(|mut kernel| kernel.counters()).map_err(VerifyError::Look)?;
    let mut chains: Vec<(String, Vec<Option<Counter>>)> = Vec::new();
    for (name, counter) in found {
        match chains.iter_mut().find(|(chain, _)| *chain == name) {
            Some((_, counters)) => counters.push(counter),
            None => chains.push((name, vec![counter])),
        }
    }
    Ok(Counters { chains })
}

impl Counters {
    /// Of the rule that a packet has met; none when there is no such rule, or it does not count.
    pub fn of(&self, met: &Met<'_>) -> Option<Counter> {
        let (_, counters) = self.chains.iter().find(|(chain, _)| *chain == met.chain.name)?;
        counters.get(met.number).copied().flatten()
    }
}
