//! Plain TCP inside pods, as applications use it, every step with a time limit.

use std::io::{self, Read as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use testkit::lab::Pod;

use super::{LIMIT, Result};

/// Connects from inside `pod`.
pub(crate) fn connect(pod: &Pod, to: impl Into<SocketAddr>) -> Result<TcpStream> {
    let to = to.into();
    let stream = pod.run(|| TcpStream::connect_timeout(&to, LIMIT))??;
    limit(&stream)?;
    Ok(stream)
}

/// Listens in `pod` on all its addresses.
pub(crate) fn listen(pod: &Pod, port: u16) -> Result<TcpListener> {
    Ok(pod.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??)
}

/// The next connection, and who made it.
pub(crate) fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::try_from(LIMIT)?)? == 0 {
        return Err("nobody connected".into());
    }
    let (stream, peer) = listener.accept()?;
    limit(&stream)?;
    Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
}

/// Both ends of a connection from `client` to a new listener at `to`, which is an address of `server`.
pub(crate) fn pair(client: &Pod, server: &Pod, to: impl Into<SocketAddr>) -> Result<(TcpStream, TcpStream)> {
    let to = to.into();
    let listener = listen(server, to.port())?;
    let near = connect(client, to)?;
    let (far, _) = accept(&listener)?;
    Ok((near, far))
}

/// All that still comes. Ends in order or not at all.
pub(crate) fn read_to_end(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes closing it a reset.
pub(crate) fn set_reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Whether `read` says that the connection was reset, rather than that it ended in order or is still there.
pub(crate) fn is_cut<T>(read: &io::Result<T>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

/// Whether the connection ends without a byte. The kernel established it before the proxy knew where it goes, so this is
/// how the application learns that it goes nowhere.
pub(crate) fn is_turned_away(stream: &TcpStream) -> bool {
    let read = read_to_end(stream);
    is_cut(&read) || read.is_ok_and(|bytes| bytes.is_empty())
}

/// How many sockets listen on `port` in `pod`.
pub(crate) fn listening(pod: &Pod, port: u16) -> Result<usize> {
    testkit::listening(pod.namespace(), port)
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)
}
