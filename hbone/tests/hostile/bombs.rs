//! Headers that are small on the wire and large in memory, or never end.

use inpod_hbone::ConnectionError;

use crate::frames::{
    CONNECT, CONTINUATION, END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, connect, farewell, frame, head, stream,
};
use crate::victim::{Habit, MOST_FRAMES, Victim, alone};

/// Sends until the connection ends.
async fn until_it_ends(mut victim: Victim, next: impl FnMut(u32) -> Vec<Vec<u8>>) -> Option<ConnectionError> {
    victim.flood(100_000, next).await;
    assert!(victim.frames <= MOST_FRAMES, "{} frames were taken", victim.frames);
    let is_server = victim.client.is_none();
    let (error, heard) = victim.end().await;
    assert!(error.is_some());
    if is_server {
        assert!(farewell(&heard).is_some_and(|reason| reason != 0), "it is told");
    }
    error
}

/// RFC 7541 section 5.1: an integer of 7 bits and more, and a string without Huffman coding.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    if bytes.len() < 127 {
        coded.push(bytes.len() as u8);
    } else {
        coded.push(127);
        let mut rest = bytes.len() - 127;
        while rest >= 128 {
            coded.push((rest % 128 + 128) as u8);
            rest /= 128;
        }
        coded.push(rest as u8);
    }
    coded.extend_from_slice(bytes);
    coded
}

/// `x: value`, kept in the table if `indexed`.
fn literal(indexed: bool, value: &[u8]) -> Vec<u8> {
    [&[if indexed { 0x40 } else { 0 }, 1, b'x'], &string(value)[..]].concat()
}

/// A field of 4000 bytes, and references to it of one byte each.
fn amplified(references: usize) -> Vec<u8> {
    [CONNECT, &literal(true, &[b'v'; 4000]), &vec![0xbe; references]].concat()
}

#[test]
fn references_to_a_large_field() {
    alone(async {
        let block = amplified(10_000);
        let error = until_it_ends(Victim::server(Habit::Keep).await, |turn| {
            vec![frame(HEADERS, END_HEADERS, stream(turn), &block)]
        });
        let _ = error.await;
    });
}

#[test]
fn references_to_a_large_field_in_an_answer() {
    alone(async {
        let mut victim = Victim::client().await;
        let client = victim.client.clone().unwrap();
        let open = tokio::task::spawn_local(async move { client.open(crate::victim::request()).await });
        victim.quiet().await;
        let block = [&[0x88], &literal(true, &[b'v'; 4000])[..], &[0xbe; 10_000]].concat();
        victim.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        victim.quiet().await;
        assert!(open.await.unwrap().is_err());
        assert!(victim.end().await.0.is_some());
    });
}

/// More than the limit and less than four times as much: refused in order, and the connection goes on.
#[test]
fn somewhat_too_large_is_refused() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        let block = amplified(7);
        for turn in 0..100 {
            assert!(victim.send(&frame(HEADERS, END_HEADERS, stream(turn), &block)).await);
            victim.quiet().await;
        }
        assert_eq!(*victim.arrivals.borrow(), 0);
        assert!(victim.send(&connect(stream(100))).await);
        victim.quiet().await;
        assert_eq!(*victim.arrivals.borrow(), 1, "a good request is served all the same");
        assert!(victim.held() < 1 << 20);
    });
}

#[test]
fn many_small_fields() {
    alone(async {
        let block = [CONNECT, &literal(false, b"").repeat(12_000)].concat();
        let error = until_it_ends(Victim::server(Habit::Keep).await, |turn| {
            vec![frame(HEADERS, END_HEADERS, stream(turn), &block)]
        });
        let _ = error.await;
    });
}

#[test]
fn a_string_of_ten_million_bytes() {
    alone(async {
        let victim = Victim::server(Habit::Keep).await;
        let value = vec![b'v'; 16_000];
        let begin = [CONNECT, &[0, 1, b'x', 127, 0x80, 0xa0, 0xe2, 0x04]].concat();
        let error = until_it_ends(victim, |turn| {
            if turn == 0 {
                vec![frame(HEADERS, 0, 1, &begin)]
            } else {
                vec![frame(CONTINUATION, 0, 1, &value)]
            }
        });
        let _ = error.await;
    });
}

#[test]
fn a_block_longer_than_a_peer_means_well_is_not_held() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        // Allowed by the size of frames; what is announced is enough.
        victim.send(&head(200_000, HEADERS, END_HEADERS, 1)).await;
        victim.quiet().await;
        assert!(victim.held() < 300_000, "{}", victim.held());
        let (error, heard) = victim.end().await;
        assert!(matches!(error, Some(ConnectionError::Oversized { limit: 65_536 })), "{error:?}");
        assert_eq!(farewell(&heard), Some(ENHANCE_YOUR_CALM));
    });
}

#[test]
fn a_settings_frame_without_end_is_not_held() {
    alone(async {
        let mut victim = Victim::client().await;
        victim.send(&head(200_000, crate::frames::SETTINGS, 0, 0)).await;
        victim.quiet().await;
        let (error, _) = victim.end().await;
        assert!(matches!(error, Some(ConnectionError::Oversized { .. })), "{error:?}");
    });
}

macro_rules! continuations {
    ($($name:ident => $payload:expr;)*) => { $(
        #[test]
        fn $name() {
            alone(async {
                let error = until_it_ends(Victim::server(Habit::Keep).await, |turn| {
                    if turn == 0 { vec![frame(HEADERS, 0, 1, CONNECT)] } else { vec![frame(CONTINUATION, 0, 1, $payload)] }
                });
                let _ = error.await;
            });
        }
    )* };
}

continuations! {
    empty_continuations => b"";
    continuations_with_fields => b"\x00\x01a\x01b";
    // Huffman-coded `0`s, RFC 7541 appendix B.
    continuations_with_huffman => b"\x00\x81\x07\x84\x00\x00\x00\x00";
}

#[test]
fn headers_that_the_table_cannot_have() {
    alone(async {
        let error = until_it_ends(Victim::server(Habit::Keep).await, |turn| {
            vec![frame(HEADERS, END_HEADERS, stream(turn), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff")]
        });
        let _ = error.await;
    });
}
