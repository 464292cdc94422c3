//! What a pool of connections looks up for each tunnel.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gungraun::{library_benchmark, library_benchmark_group};

use crate::kept;

/// Part of a crate that keeps it to itself.
#[path = "../../../hbone/src/ledger/mod.rs"]
#[expect(dead_code, reason = "not all of it is counted")]
mod pool;

use pool::{Bounds, Ledger, Room};

/// Keys as long as a proxy's: who asks, whom for, where. The carrier of a line is its number of tunnels.
type Lines = Ledger<[u64; 8], usize>;

// A tunnel on a line that is there, and its end.
#[library_benchmark]
#[bench::of_1_key(kept_lines(1, 1))]
#[bench::of_1000_keys(kept_lines(1000, 1))]
#[bench::behind_7_full_lines(kept_lines(1, 8))]
fn take_and_give_back((ledger, now): (&mut Lines, Instant)) -> Option<usize> {
    let key = black_box([0; 8]);
    let (id, _) = ledger.take(&key, now, |room| Room::Permits(*room))?;
    ledger.give_back(&key, id, now, |_| true)
}

// A line from its dial to its end.
#[library_benchmark]
#[bench::beside_1000_keys(kept_lines(1000, 1))]
fn dial_and_remove((ledger, now): (&mut Lines, Instant)) -> Option<usize> {
    let key = black_box([7_777; 8]);
    ledger.admits(&key).ok()?;
    let (id, _) = ledger.add(&key, now, |_| 0);
    ledger.settle(&key, id, ROOM)?;
    ledger.remove(&key, id)
}

// A look for what is idle too long, and nothing is.
#[library_benchmark]
#[bench::of_1000_keys(kept_lines(1000, 1))]
fn reap((ledger, now): (&mut Lines, Instant)) -> usize {
    ledger.reap(now, Duration::from_secs(300), |_| false)
}

/// Tunnels that a line takes.
const ROOM: usize = 100;

/// Open and idle lines of `keys`; those of a key are full but for the last.
fn kept_lines(keys: u64, lines: usize) -> (&'static mut Lines, Instant) {
    let bounds = Bounds {
        permits_per_line: ROOM,
        lines_per_key: 256,
        lines: 16_384,
        waiting: 16_384,
        age: Some(Duration::from_secs(3600)),
        spread: 1,
    };
    let (mut ledger, now) = (Lines::new(bounds), Instant::now());
    for key in 0..keys {
        for line in 1..=lines {
            let (id, _) = ledger.add(&[key; 8], now, |_| 0);
            ledger.settle(&[key; 8], id, if line < lines { 0 } else { ROOM });
            ledger.give_back(&[key; 8], id, now, |_| true);
        }
    }
    (kept(ledger), now)
}

library_benchmark_group!(name = ledger, benchmarks = [take_and_give_back, dial_and_remove, reap]);
