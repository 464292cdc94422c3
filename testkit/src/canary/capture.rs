//! The capture: a packet socket, and a thread that empties it.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread::{self, JoinHandle};

use netns::{EnterError, Namespace};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{LinkAddr, getsockopt, recvfrom, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::Frames;
use crate::rtnetlink::{LOOPBACK, Rtnetlink};

/// A running capture of one interface, both directions: every frame from [`start`](Self::start) to
/// [`stop`](Self::stop), up to 64 MiB; what did not fit is counted.
#[derive(Debug)]
pub struct Capture {
    /// Closing it tells the thread to take what is there and end.
    running: PipeWriter,
    thread: JoinHandle<io::Result<Frames>>,
}

impl Capture {
    /// Starts to capture an interface of a namespace. What is sent after this returns is seen.
    ///
    /// # Errors
    ///
    /// [`CaptureError`]: no such interface, or `CAP_NET_RAW` is missing over the namespace.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self, CaptureError> {
        let (kernel, socket) = namespace.run(|| (Rtnetlink::open(), packet_socket()))?;
        let socket = socket.map_err(CaptureError::Socket)?;
        let index = kernel
            .and_then(|mut kernel| kernel.index_of(interface))
            .map_err(|source| CaptureError::Interface { name: interface.to_owned(), source })?;
        let (stopped, running) = io::pipe().map_err(CaptureError::Socket)?;
        let collect = move || Tap { socket, index }.collect(&stopped);
        let thread =
            thread::Builder::new().name("capture".to_owned()).spawn(collect).map_err(CaptureError::Socket)?;
        Ok(Self { running, thread })
    }

    /// Ends the capture, with what has passed so far.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the socket failed meanwhile; what it saw proves nothing then.
    pub fn stop(self) -> Result<Frames, CaptureError> {
        drop(self.running);
        let collected = self.thread.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
        collected.map_err(CaptureError::Receive)
    }
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// No packet socket, or nothing to empty it.
    #[error("cannot open a packet socket")]
    Socket(#[source] io::Error),
    /// No such interface.
    #[error("cannot find the interface {name}")]
    Interface {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket failed while it captured.
    #[error("cannot receive frames")]
    Receive(#[source] io::Error),
}

/// packet(7), all protocols. It is not bound, so it hears every interface of its namespace from its making.
fn packet_socket() -> io::Result<Socket> {
    let every_protocol = i32::from(ETH_P_ALL.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(every_protocol)))?;
    // Beyond the administrator's limit where we may, else as far as the limit goes; drops are counted either way.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    Ok(socket)
}

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
/// linux/if_packet.h: the type of a packet that this host sends.
const PACKET_OUTGOING: u8 = 4;
/// What the kernel may hold before the thread reads it.
const SOCKET_BUFFER: usize = 32 << 20;
/// More than the largest frame: segmentation is offloaded on virtual cables, so 64 KiB and headers.
const FRAME_BUFFER: usize = 128 << 10;
/// More would be a test's mistake.
const KEPT: usize = 64 << 20;

struct Tap {
    socket: Socket,
    index: u32,
}

impl Tap {
    fn collect(&self, stopped: &PipeReader) -> io::Result<Frames> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; FRAME_BUFFER];
        loop {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                polled => polled?,
            };
            // Asked before the socket is emptied, so that nothing sent before the stop is missed.
            let [_, stop] = ready.map(|descriptor| descriptor.any().unwrap_or(true));
            self.empty_into(&mut frames, &mut buffer)?;
            if stop {
                let statistics = getsockopt(&self.socket, PacketStatistics)?;
                frames.count_drops(u64::from(statistics.tp_drops));
                return Ok(frames);
            }
        }
    }

    fn empty_into(&self, frames: &mut Frames, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
                Ok((length, Some(from))) if self.is_mine(&from) => {
                    frames.keep(buffer.get(..length).unwrap_or_default(), KEPT);
                }
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn is_mine(&self, from: &LinkAddr) -> bool {
        // On loopback each frame comes twice: as it is sent, and as it arrives.
        let again = self.index == LOOPBACK && from.pkttype() == PACKET_OUTGOING;
        u32::try_from(from.ifindex()).is_ok_and(|index| index == self.index) && !again
    }
}

/// `PACKET_STATISTICS` of packet(7): reading it resets it.
#[derive(Clone, Copy, Debug)]
struct PacketStatistics;

nix::getsockopt_impl!(
    PacketStatistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats,
    sockopt::GetStruct<libc::tpacket_stats>
);
