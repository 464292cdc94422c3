//! `x-forwarded-network`: in which network the asking side is.

use std::fmt;
use std::str::FromStr;

use super::{FieldError, Token};

/// The `x-forwarded-network` field: the name of the network that a request comes from, when it comes through gateways from
/// another one. There is no specification; Istio's ztunnel writes it, on the inner CONNECT of two.
///
/// A name is a [`Token`], which a label of Kubernetes always is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForwardedNetwork(Token);

impl ForwardedNetwork {
    /// The network's name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

super::field!(ForwardedNetwork, "x-forwarded-network", One);

impl FromStr for ForwardedNetwork {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ForwardedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
