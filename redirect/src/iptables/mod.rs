//! The other backend: a plan by `iptables-restore`, for kernels and tools that know nothing else.
//!
//! ```text
//!   Plan --of one family--> encode --> restore: a script --> program: iptables-restore --> kernel
//!   Difference <-- compare <-- decode <-- saved: our chains <-- program: iptables-save <--- kernel
//! ```
//!
//! It does the same as the nf_tables backend, with these differences:
//!
//! * Each table of each family is a transaction of its own: raw, mangle, nat and, last, filter, where
//!   the guard is.
//! * Sets, and so enrolment that keeps connections, are not to be had.
//! * Where nobody listens for what TPROXY brings, packets are dropped instead of reset.
//! * Users and groups have to be in the user namespace that owns the network namespace, or the kernel refuses them.
//! * The proxy's listeners have to carry its mark where inbound TPROXY is used with the guard.

mod decode;
mod encode;
mod error;
mod place;
mod program;
pub(crate) mod restore;
pub(crate) mod saved;
mod shell;
mod timeouts;
mod word;

pub use error::{IptablesError, NoProgram, Obstacle, ProgramError, Unsayable};
pub(crate) use place::Table;
pub use program::{Programs, Variant};
pub(crate) use saved::{Saved, Whose};
pub use shell::{apply, remove, remove_rules, verify};
pub(crate) use shell::{remove_chains, saved};

#[cfg(test)]
mod tests;
