//! An API server of Kubernetes', as much of it as a node's agent asks: pods and namespaces, listed, watched, got and patched; over plain
//! HTTP, to whoever asks. It fails when it is told to.

mod answer;
mod server;
mod store;

pub use self::server::{Api, Fault};
