//! Load: connections that open, talk and close all the time, and that know who answers them.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, yield_now};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use testkit::kernel::Outcome;
use testkit::lab::Pod;

use crate::scene::{MARK, PATIENCE, connect, set_transparent, unmarked};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Server,
    Proxy,
}

impl Who {
    fn tag(self) -> u8 {
        match self {
            Self::Server => b'S',
            Self::Proxy => b'P',
        }
    }
}

/// What has gone wrong anywhere.
type Faults = Arc<Mutex<Vec<String>>>;

fn note(faults: &Faults, fault: impl ToString) {
    faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault.to_string());
}

/// A server that answers each message with itself, and with who it is.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    faults: Faults,
}

/// How often it looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// What each message of a client ends with.
pub(crate) const CANARY: &[u8; 24] = b"what a load says to all!";
/// How long a message is, in bytes.
pub(crate) const MESSAGE: usize = 8 + CANARY.len();

impl Echo {
    pub(crate) fn start(pod: &Pod, ip: IpAddr, port: u16, who: Who) -> Result<Self, Box<dyn Error>> {
        let listener = pod.run(|| -> std::io::Result<TcpListener> {
            let address = SocketAddr::new(ip, port);
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            if who == Who::Proxy {
                socket.set_mark(MARK)?;
                set_transparent(&socket, address)?;
            }
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(1024)?;
            Ok(socket.into())
        })??;
        SockRef::from(&listener).set_read_timeout(Some(GLANCE))?;
        let (stop, faults) = (Arc::new(AtomicBool::new(false)), Faults::default());
        let (told, noted) = (stop.clone(), faults.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, from)) => {
                        let noted = noted.clone();
                        std::thread::spawn(move || {
                            if let Err(error) = echo(stream, who) {
                                note(&noted, format!("{who:?} with {from}: {error}"));
                            }
                        });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => note(&noted, format!("{who:?} accepts: {error}")),
                }
            }
        });
        Ok(Self { stop, thread: Some(thread), faults })
    }

    /// What has gone wrong so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn echo(mut stream: TcpStream, who: Who) -> std::io::Result<()> {
    // It has inherited the listener's.
    stream.set_read_timeout(None)?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    loop {
        let (first, rest) = message.split_at_mut(1);
        if stream.read(first)? == 0 {
            return Ok(());
        }
        stream.read_exact(rest)?;
        stream.write_all(&[&[who.tag()], &message[..]].concat())?;
    }
}

/// How long the connections of a load live.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// Some messages, then another takes its place.
    Short,
    /// As long as the load.
    Long,
}

/// Clients in a pod, some connections each.
pub(crate) struct Load {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
    connections: u64,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    opened: AtomicU64,
    /// Messages answered.
    by_server: AtomicU64,
    by_proxy: AtomicU64,
    rounds: AtomicU64,
    faults: Faults,
}

/// What came of a load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) by_server: u64,
    pub(crate) by_proxy: u64,
    pub(crate) faults: Vec<String>,
}

const THREADS: u64 = 4;

impl Load {
    /// Starts, and returns when as many connections as asked for are open.
    pub(crate) fn start(
        pod: &Pod,
        to: SocketAddr,
        connections: u64,
        life: Life,
    ) -> Result<Self, Box<dyn Error>> {
        let state = Arc::new(State::default());
        let spawn = |_| {
            let (pod, state) = (pod.clone(), state.clone());
            std::thread::spawn(move || {
                let mut client = Client { pod: &pod, to, life, state: &state, counter: 0 };
                client.run(connections / THREADS);
            })
        };
        let load = Self { threads: (0..THREADS).map(spawn).collect(), state: state.clone(), connections };
        until(|| load.state.opened.load(Ordering::Relaxed) >= load.connections || load.is_faulty())?;
        Ok(load)
    }

