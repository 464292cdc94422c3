//! Frames without end that carry nothing.

use inpod_hbone::ConnectionError;

use crate::frames::{
    ACK, DATA, END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY, SETTINGS, UNKNOWN, connect, farewell,
    frame, reset, setting, stream, window_update,
};
use crate::victim::{Habit, MOST_FRAMES, Victim, alone};

/// Each flood against a server and against a client, whose peer reads what it says, or nothing.
macro_rules! floods {
    ($($name:ident => $frames:expr;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn against_a_server() {
                alone(async { against(Victim::server(Habit::Keep).await, $frames, true).await });
            }

            #[test]
            fn against_a_server_by_one_who_does_not_read() {
                alone(async { against(Victim::server(Habit::Keep).await, $frames, false).await });
            }

            #[test]
            fn against_a_client() {
                alone(async { against(Victim::client().await, $frames, true).await });
            }
        }
    )* };
}

floods! {
    pings => |_| frame(PING, 0, 0, b"12345678");
    answers_to_pings_that_were_not_sent => |_| frame(PING, ACK, 0, b"12345678");
    empty_settings => |_| frame(SETTINGS, 0, 0, b"");
    windows_that_swing => |turn| setting(4, 65_535 + turn % 2);
    settings_that_nobody_knows => |turn| setting(0xf000, turn);
    updates_of_the_connections_window => |_| window_update(0, 1);
    priorities => |turn| frame(PRIORITY, 0, stream(turn), &[0, 0, 0, 0, 16]);
    unknown_frames => |_| frame(UNKNOWN, 0, 0, b"");
    unknown_frames_with_a_payload => |_| frame(UNKNOWN, 0xff, 7, &[0; 600]);
}

async fn against(mut victim: Victim, next: impl Fn(u32) -> Vec<u8>, reads: bool) {
    let _silence = (!reads).then(|| victim.stop_reading());
    if reads {
        victim.flood(100_000, |turn| vec![next(turn)]).await;
    } else {
        // Nobody reads: either side may be the one that waits.
        let flood = victim.flood(100_000, |turn| vec![next(turn)]);
        let patience = async {
            for _ in 0..100_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = flood => {} () = patience => {} }
    }
    assert!(victim.frames <= MOST_FRAMES, "{} frames were taken", victim.frames);
    if !reads && !victim.has_ended() {
        // It has stopped taking frames because it cannot answer them; `slow.rs` has how that ends.
        return;
    }
    let is_server = victim.client.is_none();
    let (error, heard) = victim.end().await;
    assert!(matches!(error, Some(ConnectionError::Flooded { burst: 1000 })), "{error:?}");
    if is_server && reads {
        assert_eq!(farewell(&heard), Some(ENHANCE_YOUR_CALM));
    }
}

#[test]
fn empty_data() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        victim.send(&connect(1)).await;
        victim.flood(100_000, |_| vec![frame(DATA, 0, 1, b"")]).await;
        assert!(victim.frames <= MOST_FRAMES);
        let (error, heard) = victim.end().await;
        assert!(error.is_some());
        assert_eq!(farewell(&heard), Some(ENHANCE_YOUR_CALM));
    });
}

#[test]
fn empty_data_against_a_client() {
    alone(async {
        let mut victim = Victim::client().await;
        let _tunnel = victim.open(1).await;
        victim.flood(100_000, |_| vec![frame(DATA, 0, 1, b"")]).await;
        assert!(victim.frames <= MOST_FRAMES);
        assert!(victim.end().await.0.is_some());
    });
}

#[test]
fn resets_of_a_stream_that_is_gone() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        victim.send(&connect(1)).await;
        victim.flood(100_000, |_| vec![reset(1)]).await;
        assert!(victim.frames <= MOST_FRAMES);
        assert!(matches!(victim.end().await.0, Some(ConnectionError::Flooded { .. })));
    });
}

#[test]
fn informational_answers_without_end() {
    alone(async {
        let mut victim = Victim::client().await;
        let client = victim.client.clone().unwrap();
        let open = tokio::task::spawn_local(async move { client.open(crate::victim::request()).await });
        victim.quiet().await;
        // Status 100, a literal without indexing of entry 8 of the static table.
        let early = frame(HEADERS, END_HEADERS, 1, b"\x08\x03100");
        victim.flood(100_000, |_| vec![early.clone()]).await;
        assert!(victim.frames <= MOST_FRAMES);
        assert!(open.await.unwrap().is_err());
        assert!(victim.end().await.0.is_some());
    });
}

/// What a busy peer does is not a flood, however long it goes on.
#[test]
fn bytes_and_their_window_updates_are_no_flood() {
    alone(async {
        let mut victim = Victim::server(Habit::Pour).await;
        victim.send(&connect(1)).await;
        for _ in 0..3000 {
            let before = *victim.poured.borrow();
            assert!(victim.send(&window_update(1, 20)).await);
            assert!(victim.send(&window_update(0, 20)).await);
            victim.quiet().await;
            assert!(*victim.poured.borrow() > before || before < 70_000);
        }
        assert!(!victim.has_ended());
    });
}
