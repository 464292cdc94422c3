//! Snapshot: an immutable, indexed set of workloads, services and policies.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Health, NetworkAddress, PodName, Service, ServiceName, Workload};
use crate::policy::{Denied, Grounds, Permit, Policy, Question, Scope, decide, judge};

/// One workload's place behind a service.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) workload: Arc<Workload>,
    /// Service port to this endpoint's port.
    pub(crate) ports: BTreeMap<u16, u16>,
}

/// All facts at one moment. Cheap to share, never changed: a change is a new snapshot.
#[derive(Debug, Default)]
pub struct Snapshot {
    by_address: HashMap<IpAddr, Vec<Arc<Workload>>>,
    by_name: HashMap<PodName, Arc<Workload>>,
    services: HashMap<ServiceName, Arc<Service>>,
    by_vip: HashMap<IpAddr, Vec<Arc<Service>>>,
    by_hostname: HashMap<String, Vec<Arc<Service>>>,
    endpoints: HashMap<ServiceName, Vec<Endpoint>>,
    policies: Vec<Arc<Policy>>,
}

impl Snapshot {
    /// Starts an empty builder.
    #[must_use]
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// The workload that an agent names so.
    #[must_use]
    pub fn workload_named(&self, name: &PodName) -> Option<&Arc<Workload>> {
        self.by_name.get(name)
    }

    /// A workload of this namespace and name, whatever its service account: for who looks for a mistake.
    pub(crate) fn namesake(&self, name: &PodName) -> Option<&Arc<Workload>> {
        let is_it = |other: &PodName| (&other.namespace, &other.name) == (&name.namespace, &name.name);
        self.by_name.iter().find(|(other, _)| is_it(other)).map(|(_, workload)| workload)
    }

    /// The workload at an address, seen from `network`.
    #[must_use]
    pub fn workload_at(&self, network: &str, address: IpAddr) -> Option<&Arc<Workload>> {
        self.by_address.get(&address)?.iter().find(|workload| workload.network == network)
    }

    /// The service with a virtual address, seen from `network` and, when several share it, from `namespace`.
    #[must_use]
    pub fn service_at(&self, network: &str, namespace: &str, address: IpAddr) -> Option<&Arc<Service>> {
        let vip = NetworkAddress { network: network.to_owned(), address };
        let candidates = self.by_vip.get(&address)?;
        nearest(candidates.iter().filter(|service| service.vips.contains(&vip)), namespace)
    }

    /// The service with a hostname; when several namespaces have it, that of `namespace` first.
    #[must_use]
    pub fn service_named(&self, namespace: &str, hostname: &str) -> Option<&Arc<Service>> {
        nearest(self.by_hostname.get(hostname)?.iter(), namespace)
    }

    /// The service with exactly this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Healthy endpoints of a service.
    pub(crate) fn endpoints(&self, name: &ServiceName) -> &[Endpoint] {
        self.endpoints.get(name).map_or(&[], Vec::as_slice)
    }

    /// The port at which `workload` serves `service_port` of a service, if it is one of its endpoints.
    pub(crate) fn target_port(
        &self,
        service: &Service,
        workload: &Workload,
        service_port: u16,
    ) -> Option<u16> {
        let endpoint = self.endpoints(&service.name).iter().find(|e| e.workload.uid == workload.uid)?;
        endpoint_port(service, endpoint, service_port)
    }

    /// Whether policy lets a connection to `workload` pass.
    ///
    /// # Errors
    /// [`Denied`], also when the workload names a policy that is not known: what it would have said cannot be guessed.
    pub fn decide(&self, workload: &Workload, question: &Question<'_>) -> Result<Permit, Denied> {
        self.check_known(workload)?;
        decide(self.policies_for(workload), question)
    }