    fn is_faulty(&self) -> bool {
        !self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Returns when each thread has been round all its connections some times more.
    pub(crate) fn go_on(&self) -> Outcome {
        let enough = self.state.rounds.load(Ordering::Relaxed) + 10 * THREADS;
        until(|| self.state.rounds.load(Ordering::Relaxed) >= enough || self.is_faulty())
    }

    /// A last message on each connection, and its end in good order.
    pub(crate) fn finish(self) -> Report {
        self.state.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                note(&self.state.faults, "a client has panicked");
            }
        }
        let faults = self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report {
            by_server: self.state.by_server.load(Ordering::Relaxed),
            by_proxy: self.state.by_proxy.load(Ordering::Relaxed),
            faults,
        }
    }
}

/// Waits for something that other threads do.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > end {
            return Err("it does not come about".into());
        }
        yield_now();
    }
    Ok(())
}

struct Client<'load> {
    pod: &'load Pod,
    to: SocketAddr,
    life: Life,
    state: &'load State,
    counter: u64,
}

/// A connection, who answers on it, and how many messages it has left.
struct Open {
    stream: TcpStream,
    who: Option<Who>,
    left: u64,
}

impl Client<'_> {
    fn run(&mut self, connections: u64) {
        let mut slots: Vec<Option<Open>> = (0..connections).map(|_| None).collect();
        while !self.state.stop.load(Ordering::Relaxed) {
            for slot in &mut slots {
                if let Err(error) = self.turn(slot) {
                    note(&self.state.faults, format!("to {}: {error}", self.to));
                    *slot = None;
                }
            }
            self.state.rounds.fetch_add(1, Ordering::Relaxed);
        }
        for mut open in slots.into_iter().flatten() {
            let ended = self.talk(&mut open).and_then(|()| close(open));
            if let Err(error) = ended {
                note(&self.state.faults, format!("to {} at the end: {error}", self.to));
            }
        }
    }

    fn turn(&mut self, slot: &mut Option<Open>) -> Outcome {
        let mut open = match slot.take() {
            Some(open) => open,
            None => self.open().map_err(|error| format!("connecting: {error}"))?,
        };
        let (from, who, left) = (open.stream.local_addr()?, open.who, open.left);
        self.talk(&mut open)
            .map_err(|error| format!("{error}, from {from}, with {who:?}, before the last {left}"))?;
        open.left -= 1;
        if open.left == 0 {
            return close(open);
        }
        *slot = Some(open);
        Ok(())
    }

    fn open(&mut self) -> Result<Open, Box<dyn Error>> {
        let stream = connect(self.pod, self.to, unmarked)?;
        stream.set_nodelay(true)?;
        self.state.opened.fetch_add(1, Ordering::Relaxed);
        self.counter += 1;
        let left = match self.life {
            Life::Short => 1 + self.counter % 17,
            Life::Long => u64::MAX,
        };
        Ok(Open { stream, who: None, left })
    }

    fn talk(&mut self, open: &mut Open) -> Outcome {
        self.counter += 1;
        let message = [&self.counter.to_be_bytes()[..], CANARY].concat();
        open.stream.write_all(&message)?;
        let (mut tag, mut answer) = ([0], [0; MESSAGE]);
        open.stream.read_exact(&mut tag)?;
        open.stream.read_exact(&mut answer)?;
        assert_eq!(answer[..], message[..]);
        let who = if tag == [Who::Proxy.tag()] { Who::Proxy } else { Who::Server };
        if *open.who.get_or_insert(who) != who {
            return Err(format!("a connection with {:?} is answered by {who:?}", open.who).into());
        }
        let answered = match who {
            Who::Server => &self.state.by_server,
            Who::Proxy => &self.state.by_proxy,
        };
        answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn close(mut open: Open) -> Outcome {
    open.stream.shutdown(Shutdown::Write)?;
    match open.stream.read(&mut [0; 1])? {
        0 => Ok(()),
        _ => Err("more than was asked for".into()),
    }
}
