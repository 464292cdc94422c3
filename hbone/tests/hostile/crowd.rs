//! Many connections that say nothing.

use std::time::Duration;

use inpod_hbone::{Config, ConnectionError, HandshakeError, server};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::MEMORY;
use crate::frames::{PREFACE, SETTINGS, frame};
use crate::neighbour::Neighbour;
use crate::victim::alone;

const CROWD: usize = 5000;

/// What each may cost: mostly what h2 keeps for a connection.
const EACH: usize = 64 * 1024;

#[test]
fn five_thousand_that_say_nothing_are_gone_after_their_time() {
    alone(async {
        let neighbour = Neighbour::new(Some(Duration::from_millis(100))).await;
        let before = MEMORY.allocated();
        let start = Instant::now();
        let (mut silent, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..CROWD {
            let (near, far) = tokio::io::duplex(64);
            silent.push(near);
            ends.push(tokio::spawn(async move { server::handshake(far, &Config::default()).await.err() }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = (MEMORY.allocated() - before) / CROWD;
        assert!(held <= EACH, "{held} bytes each");
        for end in ends {
            assert!(matches!(end.await.unwrap(), Some(HandshakeError::TimedOut { .. })));
        }
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(neighbour.rounds() > 50);
    });
}

#[test]
fn five_thousand_that_only_begin_are_gone_when_they_answer_no_ping() {
    alone(async {
        let neighbour = Neighbour::new(Some(Duration::from_millis(100))).await;
        let before = MEMORY.allocated();
        let (mut silent, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..CROWD {
            let (mut near, far) = tokio::io::duplex(128);
            ends.push(tokio::spawn(async move {
                server::handshake(far, &Config::default()).await.unwrap().next().await
            }));
            near.write_all(PREFACE).await.unwrap();
            near.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
            silent.push(near);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = (MEMORY.allocated() - before) / CROWD;
        assert!(held <= EACH, "{held} bytes each");
        for end in ends {
            let end = end.await.unwrap();
            assert!(
                matches!(end, Some(Err(ConnectionError::Silent { .. } | ConnectionError::Untaken { .. }))),
                "{end:?}"
            );
        }
        assert!(neighbour.rounds() > 100);
    });
}
