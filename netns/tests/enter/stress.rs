//! Many threads, many namespaces, many panics: no thread is ever left outside.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Barrier;
use std::thread;

use inpod_netns::{Home, Namespace};
use testkit::kernel::{Case, Outcome, test};

use crate::{OnPurpose, here, link_of};

pub(crate) fn cases() -> Vec<Case> {
    vec![test("threads_that_panic_inside_come_back", threads_that_panic_inside_come_back)]
}

const THREADS: usize = 8;
const NAMESPACES: usize = 100;
/// Of all threads together.
const ENTRIES: usize = 100_000;
/// One in so many.
const PANICS: usize = 10;

fn threads_that_panic_inside_come_back() -> Outcome {
    let namespaces = (0..NAMESPACES).map(|_| Namespace::create()).collect::<Result<Vec<_>, _>>()?;
    let home = Home::of_this_thread()?;
    let start = Barrier::new(THREADS);
    let counted = thread::scope(|scope| {
        let hammers: Vec<_> = (0..THREADS)
            .map(|hammer| {
                let (namespaces, home, start) = (&namespaces, &home, &start);
                scope.spawn(move || {
                    start.wait();
                    (hammer..ENTRIES).step_by(THREADS).filter(|entry| enter(*entry, namespaces, home)).count()
                })
            })
            .collect();
        let ended = hammers.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|ended| ended.map_err(|_| "a thread ended in the wrong place")).sum::<Result<usize, _>>()
    })?;
    assert_eq!(counted, ENTRIES / PANICS, "panics");
    Ok(())
}

/// One entry, every other one from home; whether it panicked.
fn enter(entry: usize, namespaces: &[Namespace], home: &Home) -> bool {
    let namespace = &namespaces[entry % namespaces.len()];
    let before = here().unwrap();
    let inside = || {
        assert_eq!(here().unwrap(), link_of(namespace.id()));
        if entry % PANICS == PANICS / 2 {
            panic_any(OnPurpose);
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(|| match entry / PANICS % 2 {
        0 => namespace.run(inside),
        _ => home.visit(namespace, inside),
    }));
    assert_eq!(here().unwrap(), before, "left outside");
    match ended {
        Ok(entered) => entered.map(|()| false).unwrap(),
        Err(panic) => {
            assert!(panic.is::<OnPurpose>(), "it was not where it should be");
            true
        }
    }
}
