//! Pods in namespaces, a wire canary and a leak counter, for inpod's own tests.
#![forbid(unsafe_code)]

pub mod kernel;
pub mod lab;
mod rtnetlink;
