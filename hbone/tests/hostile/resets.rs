//! Streams that are opened to be reset: by the client, and by what it makes the server do.

use inpod_hbone::ConnectionError;

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PRIORITY, PROTOCOL_ERROR, connect, farewell,
    frame, reset, stream, window_update,
};
use crate::victim::{Habit, MOST_FRAMES, Victim, alone};

/// Requests that reach the application, at most: each may be a dial.
const MOST_ARRIVALS: usize = 1000;

async fn rapid(habit: Habit, breathe: bool) {
    let mut victim = Victim::server(habit).await;
    for turn in 0..100_000 {
        if !victim.send(&connect(stream(turn))).await {
            break;
        }
        if breathe {
            victim.quiet().await;
        }
        if !victim.send(&reset(stream(turn))).await {
            break;
        }
        if breathe {
            victim.quiet().await;
        }
    }
    assert!(victim.frames <= MOST_FRAMES, "{} frames", victim.frames);
    assert!(*victim.arrivals.borrow() <= MOST_ARRIVALS);
    let (error, heard) = victim.end().await;
    assert!(error.is_some());
    assert_eq!(farewell(&heard), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn rapid_reset() {
    alone(rapid(Habit::Ponder, false));
}

#[test]
fn rapid_reset_of_requests_that_the_application_has_seen() {
    alone(rapid(Habit::Ponder, true));
}

/// What was answered may be cut at any rate: tunnels are short where an application wants it so.
#[test]
fn tunnels_that_were_answered_may_be_cut() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        for turn in 0..3000 {
            assert!(victim.send(&connect(stream(turn))).await);
            victim.quiet().await;
            assert!(victim.send(&reset(stream(turn))).await);
        }
        victim.quiet().await;
        assert_eq!(*victim.arrivals.borrow(), 3000);
        assert!(!victim.has_ended());
    });
}

/// A stream each, that the server has to reset because of the second frame.
macro_rules! made_you_reset {
    ($($name:ident => $second:expr;)*) => { $(
        #[test]
        fn $name() {
            alone(async {
                let mut victim = Victim::server(Habit::Ponder).await;
                let second = $second;
                victim.flood(100_000, |turn| second(stream(turn))).await;
                assert!(victim.frames <= MOST_FRAMES, "{} frames", victim.frames);
                assert!(*victim.arrivals.borrow() <= MOST_ARRIVALS);
                let (error, heard) = victim.end().await;
                assert!(error.is_some());
                // h2 ends the connection for some of these at once.
                assert!(matches!(farewell(&heard), Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{:?}", farewell(&heard));
            });
        }
    )* };
}

made_you_reset! {
    by_a_window_update_of_nothing => |stream| vec![connect(stream), window_update(stream, 0)];
    by_a_window_that_overflows => |stream| vec![connect(stream), window_update(stream, (1 << 31) - 1)];
    by_data_after_the_end =>
        |stream| vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, crate::frames::CONNECT), frame(DATA, 0, stream, b"x")];
    by_a_priority_on_itself => |stream: u32| {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.push(16);
        vec![connect(stream), frame(PRIORITY, 0, stream, &payload)]
    };
    by_headers_again => |stream| vec![connect(stream), frame(HEADERS, END_HEADERS, stream, b"\x00\x01a\x01b")];
    by_a_length_that_is_not_kept => |stream| {
        let block = [crate::frames::CONNECT, b"\x0f\x0d\x012"].concat();
        vec![frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, 0, stream, b"longer")]
    };
    by_a_request_that_is_malformed =>
        |stream| vec![frame(HEADERS, END_HEADERS, stream, &[crate::frames::CONNECT, b"\x00\x01A\x01b"].concat())];
    by_more_streams_than_there_may_be => |stream| vec![connect(stream)];
}

#[test]
fn by_more_data_than_the_window_has() {
    alone(async {
        let mut victim = Victim::server(Habit::Ponder).await;
        let chunk = vec![0; 16 * 1024];
        for turn in 0..100_000 {
            let mut open = victim.send(&connect(stream(turn))).await;
            // A window of 128 KiB, and one more.
            for _ in 0..9 {
                open = open && victim.send(&frame(DATA, 0, stream(turn), &chunk)).await;
            }
            if !open {
                break;
            }
        }
        assert!(victim.frames <= 10 * MOST_FRAMES, "{} frames", victim.frames);
        assert!(victim.end().await.0.is_some());
    });
}

/// The twin: a server that makes a client reset what it opens.
#[test]
fn a_client_that_is_made_to_reset() {
    alone(async {
        let mut victim = Victim::client().await;
        let mut frames = 0;
        for turn in 0..10_000 {
            let client = victim.client.clone().unwrap();
            let open = tokio::task::spawn_local(async move { client.open(crate::victim::request()).await });
            victim.quiet().await;
            frames += 1;
            if !victim.send(&window_update(stream(turn), 0)).await {
                break;
            }
            victim.quiet().await;
            assert!(open.await.unwrap().is_err());
            if victim.has_ended() {
                break;
            }
        }
        assert!(frames <= MOST_FRAMES, "{frames}");
        let (error, _) = victim.end().await;
        assert!(
            matches!(error, Some(ConnectionError::Http2 { .. } | ConnectionError::Flooded { .. })),
            "{error:?}"
        );
    });
}
