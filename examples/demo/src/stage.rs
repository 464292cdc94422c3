//! Stage: the pods, and the server that runs in one of them.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use clap::ValueEnum;
use testkit::lab::{Lab, Pod};

use crate::app::Url;
use crate::program::Server;

/// The server's port.
pub(crate) const PORT: u16 = 8080;

/// The three pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PodName {
    /// In the mesh
    Client,
    /// In the mesh; serves HTTP on port 8080
    Server,
    /// On the same bridge, not in the mesh
    Outsider,
}

/// Three pods on a bridge, and a server in one.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) program: Server,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) outsider: Pod,
    pub(crate) lab: Lab,
}

impl Stage {
    pub(crate) fn build() -> Result<Self> {
        let lab = Lab::new()?;
        let (client, server, outsider) = (lab.pod("client")?, lab.pod("server")?, lab.pod("outsider")?);
        Ok(Self { program: Server::start(&server, PORT)?, client, server, outsider, lab })
    }

    pub(crate) fn pod(&self, name: PodName) -> &Pod {
        match name {
            PodName::Client => &self.client,
            PodName::Server => &self.server,
            PodName::Outsider => &self.outsider,
        }
    }

    /// All pods.
    pub(crate) fn pods(&self) -> [&Pod; 3] {
        [&self.client, &self.server, &self.outsider]
    }

    /// The pods that are, or will be, in the mesh.
    pub(crate) fn members(&self) -> [&Pod; 2] {
        [&self.client, &self.server]
    }

    /// Where the server answers, over IPv4.
    pub(crate) fn url_v4(&self, path: impl Into<String>) -> Url {
        url(self.server.v4().into(), path)
    }

    /// Where the server answers, over IPv6.
    pub(crate) fn url_v6(&self, path: impl Into<String>) -> Url {
        url(self.server.v6().into(), path)
    }
}

fn url(address: IpAddr, path: impl Into<String>) -> Url {
    Url::new(SocketAddr::new(address, PORT), path)
}
