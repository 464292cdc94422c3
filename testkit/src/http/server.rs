//! The server: a thread that accepts, and one for each connection.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netns::{Namespace, SocketError, SocketOptions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::message::Message;

/// A server in a namespace, on all its addresses of both families, until it is dropped.
#[derive(Debug)]
pub struct Server {
    port: u16,
    shared: Arc<Mutex<State>>,
    /// Closing it ends the accepting thread.
    running: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; port 0 takes any that is free. Connections are accepted once this returns.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, or the port is taken.
    pub fn start(namespace: &Namespace, port: u16) -> io::Result<Self> {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = listen(namespace, everywhere).map_err(io::Error::other)?;
        let port = listener.local_addr()?.port();
        let (stopped, running) = io::pipe()?;
        let shared = Arc::new(Mutex::new(State::default()));
        let state = Arc::clone(&shared);
        let accept = move || accept_until(&stopped, &listener, &state);
        let thread = thread::Builder::new().name(format!("http-{port}")).spawn(accept)?;
        Ok(Self { port, shared, running: Some(running), thread: Some(thread) })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whom it saw, in the order of their connections; IPv4 addresses as such. At most the first 65536.
    #[must_use]
    pub fn peers(&self) -> Vec<SocketAddr> {
        lock(&self.shared).peers.clone()
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        lock(&self.shared).requests
    }

    /// How many bytes of bodies it has received.
    #[must_use]
    pub fn received(&self) -> u64 {
        lock(&self.shared).received
    }
}

/// Ends its connections and waits for its threads.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // What it has seen is of no more use, so neither is that it panicked.
            let _ = thread.join();
        }
    }
}

/// How often a port that is taken is tried again, and after how long.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A program that another test starts in this very moment has all our sockets until it is executed: that of a server that has just ended, too.
fn listen(namespace: &Namespace, address: SocketAddr) -> Result<TcpListener, SocketError> {
    let is_taken = |error: &SocketError| {
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|source| source.kind() == io::ErrorKind::AddrInUse)
    };
    for _ in 1..TRIES {
        match namespace.tcp_listener(address, &SocketOptions::default()) {
            Err(error) if is_taken(&error) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    namespace.tcp_listener(address, &SocketOptions::default())
}

/// What all threads of a server see.
#[derive(Debug, Default)]
struct State {
    peers: Vec<SocketAddr>,
    requests: u64,
    received: u64,
    /// The connections, to be ended with the server.
    open: BTreeMap<u64, TcpStream>,
    accepted: u64,
}

/// How many peers are remembered.
const PEERS: usize = 1 << 16;

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_until(stopped: &PipeReader, listener: &TcpListener, state: &Mutex<State>) {
    thread::scope(|connections| {
        while wait(stopped, listener) {
            let Ok((stream, peer)) = listener.accept() else { continue };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            if let Ok(number) = remember(state, &stream, peer) {
                let serve = move || {
                    // The connection ends with its first error; the client sees that.
                    let _ = serve(&stream, peer, state);
                    lock(state).open.remove(&number);
                };
                let named = thread::Builder::new().name(format!("http-{peer}"));
                if named.spawn_scoped(connections, serve).is_err() {
                    lock(state).open.remove(&number);
                }
            }
        }
        for stream in lock(state).open.values() {
            // One that has ended by itself needs no ending.
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

/// Waits for a connection; `false` when the server is to stop.
fn wait(stopped: &PipeReader, listener: &TcpListener) -> bool {
    let mut ready =
        [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::NONE) {
        Ok(_) => ready.last().is_some_and(|stop| stop.any() == Some(false)),
        Err(errno) => errno == nix::Error::EINTR,
    }
}

fn remember(state: &Mutex<State>, stream: &TcpStream, peer: SocketAddr) -> io::Result<u64> {
    stream.set_nonblocking(false)?;
    let to_end = stream.try_clone()?;
    let mut state = lock(state);
    state.accepted += 1;
    let number = state.accepted;
    state.open.insert(number, to_end);
    if state.peers.len() < PEERS {
        state.peers.push(peer);
    }
    Ok(number)
}

fn serve(stream: &TcpStream, peer: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Message::read(&mut reader)? {
        {
            let mut state = lock(state);
            state.requests += 1;
            state.received += u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        }
        let mut body = format!("peer={peer}\n").into_bytes();
        body.extend(&request.body);
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        response.extend(body);
        let mut writer = stream;
        writer.write_all(&response)?;
        if request.closes {
            return stream.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}
