//! The gate that the writers of a connection wait at, under every order of threads that loom can think of: a waker that gets lost
//! is a deadlock, which loom reports.

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};
}

#[path = "../src/gate.rs"]
mod gate;

use std::future::poll_fn;

use gate::Gate;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

/// Every order with up to three preemptions, in which nearly all faults show; all orders take half a minute.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

fn gate(limit: usize, count: usize) -> Arc<Gate> {
    let gate = Gate::new(limit);
    gate.add(count);
    Arc::new(gate)
}

fn give_back(gate: &Arc<Gate>, count: usize) -> thread::JoinHandle<()> {
    let gate = Arc::clone(gate);
    thread::spawn(move || gate.give_back(count))
}

#[test]
fn who_waits_is_woken() {
    model(|| {
        let gate = gate(1, 1);
        let giver = give_back(&gate, 1);
        block_on(poll_fn(|cx| gate.poll(cx)));
        giver.join().unwrap();
    });
}

#[test]
fn it_takes_all_who_give_back_and_one_of_them_wakes() {
    model(|| {
        let gate = gate(1, 2);
        let givers = [give_back(&gate, 1), give_back(&gate, 1)];
        block_on(poll_fn(|cx| gate.poll(cx)));
        for giver in givers {
            giver.join().unwrap();
        }
    });
}

#[test]
fn everyone_who_waits_is_woken() {
    model(|| {
        let gate = gate(1, 1);
        let other = Arc::clone(&gate);
        let waiter = thread::spawn(move || block_on(poll_fn(|cx| other.poll(cx))));
        gate.give_back(1);
        block_on(poll_fn(|cx| gate.poll(cx)));
        waiter.join().unwrap();
    });
}

#[test]
fn who_passes_and_shuts_it_again_does_not_shut_out_the_other() {
    model(|| {
        let gate = gate(1, 1);
        let other = Arc::clone(&gate);
        let waiter = thread::spawn(move || {
            block_on(poll_fn(|cx| other.poll(cx)));
            other.add(1);
            other.give_back(1);
        });
        gate.give_back(1);
        block_on(poll_fn(|cx| gate.poll(cx)));
        gate.add(1);
        gate.give_back(1);
        waiter.join().unwrap();
    });
}
