#![doc = include_str!("../../../docs/src/embedding.md")]
#![forbid(unsafe_code)]

mod identity;

pub use identity::Identity;
