//! Gateway: who is behind the name of a waypoint or of a network's gateway.

use std::net::{IpAddr, SocketAddr};

use identity::SpiffeId;

use super::{NoRoute, address_like, endpoint, identities};
use crate::address::HopAddr;
use crate::workload::{Gateway, GatewayDestination, NetworkAddress, Service, Snapshot, Workload};

/// A workload that was found by a gateway's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) workload: &'a Workload,
    /// The service among whose endpoints it was chosen.
    pub(super) service: Option<&'a Service>,
    /// The address that it was named by.
    named: Option<IpAddr>,
    port: u16,
}

/// The workload that has a gateway's address, or one of its service's endpoints that are `usable`.
pub(super) fn find<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    gateway: &Gateway,
    usable: impl Fn(&Workload) -> bool,
    pick: u64,
) -> Option<Found<'a>> {
    let service = match &gateway.destination {
        GatewayDestination::Service(name) => snapshot.service(name)?,
        GatewayDestination::Address(NetworkAddress { network, address }) => {
            if let Some(workload) = snapshot.workload_at(network, *address) {
                let (named, port) = (Some(*address), gateway.hbone_port);
                return Some(Found { workload, service: None, named, port });
            }
            snapshot.service_at(network, &source.name.namespace, *address)?
        }
    };
    let (workload, port) = endpoint::choose(snapshot, service, gateway.hbone_port, usable, pick)?;
    Some(Found { workload, service: Some(service), named: None, port })
}

impl Found<'_> {
    /// What is dialled; of several addresses one like `like`.
    pub(super) fn hop(&self, like: IpAddr) -> Result<HopAddr, NoRoute> {
        let address = self.named.map_or_else(|| address_like(self.workload, like), Ok)?;
        Ok(HopAddr::new(SocketAddr::new(address, self.port)))
    }

    /// Of which it must prove one.
    pub(super) fn identities(&self) -> Vec<SpiffeId> {
        identities(self.workload, self.service)
    }
}
