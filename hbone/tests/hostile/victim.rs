//! The end under attack, the attack, and what came of it.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inpod_hbone::{
    Arrival, Client, Config, ConnectRequest, ConnectionError, Incoming, Tunnel, client, server,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::{JoinHandle, LocalSet};

use crate::MEMORY;
use crate::frames::{PREFACE, SETTINGS, Seen, frame, parse};
use crate::neighbour::Neighbour;

/// What a victim does with the tunnels that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Lets them wait, as if it dialled.
    Ponder,
    /// Accepts them at once and keeps them, without reading.
    Keep,
    /// Accepts them at once and writes into them what it can.
    Pour,
    /// Accepts them at once and sends back what comes.
    Echo,
}

/// Runs one attack at a time: the memory of others must not be counted.
pub(crate) fn alone<F: Future<Output = ()>>(attack: F) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, attack);
}

/// A connection whose other end the test plays.
pub(crate) struct Victim {
    io: WriteHalf<DuplexStream>,
    heard: Rc<RefCell<Vec<u8>>>,
    reading: Option<JoinHandle<ReadHalf<DuplexStream>>>,
    end: JoinHandle<Option<ConnectionError>>,
    pub(crate) arrivals: Rc<RefCell<usize>>,
    pub(crate) poured: Rc<RefCell<usize>>,
    pub(crate) client: Option<Client>,
    neighbour: Neighbour,
    rounds_before: u64,
    memory_before: usize,
    peak: usize,
    pub(crate) frames: usize,
}

/// What is in the pipe is sent but not seen, so it holds little.
const PIPE: usize = 512;

impl Victim {
    /// A server, that has had the preface and settings of its client.
    pub(crate) async fn server(habit: Habit) -> Self {
        Self::server_with(habit, &Config::default(), None).await
    }

    pub(crate) async fn server_with(habit: Habit, config: &Config, pause: Option<Duration>) -> Self {
        let neighbour = Neighbour::new(pause).await;
        let memory_before = MEMORY.allocated();
        let (near, far) = tokio::io::duplex(PIPE);
        let (arrivals, poured) = (Rc::default(), Rc::default());
        let end = tokio::task::spawn_local(serve(
            far,
            config.clone(),
            habit,
            Rc::clone(&arrivals),
            Rc::clone(&poured),
        ));
        let mut victim = Self::new(near, end, neighbour, memory_before, (arrivals, poured), None);
        victim.send(PREFACE).await;
        victim.send(&frame(SETTINGS, 0, 0, b"")).await;
        victim.frames = 0;
        victim
    }

    /// A client, that has had the settings of its server.
    pub(crate) async fn client() -> Self {
        Self::client_with(&Config::default(), None).await
    }

    pub(crate) async fn client_with(config: &Config, pause: Option<Duration>) -> Self {
        let neighbour = Neighbour::new(pause).await;
        let memory_before = MEMORY.allocated();
        let (near, far) = tokio::io::duplex(PIPE);
        let (client, driver) = client::handshake(far, config).await.unwrap();
        let end = tokio::task::spawn_local(async move { driver.await.err() });
        let mut victim = Self::new(near, end, neighbour, memory_before, Default::default(), Some(client));
        victim.send(&frame(SETTINGS, 0, 0, b"")).await;
        victim.frames = 0;
        victim
    }

    fn new(
        near: DuplexStream,
        end: JoinHandle<Option<ConnectionError>>,
        neighbour: Neighbour,
        memory_before: usize,
        (arrivals, poured): (Rc<RefCell<usize>>, Rc<RefCell<usize>>),
        client: Option<Client>,
    ) -> Self {
        let (read, io) = tokio::io::split(near);
        let heard = Rc::default();
        let reading = Some(tokio::task::spawn_local(listen(read, Rc::clone(&heard))));
        let rounds_before = neighbour.rounds();
        let (peak, frames) = (0, 0);
        Self {
            io,
            heard,
            reading,
            end,
            arrivals,
            poured,
            client,
            neighbour,
            rounds_before,
            memory_before,
            peak,
            frames,
        }
    }

    /// Reads nothing any more, and keeps the pipe.
    pub(crate) fn stop_reading(&mut self) -> StoppedReading {
        StoppedReading { _reading: self.reading.take().map(|reading| reading.abort()) }
    }

