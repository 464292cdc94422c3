//! Choice of one of a service's endpoints.

use std::sync::Arc;

use crate::workload::{Endpoint, Service, Snapshot, Workload, endpoint_port};

/// An endpoint of `service` that serves `port` and is `usable`, and its own port there; drawn by `pick` with a share
/// proportional to its capacity.
pub(super) fn choose<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    port: u16,
    usable: impl Fn(&Workload) -> bool,
    pick: u64,
) -> Option<(&'a Arc<Workload>, u16)> {
    let serving = |endpoint: &'a Endpoint| {
        let port = endpoint_port(service, endpoint, port).filter(|_| usable(&endpoint.workload))?;
        Some((&endpoint.workload, port))
    };
    let serving = || snapshot.endpoints(&service.name).iter().filter_map(serving);
    let total: u64 = serving().map(|(workload, _)| u64::from(workload.capacity)).sum();
    let mut left = pick.checked_rem(total)?;
    serving().find(|(workload, _)| {
        let share = u64::from(workload.capacity);
        let here = left < share;
        left = left.saturating_sub(share);
        here
    })
}
