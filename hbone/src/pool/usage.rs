//! Usage: what a pool has for one key.

/// The connections for one key, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections that are open.
    pub open: usize,
    /// Connections that are being dialled.
    pub dialling: usize,
    /// Tunnels on them, those that wait for a dial or for the peer's word included.
    pub streams: usize,
}
