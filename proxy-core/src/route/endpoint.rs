//! Choice of one of a service's endpoints.

use std::sync::Arc;

use crate::workload::{Endpoint, Service, Snapshot, Workload, endpoint_port};

/// An endpoint of `service` that serves `port` and is reachable in `network`, and its own port there; drawn by `pick`
/// with a share proportional to its capacity.
pub(super) fn choose<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    port: u16,
    network: &str,
    pick: u64,
) -> Option<(&'a Arc<Workload>, u16)> {
    let usable = |endpoint: &'a Endpoint| {
        let reachable = endpoint.workload.network == network && !endpoint.workload.addresses.is_empty();
        let port = endpoint_port(service, endpoint, port).filter(|_| reachable)?;
        Some((&endpoint.workload, port))
    };
    let usable = || snapshot.endpoints(&service.name).iter().filter_map(usable);
    let total: u64 = usable().map(|(workload, _)| u64::from(workload.capacity)).sum();
    let mut left = pick.checked_rem(total)?;
    usable().find(|(workload, _)| {
        let share = u64::from(workload.capacity);
        let here = left < share;
        left = left.saturating_sub(share);
        here
    })
}
