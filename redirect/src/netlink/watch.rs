//! Watch: the kernel's word that rules or routing of a namespace have changed. What has changed, [`verify`](crate::verify) tells.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

use crate::error::KernelError;

/// `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`).
const NFTABLES: u32 = 7;
/// `RTNLGRP_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_ROUTE`, `_IPV6_RULE` (`linux/rtnetlink.h`).
const ROUTING: [u32; 4] = [7, 8, 11, 19];

/// What the kernel keeps for us until it is taken, in bytes: a few messages. What is lost says that there was something.
const BUFFER: usize = 8 * 1024;

/// Tells when something has changed in the namespace in which it was opened, by whomever. The descriptor becomes readable then.
///
/// It tells more than what concerns a plan, and nothing of `iptables-legacy`, whose changes the kernel does not announce.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// Watches nf_tables, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`KernelError`]; it needs `CAP_NET_ADMIN` there.
    pub fn nf_tables() -> Result<Self, KernelError> {
        Self::open(NETLINK_NETFILTER, &[NFTABLES])
    }

    /// Watches routes and policy rules of both families, likewise.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn routing() -> Result<Self, KernelError> {
        Self::open(NETLINK_ROUTE, &ROUTING)
    }

    fn open(family: isize, groups: &[u32]) -> Result<Self, KernelError> {
        let open = || {
            let mut socket = Socket::new(family)?;
            socket.set_non_blocking(true)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            groups.iter().try_for_each(|group| socket.add_membership(*group))?;
            Ok(Self { socket })
        };
        open().map_err(KernelError::Open)
    }

    /// Takes all that it was told until now. Whether that was anything.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn take(&self) -> io::Result<bool> {
        let mut something = false;
        // The kernel cuts what does not fit, which nobody reads.
        let mut message = [0_u8; 1];
        loop {
            match nix::sys::socket::recv(
                self.socket.as_raw_fd(),
                &mut message,
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(_) => something = true,
                // Something was lost.
                Err(nix::Error::ENOBUFS) => something = true,
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
