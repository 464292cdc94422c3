//! Bytes that nobody reads, and readers that stop.

use bytes::Bytes;
use inpod_hbone::{Arrival, Client, Config, RecvHalf, SendHalf, client, server};
use tokio::sync::mpsc;

use crate::frames::{ACK, DATA, SETTINGS, Seen, WINDOW_UPDATE, connect, frame, stream};
use crate::victim::{Habit, Victim, alone, request};

/// 200 requests, and for each as much as goes, before any of it is read.
#[test]
fn full_windows_of_unanswered_requests() {
    alone(async {
        let mut victim = Victim::server(Habit::Ponder).await;
        let chunk = vec![0; 2000];
        for turn in 0..200 {
            victim.send(&connect(stream(turn))).await;
            victim.send(&frame(DATA, 0, stream(turn), &chunk)).await;
        }
        victim.quiet().await;
        assert_eq!(*victim.arrivals.borrow(), 200);
        assert!(victim.held() < 1 << 20, "{}", victim.held());
        // A window's worth and more on the first.
        for _ in 0..100 {
            victim.send(&frame(DATA, 0, 1, &chunk)).await;
        }
        victim.quiet().await;
        assert!(victim.held() < 1 << 20, "{}", victim.held());
    });
}

/// Who fills every window that it is given, on as many streams as there may be.
#[test]
fn all_that_the_windows_allow() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        for turn in 0..200 {
            victim.send(&connect(stream(turn))).await;
        }
        let mut sent = vec![0_i64; 200];
        let mut acknowledged = 0;
        loop {
            victim.quiet().await;
            let windows = Windows::of(&victim.heard());
            let mut went = 0;
            while acknowledged < windows.settings {
                victim.send(&frame(SETTINGS, ACK, 0, b"")).await;
                (acknowledged, went) = (acknowledged + 1, went + 1);
            }
            for turn in 0..200 {
                let of_stream = windows.first + windows.given(stream(turn)) - sent[turn as usize];
                let of_all = 65_535 + windows.given(0) - sent.iter().sum::<i64>();
                let chunk = of_stream.min(of_all).clamp(0, 16_384);
                if chunk > 0 {
                    victim
                        .send(&frame(DATA, 0, stream(turn), &vec![0; usize::try_from(chunk).unwrap()]))
                        .await;
                    (sent[turn as usize], went) = (sent[turn as usize] + chunk, went + chunk);
                }
            }
            if went == 0 {
                break;
            }
        }
        assert!(sent.iter().all(|sent| *sent >= 800), "each has room of its own: {sent:?}");
        assert!(victim.held() < 1 << 20, "{}", victim.held());
        assert!(!victim.has_ended());
    });
}

/// As many frames as the windows allow, of a byte each: what holds them must not cost more than they do.
#[test]
fn windows_full_of_single_bytes() {
    alone(async {
        let mut victim = Victim::server(Habit::Keep).await;
        victim.send(&frame(SETTINGS, ACK, 0, b"")).await;
        for turn in 0..4 {
            victim.send(&connect(stream(turn))).await;
            for _ in 0..100 {
                victim.send(&frame(DATA, 0, stream(turn), b"x").repeat(1000)).await;
            }
        }
        victim.quiet().await;
        assert!(victim.held() < 1 << 20, "{}", victim.held());
        assert!(!victim.has_ended());
    });
}

/// What a victim allows.
struct Windows {
    settings: usize,
    first: i64,
    updates: Vec<(u32, i64)>,
}

impl Windows {
    fn of(frames: &[Seen]) -> Self {
        let settings: Vec<_> =
            frames.iter().filter(|seen| seen.kind == SETTINGS && seen.flags == 0).collect();
        let mut windows =
            settings.iter().flat_map(|seen| seen.payload.chunks(6)).filter(|one| one[..2] == [0, 4]);
        let first =
            windows.next_back().map_or(65_535, |one| u32::from_be_bytes(one[2..].try_into().unwrap()));
        let updates = frames.iter().filter(|seen| seen.kind == WINDOW_UPDATE);
        let updates = updates
            .map(|seen| (seen.stream, i64::from(u32::from_be_bytes(seen.payload[..].try_into().unwrap()))));
        Self { settings: settings.len(), first: first.into(), updates: updates.collect() }
    }

    fn given(&self, stream: u32) -> i64 {
        self.updates.iter().filter(|update| update.0 == stream).map(|update| update.1).sum()
    }
}

struct Pair {
    client: Client,
    arrivals: mpsc::UnboundedReceiver<(RecvHalf, SendHalf)>,
}

impl Pair {
    async fn new() -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (arrived, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut server = server::handshake(far, &Config::default()).await.unwrap();
            while let Some(Ok(Arrival::Connect(incoming))) = server.next().await {
                let _ = arrived.send(incoming.accept().unwrap().into_split());
            }
        });
        let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
        tokio::spawn(driver);
        Self { client, arrivals }
    }

    /// As (what the client has, what the server has).
    async fn open(&mut self) -> [(RecvHalf, SendHalf); 2] {
        let near = self.client.open(request()).await.unwrap().into_split();
        [near, self.arrivals.recv().await.unwrap()]
    }
}

/// Writes until nothing more is taken.
async fn fill(send: &mut SendHalf) {
    while let Ok(room) =
        tokio::time::timeout(std::time::Duration::from_millis(1), send.capacity(16 * 1024)).await
    {
        send.send(Bytes::from(vec![7; room.unwrap()])).unwrap();
    }
}

/// One reader of `which` side stops; a hundred others move much more than all windows.
async fn one_stops_and_a_hundred_go_on(which: usize) {
    let mut pair = Pair::new().await;
    let mut stopped = pair.open().await;
    let writer = 1 - which;
    fill(&mut stopped[writer].1).await;
    let mut going = Vec::new();
    for _ in 0..99 {
        let [near, far] = pair.open().await;
        let (reads, writes) = if which == 0 { (near, far) } else { (far, near) };
        going.push(tokio::spawn(async move {
            let ((mut recv, _back), (_forth, mut send)) = (reads, writes);
            let write = async {
                send.send_all(Bytes::from(vec![7; 1 << 20])).await.unwrap();
                send.finish().unwrap();
            };
            let read = async {
                let mut read = 0;
                while let Some(bytes) = recv.data().await {
                    read += bytes.unwrap().len();
                }
                read
            };
            tokio::join!(read, write).0
        }));
    }
    for one in going {
        let read =
            tokio::time::timeout(std::time::Duration::from_secs(1), one).await.expect("it moves").unwrap();
        assert_eq!(read, 1 << 20);
    }
    // And the stopped one goes on when its reader does.
    assert!(stopped[which].0.data().await.unwrap().is_ok());
}

#[test]
fn a_reader_at_the_client_that_stops_stalls_nobody_else() {
    alone(one_stops_and_a_hundred_go_on(0));
}

#[test]
fn a_reader_at_the_server_that_stops_stalls_nobody_else() {
    alone(one_stops_and_a_hundred_go_on(1));
}
