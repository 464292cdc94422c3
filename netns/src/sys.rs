//! The system calls that nix and socket2 do not offer. All `unsafe` of this crate is here.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use libc::{c_int, c_long, socklen_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ioctl::ioctl_num_type;
use socket2::{Domain, Socket, Type};

/// A descriptor for a process, closed on exec: [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html).
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let no_such_process = |_| io::Error::from_raw_os_error(libc::ESRCH);
    let pid = libc::pid_t::try_from(pid).map_err(no_such_process)?;
    // SAFETY: takes two integers and touches no memory of ours.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a non-negative result is a new descriptor that nothing else owns.
    unsafe { owned(descriptor) }
}

/// The network namespace of the process behind a pidfd: `PIDFD_GET_NET_NAMESPACE`,
/// [ioctl_pidfd(2)](https://man7.org/linux/man-pages/man2/PIDFD_GET_NET_NAMESPACE.2const.html), Linux 6.11.
pub(crate) fn pidfd_network_namespace(process: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // _IO(PIDFS_IOCTL_MAGIC, 4) in linux/pidfd.h.
    const PIDFD_GET_NET_NAMESPACE: ioctl_num_type = nix::request_code_none!(0xff, 4);
    // SAFETY: this request takes no argument that points anywhere (it must be zero).
    let descriptor = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_NET_NAMESPACE, 0) };
    // SAFETY: a non-negative result is a new descriptor that nothing else owns.
    unsafe { owned(c_long::from(descriptor)) }
}

/// The network namespace of a socket: `SIOCGSKNS`, Linux 4.9. Needs `CAP_NET_ADMIN` there.
///
/// The descriptor must be a socket: elsewhere the number may mean something else.
pub(crate) fn socket_network_namespace(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // linux/sockios.h.
    const SIOCGSKNS: ioctl_num_type = 0x894C;
    // SAFETY: this request takes no argument.
    let descriptor = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    // SAFETY: a non-negative result is a new descriptor that nothing else owns.
    unsafe { owned(c_long::from(descriptor)) }
}

/// Whether the process behind a pidfd has ended: a pidfd becomes readable then (pidfd_open(2)).
pub(crate) fn has_ended(process: BorrowedFd<'_>) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(process, PollFlags::POLLIN)];
    Ok(poll(&mut descriptors, PollTimeout::ZERO)? > 0)
}

/// The `CLONE_NEW*` flag of a namespace's kind: `NS_GET_NSTYPE`,
/// [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html).
///
/// The descriptor must be one of the namespace file system: elsewhere the number may mean something else.
pub(crate) fn namespace_kind(namespace: BorrowedFd<'_>) -> io::Result<c_int> {
    // _IO(NSIO, 3) in linux/nsfs.h.
    const NS_GET_NSTYPE: ioctl_num_type = nix::request_code_none!(0xb7, 3);
    // SAFETY: this request takes no argument.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind) }
}

/// The cookie of the calling thread's network namespace: `SO_NETNS_COOKIE`, Linux 5.14; `None` before.
pub(crate) fn namespace_cookie() -> io::Result<Option<u64>> {
    // Any socket will do; a Unix one needs nothing of the network stack.
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie = 0_u64;
    let Ok(mut length) = socklen_t::try_from(size_of::<u64>()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: both pointers are to live variables of this function, and `length` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        return Ok(Some(cookie));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        error => Err(error),
    }
}

/// Takes the descriptor that a system call returned.
///
/// # Safety
///
/// If it is not negative, `result` is an open descriptor that nothing else owns.
unsafe fn owned(result: c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = RawFd::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
