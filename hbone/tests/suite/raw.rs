//! A peer made of frames, for what h2 would not let a peer do.

use std::time::Duration;

use inpod_hbone::{Arrival, Client, Config, Driver, Server, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use crate::pair::settled;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Frame types, RFC 9113 section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

// Flags, RFC 9113 section 6.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

// Error codes, RFC 9113 section 7.
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const CONNECT_ERROR: u32 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The code of a RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    /// The status of a connection's first answer, where it is in the static table (RFC 7541 appendix A).
    pub(crate) fn status(&self) -> Option<u16> {
        match (self.kind, self.payload.first()) {
            (HEADERS, Some(0x88)) => Some(200),
            (HEADERS, Some(0x8c)) => Some(400),
            _ => None,
        }
    }
}

/// RFC 9113 section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Fields as literals with literal names, RFC 7541 section 6.2.2.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The peer, after the preface.
pub(crate) struct Peer {
    io: DuplexStream,
}

impl Peer {
    /// A raw client of our server, which tells of what arrives.
    pub(crate) async fn of_server(config: &Config) -> (Self, Server<DuplexStream>) {
        let (mut io, far) = tokio::io::duplex(1 << 20);
        io.write_all(PREFACE).await.unwrap();
        io.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        (Self { io }, server::handshake(far, config).await.unwrap())
    }

    /// A raw server of our client.
    pub(crate) async fn of_client(config: &Config) -> (Self, Client, Driver<DuplexStream>) {
        let (mut io, near) = tokio::io::duplex(1 << 20);
        let (client, driver) = client::handshake(near, config).await.unwrap();
        io.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        io.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        (Self { io }, client, driver)
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.io.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    pub(crate) async fn headers(&mut self, flags: u8, stream: u32, list: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, &fields(list)).await;
    }

    /// The next frame of the stream, which comes without waiting for time to pass; others are passed over. `None` if there
    /// is none.
    pub(crate) async fn next(&mut self, stream: u32) -> Option<Frame> {
        while let Some(frame) = settled(self.read()).await {
            if frame.stream == stream {
                return Some(frame);
            }
        }
        None
    }

    /// As `next`, but window updates are passed over as well.
    pub(crate) async fn answer(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let next = self.next(stream).await?;
            if next.kind != WINDOW_UPDATE {
                return Some(next);
            }
        }
    }

    /// The next frame of that type, after any time below a day.
    pub(crate) async fn wait_for(&mut self, kind: u8) -> Frame {
        let found = async {
            loop {
                let frame = self.read().await;
                if frame.kind == kind && frame.flags & ACK == 0 {
                    return frame;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(24 * 3600), found).await.unwrap()
    }

    async fn read(&mut self) -> Frame {
        let mut head = [0; 9];
        // Cancelled only when nothing comes, which is between two frames.
        self.io.read_exact(&mut head).await.unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c)];
        self.io.read_exact(&mut payload).await.unwrap();
        Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }
    }
}

/// Runs a server; what it tells is read by `next`.
pub(crate) fn arrivals(mut server: Server<DuplexStream>) -> Arrivals {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let running = tokio::spawn(async move {
        while let Some(arrival) = server.next().await {
            if send.send(arrival.unwrap()).is_err() {
                return;
            }
        }
    });
    Arrivals { receive, _running: running }
}

pub(crate) struct Arrivals {
    receive: tokio::sync::mpsc::UnboundedReceiver<Arrival>,
    _running: JoinHandle<()>,
}

impl Arrivals {
    /// What has come; `None` if nothing has.
    pub(crate) async fn next(&mut self) -> Option<Arrival> {
        settled(self.receive.recv()).await.flatten()
    }
}

/// A CONNECT as it should be.
pub(crate) const CONNECT: &[(&str, &str)] = &[(":method", "CONNECT"), (":authority", "10.0.0.5:8080")];
