//! Conversations between both ends, in memory; a file for each subject. Time stands still except where nothing else
//! can happen, so a wait that should not end is seen at once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on should stop; clippy.toml exempts only the test functions themselves"
)]

mod answer;
mod close;
mod codes;
mod connect;
mod crumbs;
mod drain;
mod early;
mod flow_control;
mod header;
mod idle;
mod keepalive;
mod nesting;
mod pair;
mod pool;
mod pool_bounds;
mod profile;
mod proxy_protocol;
mod raw;
mod refusal;
mod request;