    /// What [`decide`](Self::decide) decides, and by what, without the right to dial.
    ///
    /// # Errors
    /// As [`decide`](Self::decide).
    pub fn judge(&self, workload: &Workload, question: &Question<'_>) -> Result<Grounds<'_>, Denied> {
        self.check_known(workload)?;
        judge(self.policies_for(workload), question)
    }

    fn check_known(&self, workload: &Workload) -> Result<(), Denied> {
        let known = |name: &str| self.policies.iter().any(|policy| policy.is_named(name));
        match workload.policies.iter().find(|name| !known(name)) {
            Some(policy) => Err(Denied::Unknown { policy: policy.clone() }),
            None => Ok(()),
        }
    }

    /// Policies that apply to connections to `workload`: global ones, its namespace's, and those that select it.
    pub(crate) fn policies_for<'a, 'w>(
        &'a self,
        workload: &'w Workload,
    ) -> impl Iterator<Item = &'a Policy> + Clone + use<'a, 'w> {
        self.policies.iter().map(AsRef::as_ref).filter(move |policy| match policy.scope {
            Scope::Global => true,
            Scope::Namespace => policy.namespace == workload.name.namespace,
            Scope::WorkloadSelector => workload.policies.iter().any(|name| policy.is_named(name)),
        })
    }

    /// Number of workloads.
    #[must_use]
    pub fn workloads(&self) -> usize {
        self.by_name.len()
    }
}

/// The target port of `service_port` at an endpoint: its own mapping, else the service's default.
pub(crate) fn endpoint_port(service: &Service, endpoint: &Endpoint, service_port: u16) -> Option<u16> {
    let default = service.ports.get(&service_port).copied();
    endpoint.ports.get(&service_port).copied().or(default).filter(|port| *port != 0)
}

fn nearest<'a>(
    candidates: impl Iterator<Item = &'a Arc<Service>>,
    namespace: &str,
) -> Option<&'a Arc<Service>> {
    let mut candidates = candidates.peekable();
    let first = candidates.peek().copied();
    candidates.find(|service| service.name.namespace == namespace).or(first)
}

/// Two workloads have the same pod name, so an agent's name would mean either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workload {name} is there twice")]
pub struct DuplicateWorkload {
    /// The name that stands twice.
    pub name: PodName,
}

/// Collects facts into a [`Snapshot`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
    memberships: Vec<(ServiceName, Endpoint)>,
}

impl SnapshotBuilder {
    /// Adds a workload, and its membership (`service port -> its port`) of each service.
    ///
    /// # Errors
    /// When a workload with the same pod name is there already.
    pub fn workload(
        &mut self,
        workload: Workload,
        services: impl IntoIterator<Item = (ServiceName, BTreeMap<u16, u16>)>,
    ) -> Result<(), DuplicateWorkload> {
        let workload = Arc::new(workload);
        if self.snapshot.by_name.insert(workload.name.clone(), Arc::clone(&workload)).is_some() {
            return Err(DuplicateWorkload { name: workload.name.clone() });
        }
        for address in &workload.addresses {
            self.snapshot.by_address.entry(*address).or_default().push(Arc::clone(&workload));
        }
        for (service, ports) in services {
            self.memberships.push((service, Endpoint { workload: Arc::clone(&workload), ports }));
        }
        Ok(())
    }

    /// Adds a service.
    pub fn service(&mut self, service: Service) {
        let service = Arc::new(service);
        for vip in &service.vips {
            self.snapshot.by_vip.entry(vip.address).or_default().push(Arc::clone(&service));
        }
        let same_host = self.snapshot.by_hostname.entry(service.name.hostname.clone()).or_default();
        same_host.push(Arc::clone(&service));
        self.snapshot.services.insert(service.name.clone(), service);
    }

    /// Adds a policy.
    pub fn policy(&mut self, policy: Policy) {
        self.snapshot.policies.push(Arc::new(policy));
    }

    /// Ends the collection.
    #[must_use]
    pub fn build(self) -> Snapshot {
        let mut snapshot = self.snapshot;
        for (service, endpoint) in self.memberships {
            if endpoint.workload.health == Health::Healthy {
                snapshot.endpoints.entry(service).or_default().push(endpoint);
            }
        }
        snapshot
    }
}
