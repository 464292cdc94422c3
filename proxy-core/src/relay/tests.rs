//! Pumps between scripted ends: order, end of stream, failure, and that a slow sink stops the source.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Given {
    Chunk(usize),
    NotYet,
    End,
    Fail,
}

struct Script {
    given: VecDeque<Given>,
    next: u8,
}

impl Script {
    fn new(given: impl IntoIterator<Item = Given>) -> Self {
        Self { given: given.into_iter().collect(), next: 0 }
    }
}

impl Source for Script {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self.given.pop_front() {
            Some(Given::Chunk(length)) => {
                let bytes: Bytes = (0..length)
                    .map(|_| {
                        self.next = self.next.wrapping_add(1);
                        self.next
                    })
                    .collect();
                Poll::Ready(Ok(Some(bytes)))
            }
            Some(Given::End) => Poll::Ready(Ok(None)),
            Some(Given::Fail) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(Given::NotYet) | None => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Recorder {
    taken: Vec<u8>,
    finished: bool,
    gone: bool,
    /// Bytes that it takes at each poll, in turn; afterwards everything.
    room: VecDeque<usize>,
}

impl Sink for &mut Recorder {
    fn poll_send(&mut self, _: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let room = self.room.pop_front().unwrap_or(chunk.len()).min(chunk.len());
        let taken = chunk.split_to(room);
        self.taken.extend_from_slice(&taken);
        if chunk.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        if self.gone { Poll::Ready(io::ErrorKind::ConnectionReset.into()) } else { Poll::Pending }
    }
}

fn pump(from: Script, to: &mut Recorder) -> Pump<Script, &mut Recorder> {
    Pump::new((Side::Client, from), (Side::Destination, to))
}

fn poll(pump: &mut Pump<Script, &mut Recorder>) -> Poll<Result<(), ConnectionError>> {
    pump.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_end_is_passed_on_after_the_last_byte() {
    let mut to = Recorder::default();
    let mut pump = pump(Script::new([Given::Chunk(3), Given::End]), &mut to);
    assert!(matches!(poll(&mut pump), Poll::Ready(Ok(()))));
    assert!(matches!(poll(&mut pump), Poll::Ready(Ok(()))), "it stays finished");
    assert_eq!(pump.moved(), 3);
    assert_eq!((to.taken.as_slice(), to.finished), (&[1, 2, 3][..], true));
}

#[test]
fn a_failed_source_is_no_end() {
    let mut to = Recorder::default();
    let mut pump = pump(Script::new([Given::Chunk(1), Given::Fail]), &mut to);
    assert!(matches!(poll(&mut pump), Poll::Ready(Err(ConnectionError::Relay { side: Side::Client, .. }))));
    assert!(!to.finished);
}

#[test]
fn a_sink_that_is_gone_ends_an_idle_pump() {
    let mut to = Recorder { gone: true, ..Recorder::default() };
    let mut pump = pump(Script::new([Given::NotYet]), &mut to);
    assert!(matches!(
        poll(&mut pump),
        Poll::Ready(Err(ConnectionError::Relay { side: Side::Destination, .. }))
    ));
}

#[test]
fn a_slow_sink_stops_the_source() {
    let mut to = Recorder { room: [0, 0].into(), ..Recorder::default() };
    let mut pump = pump(Script::new([Given::Chunk(2), Given::Chunk(2), Given::End]), &mut to);
    assert!(poll(&mut pump).is_pending());
    assert_eq!(pump.moved(), 2, "only one chunk is held");
    assert!(poll(&mut pump).is_pending());
    assert!(poll(&mut pump).is_ready());
    assert_eq!(to.taken, [1, 2, 3, 4]);
}

proptest! {
    /// Whatever the pauses on either side, all bytes come, in order, then the end.
    #[test]
    fn bytes_come_in_order(
        given in prop::collection::vec(prop_oneof![(1usize..50).prop_map(Given::Chunk), Just(Given::NotYet)], 0..20),
        room in prop::collection::vec(0usize..20, 0..40),
    ) {
        let total: usize = given.iter().map(|g| if let Given::Chunk(n) = g { *n } else { 0 }).sum();
        let polls = given.len() + room.len() + 2;
        let mut to = Recorder { room: room.into(), ..Recorder::default() };
        let mut pump = pump(Script::new(given.into_iter().chain([Given::End])), &mut to);
        let done = (0..polls).any(|_| poll(&mut pump).is_ready());
        prop_assert!(done);
        let expected: Vec<u8> = (0..total).map(|n| u8::try_from((n + 1) % 256).unwrap()).collect();
        prop_assert_eq!(&to.taken, &expected);
        prop_assert!(to.finished);
    }
}
