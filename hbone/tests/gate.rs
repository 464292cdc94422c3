//! The gate that the writers of a connection wait at, under every order of threads that loom can think of: a waker that gets lost
//! is a deadlock, which loom reports.

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

#[path = "../src/gate.rs"]
mod gate;

use std::future::poll_fn;
use std::task::{Context, Wake, Waker};

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

#[test]
fn two_who_wait_pass_before_everything_is_given_back_or_then() {
    model(|| {
        let gate = gate(3, 4);
        let waiters = [0; 2].map(|_| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                block_on(poll_fn(|cx| gate.poll(cx)));
                gate.add(1);
                gate.give_back(1);
            })
        });
        gate.give_back(3);
        gate.give_back(1);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn who_was_woken_and_is_gone_is_waited_for_no_longer_than_what_is_counted() {
    model(|| {
        let gate = gate(2, 3);
        let _ = gate.poll(&mut Context::from_waker(Waker::noop()));
        let other = Arc::clone(&gate);
        let waiter = thread::spawn(move || block_on(poll_fn(|cx| other.poll(cx))));
        gate.give_back(2);
        gate.give_back(1);
        waiter.join().unwrap();
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A gate, and how often each has been woken.
fn three_who_wait_for_ten_of_twenty() -> (Arc<Gate>, impl Fn() -> [usize; 3]) {
    let gate = gate(10, 20);
    let counts = [(); 3].map(|()| std::sync::Arc::<Count>::default());
    for count in &counts {
        let waker = Waker::from(std::sync::Arc::clone(count));
        // Twice is once.
        for _ in 0..2 {
            assert!(gate.poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    (gate, move || counts.each_ref().map(|count| count.0.load(std::sync::atomic::Ordering::Relaxed)))
}

#[test]
fn the_oldest_is_woken_alone_and_all_are_in_the_end() {
    loom::model(|| {
        let (gate, woken) = three_who_wait_for_ten_of_twenty();
        gate.give_back(5);
        assert_eq!(woken(), [0, 0, 0], "it is shut");
        gate.give_back(6);
        assert_eq!(woken(), [1, 0, 0]);
        gate.add(5);
        assert_eq!(woken(), [1, 0, 0], "it is shut again");
        gate.give_back(5);
        assert_eq!(woken(), [1, 1, 0]);
        gate.give_back(9);
        assert_eq!(woken(), [1, 1, 1]);
    });
}

#[test]
fn who_passes_and_leaves_it_open_passes_it_on() {
    loom::model(|| {
        let (gate, woken) = three_who_wait_for_ten_of_twenty();
        gate.give_back(15);
        assert_eq!(woken(), [1, 0, 0]);
        gate.add(1);
        assert_eq!(woken(), [1, 1, 0]);
        gate.add(4);
        assert_eq!(woken(), [1, 1, 0], "it is shut");
        gate.give_back(10);
        assert_eq!(woken(), [1, 1, 1]);
    });
}

#[test]
fn whoever_sees_to_it_wakes_one_after_another() {
    loom::model(|| {
        let (gate, woken) = three_who_wait_for_ten_of_twenty();
        assert!(!gate.pass_on(), "it is shut");
        gate.give_back(15);
        assert_eq!(woken(), [1, 0, 0]);
        // None of them has anything to add.
        for expected in [[1, 1, 0], [1, 1, 1]] {
            assert!(gate.pass_on());
            assert_eq!(woken(), expected);
        }
        assert!(!gate.pass_on(), "nobody waits");
    });
}
