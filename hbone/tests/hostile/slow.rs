//! Peers that take their time, in virtual time.

use std::time::Duration;

use inpod_hbone::{Config, ConnectionError};
use tokio::time::Instant;

use crate::frames::{
    CONNECT, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, connect, frame, head, setting, stream,
    window_update,
};
use crate::victim::{Habit, MOST_FRAMES, Victim, alone};

const SECOND: Duration = Duration::from_secs(1);

/// A server beside a neighbour that lets time pass.
async fn server(habit: Habit) -> Victim {
    Victim::server_with(habit, &Config::default(), Some(Duration::from_millis(100))).await
}

/// Sends the bytes one each second; `true` if the connection ended before the last.
async fn dribble(victim: &mut Victim, bytes: &[u8]) -> bool {
    for byte in bytes {
        if !victim.send(&[*byte]).await || victim.has_ended() {
            return true;
        }
        tokio::time::sleep(SECOND).await;
    }
    victim.has_ended()
}

macro_rules! dribbles {
    ($($name:ident => $bytes:expr;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn to_a_server() {
                alone(async {
                    let mut victim = server(Habit::Keep).await;
                    victim.send(&connect(1)).await;
                    ends(victim, &$bytes).await;
                });
            }

            #[test]
            fn to_a_client() {
                alone(async {
                    let mut victim =
                        Victim::client_with(&Config::default(), Some(Duration::from_millis(100))).await;
                    let _tunnel = victim.open(1).await;
                    ends(victim, &$bytes).await;
                });
            }
        }
    )* };
}

dribbles! {
    headers_by_the_byte => [head(2000, HEADERS, END_HEADERS, 3), vec![0; 2000]].concat();
    data_by_the_byte => [head(2000, DATA, 0, 1), vec![0; 2000]].concat();
    settings_by_the_byte => [head(6, 4, 0, 0), vec![]].concat();
}

async fn ends(mut victim: Victim, bytes: &[u8]) {
    let start = Instant::now();
    let ended = dribble(&mut victim, bytes).await;
    if !ended {
        // It fell silent in the middle of a frame.
        tokio::time::sleep(60 * SECOND).await;
    }
    assert!(start.elapsed() <= 71 * SECOND, "{:?}", start.elapsed());
    assert!(victim.has_ended());
    let (error, _) = victim.end().await;
    assert!(
        matches!(error, Some(ConnectionError::Unfinished { .. } | ConnectionError::Silent { .. })),
        "{error:?}"
    );
}

#[test]
fn headers_that_are_continued_slowly() {
    alone(async {
        let mut victim = server(Habit::Keep).await;
        victim.send(&frame(HEADERS, 0, 1, CONNECT)).await;
        let start = Instant::now();
        while !victim.has_ended() {
            // Other than by their number, of which h2 takes 5.
            tokio::time::sleep(20 * SECOND).await;
            victim.send(&frame(CONTINUATION, 0, 1, b"")).await;
        }
        assert!(start.elapsed() <= 80 * SECOND);
        let (error, _) = victim.end().await;
        assert!(matches!(error, Some(ConnectionError::Unfinished { .. })), "{error:?}");
    });
}

/// Slow is not hostile: whole frames may come as seldom as they like.
#[test]
fn whole_frames_of_one_byte_may_take_their_time() {
    alone(async {
        let mut victim = server(Habit::Keep).await;
        victim.send(&connect(1)).await;
        for _ in 0..1000 {
            assert!(victim.send(&frame(DATA, 0, 1, b"x")).await);
            tokio::time::sleep(5 * SECOND).await;
        }
        assert!(!victim.has_ended());
    });
}

/// A peer that is heard and never reads is not silent, and holds what is written for it.
#[test]
fn who_sends_and_never_reads_is_left() {
    alone(async {
        let mut victim = server(Habit::Pour).await;
        let _silence = victim.stop_reading();
        victim.send(&setting(4, 1 << 30)).await;
        victim.send(&window_update(0, 1 << 30)).await;
        for turn in 0..200 {
            victim.send(&connect(stream(turn))).await;
        }
        let start = Instant::now();
        while !victim.has_ended() {
            victim.send(&frame(DATA, 0, 1, b"still here")).await;
            tokio::time::sleep(SECOND).await;
        }
        assert!(start.elapsed() <= 61 * SECOND, "{:?}", start.elapsed());
        let (error, _) = victim.end().await;
        assert!(matches!(error, Some(ConnectionError::Untaken { .. })), "{error:?}");
    });
}

/// Pings that cannot be answered: nothing more is read then, and nothing more is taken.
#[test]
fn who_pings_and_never_reads_is_left() {
    alone(async {
        let mut victim = server(Habit::Keep).await;
        let _silence = victim.stop_reading();
        let start = Instant::now();
        let flood = async { while victim.send(&frame(PING, 0, 0, b"12345678")).await {} };
        tokio::time::timeout(100 * SECOND, flood).await.expect("it ends");
        assert!(start.elapsed() <= 61 * SECOND, "{:?}", start.elapsed());
        assert!(victim.end().await.0.is_some());
    });
}

/// RFC 9113 section 6.9: a window may stay shut. What cannot be sent is not taken from applications.
#[test]
fn a_window_that_stays_shut_holds_back_who_writes() {
    alone(async {
        let mut victim = server(Habit::Pour).await;
        victim.send(&setting(4, 0)).await;
        for turn in 0..200 {
            victim.send(&connect(stream(turn))).await;
        }
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!((*victim.arrivals.borrow(), *victim.poured.borrow()), (200, 0));
        assert!(victim.held() < 1 << 20, "{}", victim.held());
        // It is ended as what it is by then, a peer that no longer answers.
        tokio::time::sleep(60 * SECOND).await;
        let _ = victim;
    });
}

/// And opens by a byte at a time: no peer that reads does that, and each byte costs us a frame.
#[test]
fn a_window_opened_by_the_byte_is_paid_for() {
    alone(async {
        let mut victim = Victim::server(Habit::Pour).await;
        victim.send(&setting(4, 0)).await;
        victim.send(&connect(1)).await;
        for turn in 1.. {
            if !victim.send(&window_update(1, 1)).await {
                break;
            }
            victim.quiet().await;
            assert!(*victim.poured.borrow() <= turn, "a byte for a byte");
        }
        assert!(victim.frames <= MOST_FRAMES, "{} frames", victim.frames);
        assert!(matches!(victim.end().await.0, Some(ConnectionError::Flooded { .. })));
    });
}

/// Slowly, it may.
#[test]
fn a_window_opened_by_the_byte_now_and_then_is_left_alone() {
    alone(async {
        let mut victim = server(Habit::Pour).await;
        victim.send(&setting(4, 0)).await;
        victim.send(&connect(1)).await;
        for _ in 0..3000 {
            assert!(victim.send(&window_update(1, 1)).await);
            tokio::time::sleep(SECOND / 100).await;
        }
        assert!(!victim.has_ended());
    });
}
