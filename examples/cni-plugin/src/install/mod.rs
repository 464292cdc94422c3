//! Puts the plugin where runtimes find it, keeps it there, and takes it out again.
//!
//! ```text
//!   install_program ──> /opt/cni/bin/inpod-cni                 first the program, then its name in the list;
//!   install, keep   ──> /etc/cni/net.d/10-x.conflist           out again the other way round
//! ```

mod configurations;
mod folder;
mod keep;
pub mod list;
mod program;

pub use self::configurations::{InstallError, Installed, install, uninstall};
pub use self::folder::FileError;
pub use self::keep::{Pace, keep};
pub use self::list::Entry;
pub use self::program::{ProgramError, install_program, uninstall_program};

#[cfg(test)]
mod tests;
