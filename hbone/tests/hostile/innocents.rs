//! Peers that mean no harm and send much that carries nothing, as the usual implementations do; each beside one that only looks like it
//! and is ended. No time passes, so that nothing is paid for by waiting.

use inpod_hbone::ConnectionError;

use crate::frames::{
    ACK, DATA, END_STREAM, PING, PRIORITY, SETTINGS, UNKNOWN, connect, frame, reset, stream, window_update,
};
use crate::victim::{Habit, MOST_FRAMES, Victim, alone};

/// Many times what is let through of what carries nothing.
const LONG: u32 = 3000;

/// A server that writes into a tunnel as much as its peer lets it, with one that has opened it.
async fn pouring() -> Victim {
    let mut victim = Victim::server(Habit::Pour).await;
    victim.send(&frame(SETTINGS, ACK, 0, b"")).await;
    victim.send(&connect(1)).await;
    victim.quiet().await;
    victim
}

/// Says `answers` for each frame's worth of bytes, which the bytes of `update` let through.
async fn answers(mut victim: Victim, update: u32, answers: impl Fn() -> Vec<Vec<u8>>) -> Victim {
    for _ in 0..LONG {
        let before = *victim.poured.borrow();
        for answer in answers() {
            assert!(victim.send(&answer).await, "it was ended");
        }
        assert!(victim.send(&window_update(1, update)).await && victim.send(&window_update(0, update)).await);
        victim.quiet().await;
        assert!(*victim.poured.borrow() > before, "there was something to answer");
    }
    assert!(!victim.has_ended());
    victim
}

/// golang.org/x/net/http2 gives room back for 4 KiB or more; so do others, of as much as an application reads at once.
#[test]
fn who_gives_room_back_of_each_read() {
    alone(async {
        answers(pouring().await, 4096, Vec::new).await;
    });
}

/// python's h2 leaves it to the program, and many give back each frame.
#[test]
fn who_gives_room_back_of_each_small_frame() {
    alone(async {
        answers(pouring().await, 100, Vec::new).await;
    });
}

/// gRPC's libraries and hyper have one ping under way while they receive, to measure bandwidth.
#[test]
fn who_pings_for_what_it_receives() {
    alone(async {
        answers(pouring().await, 1000, || vec![frame(PING, 0, 0, b"\x02\x04\x10\x10\x09\x0e\x07\x07")]).await;
    });
}

/// The same ping, with nothing received.
#[test]
fn who_pings_for_nothing_is_ended() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        victim.send(&connect(1)).await;
        victim.flood(100_000, |_| vec![frame(PING, 0, 0, b"\x02\x04\x10\x10\x09\x0e\x07\x07")]).await;
        ended(victim).await;
    });
}

/// What browsers, curl with nghttp2, Java and Go send around a request: PRIORITY or PRIORITY_UPDATE (RFC 9218), and RST_STREAM after the end.
#[test]
fn short_tunnels_with_all_that_goes_with_them() {
    const PRIORITY_UPDATE: u8 = 0x10;
    for kind in [PRIORITY, PRIORITY_UPDATE] {
        alone(async {
            let mut victim = Victim::server(Habit::Echo).await;
            for turn in 0..LONG {
                let id = stream(turn);
                assert!(victim.send(&connect(id)).await, "request {turn}");
                let priority = match kind {
                    PRIORITY => frame(PRIORITY, 0, id, &[0, 0, 0, 0, 16]),
                    _ => frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], b"u=3,i"].concat()),
                };
                victim.send(&priority).await;
                victim.send(&frame(DATA, 0, id, b"question")).await;
                victim.send(&frame(DATA, END_STREAM, id, b"")).await;
                victim.quiet().await;
                victim.send(&window_update(0, 8)).await;
                victim.send(&reset(id)).await;
            }
            victim.quiet().await;
            assert!(!victim.has_ended());
            assert_eq!(*victim.arrivals.borrow(), LONG as usize);
        });
    }
}

/// Priorities of streams that nobody opens.
#[test]
fn priorities_of_nothing_are_ended() {
    alone(async {
        let mut victim = Victim::server(Habit::Echo).await;
        victim.flood(100_000, |turn| vec![frame(PRIORITY, 0, stream(turn), &[0, 0, 0, 0, 16])]).await;
        ended(victim).await;
    });
}

/// An application that writes byte by byte, both ways, whose peer gives back each byte.
#[test]
fn a_byte_a_frame_both_ways() {
    alone(async {
        let mut victim = Victim::server(Habit::Echo).await;
        victim.send(&frame(SETTINGS, ACK, 0, b"")).await;
        victim.send(&connect(1)).await;
        for _ in 0..2 * LONG {
            assert!(victim.send(&frame(DATA, 0, 1, b"x")).await);
            victim.turns(4).await;
            assert!(victim.send(&window_update(1, 1)).await && victim.send(&window_update(0, 1)).await);
        }
        victim.quiet().await;
        assert_eq!(*victim.poured.borrow(), 2 * LONG as usize, "each came back");
        assert!(!victim.has_ended());
    });
}

/// A window of a byte, opened again for each of many that wait.
#[test]
fn room_by_the_byte_for_what_waits_is_ended() {
    alone(async {
        let mut victim = Victim::server(Habit::Pour).await;
        victim.send(&crate::frames::setting(4, 0)).await;
        victim.send(&connect(1)).await;
        victim.flood(100_000, |_| vec![window_update(1, 1), window_update(0, 1)]).await;
        ended(victim).await;
    });
}

/// Clients that ask whether somebody is there, each second, for an hour and more; and frames that are reserved for that nobody knows them (RFC 9113 section 5.5).
#[test]
fn a_ping_each_second_and_frames_that_nobody_knows() {
    alone(async {
        let pause = Some(std::time::Duration::from_secs(1));
        let mut victim = Victim::server_with(Habit::Keep, &inpod_hbone::Config::default(), pause).await;
        for second in 0..5000_u64 {
            assert!(victim.send(&frame(PING, 0, 0, &second.to_be_bytes())).await);
            assert!(victim.send(&frame(UNKNOWN, 0, 0, b"grease")).await);
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert!(!victim.has_ended());
    });
}

async fn ended(victim: Victim) {
    assert!(victim.frames <= MOST_FRAMES, "{} frames", victim.frames);
    assert!(matches!(victim.end().await.0, Some(ConnectionError::Flooded { .. })));
}
