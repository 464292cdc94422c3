//! Watch: the kernel's word that rules or routing of a namespace have changed. What has changed, [`verify`](crate::verify) tells.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};

use crate::error::KernelError;

/// `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`), as a bit (netlink(7)).
const NFTABLES: u32 = 1 << (7 - 1);
/// `RTNLGRP_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_ROUTE`, `_IPV6_RULE` (`linux/rtnetlink.h`), likewise.
const ROUTING: u32 = 1 << (7 - 1) | 1 << (8 - 1) | 1 << (11 - 1) | 1 << (19 - 1);

/// What the kernel keeps for us until it is taken, in bytes: a few messages. What is lost says that there was something.
const BUFFER: usize = 8 * 1024;

/// Tells when something has changed in the namespace in which it was opened, by whomever. The descriptor becomes readable then.
///
/// It tells more than what concerns a plan, and nothing of `iptables-legacy`, whose changes the kernel does not announce.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
}

impl Watch {
    /// Watches nf_tables, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`KernelError`]; it needs `CAP_NET_ADMIN` there.
    pub fn nf_tables() -> Result<Self, KernelError> {
        Self::open(SockProtocol::NetlinkNetFilter, NFTABLES)
    }

    /// Watches routes and policy rules of both families, likewise.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn routing() -> Result<Self, KernelError> {
        Self::open(SockProtocol::NetlinkRoute, ROUTING)
    }

    fn open(protocol: SockProtocol, groups: u32) -> Result<Self, KernelError> {
        let open = || {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            Ok(socket)
        };
        let socket = open().map_err(|errno: nix::Error| KernelError::Open(errno.into()))?;
        Ok(Self { socket })
    }

    /// Takes all that it was told until now. Whether that was anything.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn take(&self) -> io::Result<bool> {
        let mut something = false;
        // The kernel cuts what does not fit, which nobody reads.
        let mut message = [0; 1];
        loop {
            match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
                // No room was left: something was lost.
                Ok(_) | Err(nix::Error::ENOBUFS) => something = true,
                Err(nix::Error::EAGAIN) => return Ok(something),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For event loops that want a descriptor of their own: each read is one thing that has changed; what it says is of no use.
impl From<Watch> for OwnedFd {
    fn from(watch: Watch) -> Self {
        watch.socket
    }
}
