//! Peers that mean harm, one frame at a time: what they can make us hold is measured, their connections end within a bounded
//! number of frames or by their time, and a neighbour on the same runtime goes on. Time stands still except where nothing else can
//! happen.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on should stop; clippy.toml exempts only the test functions themselves"
)]

mod bombs;
mod crowd;
mod floods;
mod frames;
mod innocents;
mod limits;
mod neighbour;
mod resets;
mod rules;
mod slow;
mod unread;
mod victim;

use std::alloc::System;

use cap::Cap;

/// Counts what the process holds, so that these tests run one at a time: see `victim::alone`.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);