    /// Sends bytes, which may be no frame at all. `false` when nobody takes them any more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.frames += 1;
        let sent = self.io.write_all(bytes).await.is_ok();
        self.peak = self.peak.max(MEMORY.allocated());
        sent
    }

    /// Sends the frames that `next` makes until the connection ends, and not more than `most`.
    pub(crate) async fn flood(&mut self, most: u32, mut next: impl FnMut(u32) -> Vec<Vec<u8>>) {
        for turn in 0..most {
            for frame in next(turn) {
                if !self.send(&frame).await {
                    return;
                }
            }
        }
    }

    pub(crate) async fn quiet(&mut self) {
        // Everybody gets a turn, many times over; the neighbour never sleeps, so that time cannot be waited for.
        self.turns(40).await;
        self.peak = self.peak.max(MEMORY.allocated());
    }

    pub(crate) async fn turns(&mut self, count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }

    /// What the victim has said so far.
    pub(crate) fn heard(&self) -> Vec<Seen> {
        parse(&self.heard.borrow())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_finished()
    }

    /// The most bytes that were held, beyond what was held before.
    pub(crate) fn held(&self) -> usize {
        self.peak.saturating_sub(self.memory_before)
    }

    /// A tunnel, if the victim is a client, that was answered with 200.
    pub(crate) async fn open(&mut self, stream: u32) -> Tunnel {
        let client = self.client.clone().unwrap();
        let open = tokio::task::spawn_local(async move { client.open(request()).await });
        self.quiet().await;
        self.send(&frame(crate::frames::HEADERS, crate::frames::END_HEADERS, stream, crate::frames::OK))
            .await;
        let tunnel = open.await.unwrap().unwrap();
        self.frames = 0;
        tunnel
    }

    /// Waits for the end, checks that the neighbour was never held up and what was held, and says why it ended.
    pub(crate) async fn end(self) -> (Option<ConnectionError>, Vec<Seen>) {
        let (held, heard) = (self.held(), Rc::clone(&self.heard));
        assert!(held <= MOST_HELD, "{held} bytes were held");
        let Self { io, end, neighbour, rounds_before, frames, .. } = self;
        let mut end = end;
        for _ in 0..100_000 {
            if end.is_finished() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(end.is_finished(), "the connection is still there");
        assert!(frames < 100 || neighbour.rounds() > rounds_before, "the neighbour went on meanwhile");
        let error = (&mut end).await.unwrap();
        neighbour.goes_on().await;
        drop(io);
        let heard = heard.borrow();
        (error, parse(heard.strip_prefix(PREFACE).unwrap_or(&heard)))
    }
}

/// What a hostile connection may make us hold: 1 MiB.
const MOST_HELD: usize = 1 << 20;

/// The most frames that a connection survives.
pub(crate) const MOST_FRAMES: usize = 2000;

pub(crate) struct StoppedReading {
    _reading: Option<()>,
}

pub(crate) fn request() -> ConnectRequest {
    ConnectRequest::new("10.0.0.5:8080".parse().unwrap())
}

async fn listen(mut io: ReadHalf<DuplexStream>, heard: Rc<RefCell<Vec<u8>>>) -> ReadHalf<DuplexStream> {
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = io.read(&mut buffer).await {
        let mut heard = heard.borrow_mut();
        // What is kept here is not the victim's: enough to see what it says, first and last.
        if heard.len() < 64 * 1024 {
            heard.extend_from_slice(&buffer[..count]);
        }
    }
    io
}

async fn serve(
    io: DuplexStream,
    config: Config,
    habit: Habit,
    arrivals: Rc<RefCell<usize>>,
    poured: Rc<RefCell<usize>>,
) -> Option<ConnectionError> {
    let mut server = server::handshake(io, &config).await.unwrap();
    loop {
        let incoming = match server.next().await {
            None => return None,
            Some(Err(error)) => return Some(error),
            Some(Ok(Arrival::Connect(incoming))) => incoming,
            Some(Ok(_)) => continue,
        };
        *arrivals.borrow_mut() += 1;
        match habit {
            Habit::Ponder => drop(tokio::task::spawn_local(wait(incoming))),
            Habit::Keep => {
                if let Ok(tunnel) = incoming.accept() {
                    tokio::task::spawn_local(keep(tunnel));
                }
            }
            Habit::Pour => {
                if let Ok(tunnel) = incoming.accept() {
                    tokio::task::spawn_local(pour(tunnel, Rc::clone(&poured)));
                }
            }
            Habit::Echo => {
                if let Ok(tunnel) = incoming.accept() {
                    tokio::task::spawn_local(echo(tunnel, Rc::clone(&poured)));
                }
            }
        }
    }
}

/// Until the request is taken back.
async fn wait(mut incoming: Incoming) {
    incoming.reset().await;
}

/// Until the tunnel is cut.
async fn keep(tunnel: Tunnel) {
    let (_recv, mut send) = tunnel.into_split();
    std::future::poll_fn(|cx| send.poll_reset(cx)).await;
}

/// Until the tunnel ends.
async fn echo(tunnel: Tunnel, poured: Rc<RefCell<usize>>) {
    let (mut recv, mut send) = tunnel.into_split();
    while let Some(Ok(bytes)) = recv.data().await {
        let count = bytes.len();
        if send.send_all(bytes).await.is_err() {
            return;
        }
        *poured.borrow_mut() += count;
    }
    let _ = send.finish();
}

/// Until the tunnel is cut.
async fn pour(tunnel: Tunnel, poured: Rc<RefCell<usize>>) {
    static WATER: [u8; 16 * 1024] = [7; 16 * 1024];
    let (_recv, mut send) = tunnel.into_split();
    loop {
        let Ok(room) = send.capacity(WATER.len()).await else { return };
        // A copy, as of what an application wrote.
        if send.send(bytes::Bytes::copy_from_slice(&WATER[..room])).is_err() {
            return;
        }
        *poured.borrow_mut() += room;
    }
}
