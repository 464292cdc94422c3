//! What either side announces, as the other sees it; what is not announced is seen by what the other files do.

use inpod_hbone::{Config, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{
    ENHANCE_YOUR_CALM, PREFACE, SETTINGS, Seen, WINDOW_UPDATE, connect, farewell, frame, parse, reset, stream,
};
use crate::victim::alone;

/// RFC 9113 section 6.5.2.
fn settings(frames: &[Seen]) -> Vec<(u16, u32)> {
    let seen = frames.iter().find(|seen| seen.kind == SETTINGS && seen.flags == 0).unwrap();
    let mut settings: Vec<_> = seen
        .payload
        .chunks(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes(one[2..].try_into().unwrap())))
        .collect();
    settings.sort_unstable();
    settings
}

/// What raises the connection's window above the 65535 that it starts with.
fn connection_window(frames: &[Seen]) -> u32 {
    let update = frames.iter().find(|seen| seen.kind == WINDOW_UPDATE && seen.stream == 0).unwrap();
    65_535 + u32::from_be_bytes(update.payload[..].try_into().unwrap())
}

#[test]
fn a_server_announces() {
    alone(async {
        let (mut near, far) = tokio::io::duplex(4096);
        near.write_all(PREFACE).await.unwrap();
        near.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        let mut server = server::handshake(far, &Config::default()).await.unwrap();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1), server.next()).await;
        drop(server);
        let mut bytes = Vec::new();
        near.read_to_end(&mut bytes).await.unwrap();
        let frames = parse(&bytes);
        assert_eq!(settings(&frames), [(1, 4096), (3, 200), (4, 128 << 10), (5, 256 << 10), (6, 16 << 10)]);
        assert_eq!(connection_window(&frames), 512 << 10);
    });
}

#[test]
fn a_client_announces() {
    alone(async {
        let (near, mut far) = tokio::io::duplex(4096);
        let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
        let driver = tokio::spawn(driver);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1), std::future::pending::<()>()).await;
        driver.abort();
        let _ = driver.await;
        drop(client);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        let frames = parse(bytes.strip_prefix(PREFACE).unwrap());
        assert_eq!(settings(&frames), [(1, 4096), (2, 0), (4, 128 << 10), (5, 256 << 10), (6, 16 << 10)]);
        assert_eq!(connection_window(&frames), 512 << 10);
    });
}

/// Requests taken back at once, in one piece.
#[test]
fn five_hundred_taken_back_at_once_end_the_connection() {
    for (count, survives) in [(400_u32, true), (600, false)] {
        alone(async {
            let (mut near, far) = tokio::io::duplex(64 * 1024);
            near.write_all(PREFACE).await.unwrap();
            near.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
            for turn in 0..count {
                near.write_all(&[connect(stream(turn)), reset(stream(turn))].concat()).await.unwrap();
            }
            let mut server = server::handshake(far, &Config::default()).await.unwrap();
            let arrives = async { while let Some(Ok(_)) = server.next().await {} };
            let ends = tokio::time::timeout(std::time::Duration::from_millis(1), arrives).await.is_ok();
            drop(server);
            let mut bytes = Vec::new();
            near.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(ends, !survives, "{count}");
            assert_eq!(farewell(&parse(&bytes)), (!survives).then_some(ENHANCE_YOUR_CALM));
        });
    }
}
