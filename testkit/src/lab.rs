//! A node with a bridge, and pods on it: namespaces that live as long as their handles.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use netns::{EnterError, Namespace, OpenError};

use crate::rtnetlink::{LOOPBACK, Peer, Rtnetlink};

/// A node: a namespace with a bridge, `br0`, that the pods' cables end in.
///
/// ```text
///   node:  br0 10.77.0.1/16, fd77::1/64
///           |            |
///         pod2         pod3            cables
///           |            |
///   "a": eth0 10.77.0.2  "b": eth0 10.77.0.3, ...   each with a default route to br0
/// ```
///
/// Nothing of it has a name outside, so several labs live side by side, and all of it ends with the last handle.
#[derive(Debug)]
pub struct Lab {
    node: Namespace,
    bridge: u32,
    next: AtomicU16,
}

impl Lab {
    /// Builds a node without pods. Needs the rights of a [`sandbox`](crate::kernel::sandbox).
    ///
    /// # Errors
    ///
    /// [`LabError`], naming the step.
    pub fn new() -> Result<Self, LabError> {
        let node = Namespace::create()?;
        let mut kernel = kernel_of(&node)?;
        kernel.set_up(LOOPBACK).map_err(step("set lo up"))?;
        kernel.add_bridge(BRIDGE).map_err(step("make the bridge"))?;
        let bridge = kernel.index_of(BRIDGE).map_err(step("find the bridge"))?;
        let lab = Self { node, bridge, next: AtomicU16::new(FIRST_POD) };
        kernel.add_address(bridge, lab.v4().into(), V4_PREFIX).map_err(step("address the bridge"))?;
        kernel.add_address(bridge, lab.v6().into(), V6_PREFIX).map_err(step("address the bridge"))?;
        Ok(lab)
    }

    /// Adds a pod: a new namespace with `lo` and `eth0` up, both addresses usable at once, and default routes. The
    /// name is for people; it need not be unique.
    ///
    /// # Errors
    ///
    /// [`LabError`], naming the step.
    pub fn pod(&self, name: impl Into<String>) -> Result<Pod, LabError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let pod = Pod { name: name.into(), namespace: Namespace::create()?, v4: v4(number), v6: v6(number) };
        let peer = Peer { name: INTERFACE, namespace: pod.namespace.as_fd() };
        let cable = format!("pod{number}");
        kernel_of(&self.node)?.add_veth(&cable, self.bridge, peer).map_err(step("lay the cable"))?;
        let mut kernel = kernel_of(&pod.namespace)?;
        kernel.set_up(LOOPBACK).map_err(step("set lo up"))?;
        let index = kernel.index_of(INTERFACE).map_err(step("find the interface"))?;
        kernel.set_up(index).map_err(step("set the interface up"))?;
        kernel.add_address(index, pod.v4.into(), V4_PREFIX).map_err(step("address the interface"))?;
        kernel.add_address(index, pod.v6.into(), V6_PREFIX).map_err(step("address the interface"))?;
        for gateway in [IpAddr::from(self.v4()), IpAddr::from(self.v6())] {
            kernel.add_default_route(gateway).map_err(step("route to the bridge"))?;
        }
        for address in [IpAddr::from(pod.v4), IpAddr::from(pod.v6)] {
            settle(&self.node, &pod.namespace, address)?;
            settle(&pod.namespace, &pod.namespace, address)?;
        }
        Ok(pod)
    }

    /// The node's namespace: where the bridge is.
    #[must_use]
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// The bridge's IPv4 address, the node's among the pods.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        v4(NODE)
    }

    /// The bridge's IPv6 address, the node's among the pods.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        v6(NODE)
    }
}

/// Waits until packets pass to `address` in `to`: the kernel puts a new cable to use, and routes a new IPv6 address to its
/// owner, a little after it has said that it did.
fn settle(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<(), LabError> {
    let wildcard =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = |namespace: &Namespace, ip| namespace.run(|| UdpSocket::bind((ip, 0)));
    let (sender, receiver) = (socket(from, wildcard)?, socket(to, wildcard)?);
    let exchange = || {
        let (sender, receiver) = (sender?, receiver?);
        receiver.set_read_timeout(Some(SETTLE_STEP))?;
        let destination = SocketAddr::new(address, receiver.local_addr()?.port());
        for _ in 0..SETTLE_STEPS {
            // A route that is not there yet is an error at once; else the answer is waited for.
            if sender.send_to(b"settled?", destination).is_err() {
                std::thread::sleep(SETTLE_STEP);
            } else if receiver.recv(&mut [0; 8]).is_ok() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    };
    exchange().map_err(step("reach the pod"))
}

/// The node's interface among the pods.
pub const BRIDGE: &str = "br0";
/// Each pod's interface.
pub const INTERFACE: &str = "eth0";

/// How long one probe of a new pod is waited for, and how many there are: ten seconds in all.
const SETTLE_STEP: Duration = Duration::from_millis(10);
const SETTLE_STEPS: u32 = 1000;
const V4_PREFIX: u8 = 16;
const V6_PREFIX: u8 = 64;
const NODE: u16 = 1;
const FIRST_POD: u16 = 2;

fn v4(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

fn v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number)
}

/// A pod. Its namespace lives as long as this, a clone of it, or a program that runs in it.
#[derive(Clone, Debug)]
pub struct Pod {
    name: String,
    namespace: Namespace,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Pod {
    /// What it was called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Runs a closure inside; see [`Namespace::run`].
    ///
    /// # Errors
    ///
    /// As [`Namespace::run`].
    pub fn run<R>(&self, closure: impl FnOnce() -> R) -> Result<R, EnterError> {
        self.namespace.run(closure)
    }

    /// Starts a program inside. To end it is the caller's.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, or the program not started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // A child starts in the namespace of the thread that forks it.
        self.namespace.run(|| command.spawn()).map_err(io::Error::other)?
    }
}

/// Sets `lo` up in a namespace.
///
/// # Errors
///
/// [`LabError`] when the namespace cannot be entered or the kernel refuses.
pub fn loopback_up(namespace: &Namespace) -> Result<(), LabError> {
    kernel_of(namespace)?.set_up(LOOPBACK).map_err(step("set lo up"))
}

fn kernel_of(namespace: &Namespace) -> Result<Rtnetlink, LabError> {
    namespace.run(Rtnetlink::open)?.map_err(step("open rtnetlink"))
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> LabError {
    move |source| LabError::Step { step, source }
}

/// Why a lab could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// No new namespace.
    #[error(transparent)]
    Create(#[from] OpenError),
    /// The namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The kernel refused a request.
    #[error("cannot {step}")]
    Step {
        /// What was asked for.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
