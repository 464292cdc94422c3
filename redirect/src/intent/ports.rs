//! Ports: where the proxy listens in the pod.

use std::fmt;

use crate::port::Port;

/// The ports on which the proxy listens in the pod. Its listeners are on the wildcard address: a redirected
/// connection arrives at loopback (out) or at the pod's own address (in).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Takes what the application sends, `SO_ORIGINAL_DST` tells to where.
    pub outbound: Port,
    /// Takes what arrives for the application outside any tunnel.
    pub inbound_plaintext: Port,
    /// Takes tunnels (HBONE). Peers connect to it themselves: it is excepted from capture, not redirected to.
    pub inbound_hbone: Port,
}

impl Ports {
    /// Istio's: 15001, 15006, 15008.
    pub const ISTIO: Self = Self {
        outbound: Port::literal(15001),
        inbound_plaintext: Port::literal(15006),
        inbound_hbone: Port::literal(15008),
    };
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortRole {
    /// [`Ports::outbound`].
    Outbound,
    /// [`Ports::inbound_plaintext`].
    InboundPlaintext,
    /// [`Ports::inbound_hbone`].
    InboundHbone,
    /// [`DnsCapture::To`](crate::DnsCapture::To).
    Dns,
}

impl fmt::Display for PortRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outbound => "the outbound port",
            Self::InboundPlaintext => "the inbound plaintext port",
            Self::InboundHbone => "the inbound HBONE port",
            Self::Dns => "the DNS port",
        })
    }
}
