//! Render: a plan as text, to show, to review, or to feed to the tool of the same name.

mod iptables;
mod nftables;
mod path;

pub use iptables::iptables;
pub use nftables::{nft, nft_with};
pub use path::path;
