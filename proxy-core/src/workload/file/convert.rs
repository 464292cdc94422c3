//! Conversion of a file's entries into facts that are valid by type.

use std::collections::BTreeMap;
use std::net::{AddrParseError, IpAddr};

use identity::{ServiceAccount, TrustDomain};

use super::shape;
use crate::policy::{Action, Clause, Condition, Mode, Policy, Rule, Scope, ServiceAccountName, StringMatch};
use crate::workload::{
    ApplicationTunnel, Gateway, GatewayDestination, Health, Labels, NetworkAddress, PodName, Preamble,
    Protocol, Service, ServiceName, Workload,
};

/// The service account of a workload that names none (Kubernetes' own default).
const DEFAULT_SERVICE_ACCOUNT: &str = "default";
/// The port of a gateway that names none (Istio's HBONE port).
const DEFAULT_HBONE_PORT: u16 = 15008;

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("trust domain or identity: {0}")]
    Identity(#[from] identity::ParseError),
    #[error(transparent)]
    ServiceAccount(#[from] identity::ServiceAccountError),
    #[error("address {text:?}: {error}")]
    Address { text: String, error: AddrParseError },
    #[error("{0:?} is not network/address")]
    NetworkAddress(String),
    #[error("{0:?} is not namespace/hostname")]
    ServiceName(String),
}

pub(super) type Memberships = Vec<(ServiceName, BTreeMap<u16, u16>)>;

pub(super) fn workload(
    entry: shape::Workload,
    default_trust_domain: &TrustDomain,
) -> Result<(Workload, Memberships), Malformed> {
    let account = or_default(entry.service_account, DEFAULT_SERVICE_ACCOUNT);
    let trust_domain = match entry.trust_domain.as_str() {
        "" => default_trust_domain.clone(),
        named => named.parse::<TrustDomain>()?,
    };
    let services = entry.services.into_iter().map(|(name, ports)| Ok((service_name(&name)?, ports)));
    let services = services.collect::<Result<_, Malformed>>()?;
    // A pod in its node's network shares the node's addresses, so they do not name it.
    let own_addresses = match entry.network_mode {
        shape::NetworkMode::Standard => entry.workload_ips,
        shape::NetworkMode::HostNetwork => Vec::new(),
    };
    let workload = Workload {
        uid: if entry.uid.is_empty() { format!("{}/{}", entry.namespace, entry.name) } else { entry.uid },
        service_account: ServiceAccount::new(&entry.namespace, &account)?,
        name: PodName { namespace: entry.namespace, name: entry.name, service_account: account },
        trust_domain,
        addresses: own_addresses.iter().map(IpAddr::to_canonical).collect(),
        network: entry.network,
        protocol: match entry.protocol {
            shape::Protocol::Tcp => Protocol::Tcp,
            shape::Protocol::Hbone => Protocol::Hbone,
        },
        health: match entry.status {
            shape::Status::Healthy => Health::Healthy,
            shape::Status::Unhealthy => Health::Unhealthy,
        },
        waypoint: entry.waypoint.map(gateway).transpose()?,
        network_gateway: entry.network_gateway.map(gateway).transpose()?,
        application_tunnel: entry.application_tunnel.map(application_tunnel),
        policies: entry.authorization_policies,
        labels: Labels {
            cluster: entry.cluster_id,
            workload: entry.workload_name,
            service: entry.canonical_name,
            revision: entry.canonical_revision,
        },
        capacity: entry.capacity,
    };
    Ok((workload, services))
}

pub(super) fn service(entry: shape::Service) -> Result<Service, Malformed> {
    let identities = entry.subject_alt_names.iter().map(|name| name.parse());
    Ok(Service {
        name: ServiceName { namespace: entry.namespace, hostname: entry.hostname },
        vips: entry.vips.iter().map(|vip| network_address(vip)).collect::<Result<_, _>>()?,
        ports: entry.ports,
        subject_alt_names: identities.collect::<Result<_, identity::ParseError>>()?,
        waypoint: entry.waypoint.map(gateway).transpose()?,
    })
}

pub(super) fn policy(entry: shape::Policy) -> Policy {
    let clause = |conditions: Vec<shape::Condition>| Clause {
        conditions: conditions.into_iter().map(condition).collect(),
    };
    let rule =
        |clauses: Vec<Vec<shape::Condition>>| Rule { clauses: clauses.into_iter().map(clause).collect() };
    Policy {
        namespace: entry.namespace,
        name: entry.name,
        scope: match entry.scope {
            shape::Scope::Global => Scope::Global,
            shape::Scope::Namespace => Scope::Namespace,
            shape::Scope::WorkloadSelector => Scope::WorkloadSelector,
        },
        action: match entry.action {
            shape::Action::Allow => Action::Allow,
            shape::Action::Deny => Action::Deny,
        },
        mode: if entry.dry_run { Mode::DryRun } else { Mode::Enforced },
        rules: entry.rules.into_iter().map(rule).collect(),
    }
}

fn condition(entry: shape::Condition) -> Condition {
    let strings = |list: Vec<shape::StringMatch>| list.into_iter().map(string_match).collect();
    let accounts = |list: Vec<shape::ServiceAccount>| {
        let account =
            |a: shape::ServiceAccount| ServiceAccountName { namespace: a.namespace, name: a.service_account };
        list.into_iter().map(account).collect()
    };
    Condition {
        namespaces: strings(entry.namespaces),
        not_namespaces: strings(entry.not_namespaces),
        principals: strings(entry.principals),
        not_principals: strings(entry.not_principals),
        service_accounts: accounts(entry.service_accounts),
        not_service_accounts: accounts(entry.not_service_accounts),
        source_ips: entry.source_ips,
        not_source_ips: entry.not_source_ips,
        destination_ips: entry.destination_ips,
        not_destination_ips: entry.not_destination_ips,
        destination_ports: entry.destination_ports,
        not_destination_ports: entry.not_destination_ports,
    }
}

fn string_match(entry: shape::StringMatch) -> StringMatch {
    match entry {
        shape::StringMatch::Exact(exact) => StringMatch::Exact(exact),
        shape::StringMatch::Prefix(prefix) => StringMatch::Prefix(prefix),
        shape::StringMatch::Suffix(suffix) => StringMatch::Suffix(suffix),
        shape::StringMatch::Presence() => StringMatch::Presence,
    }
}

fn gateway(entry: shape::Gateway) -> Result<Gateway, Malformed> {
    let destination = match entry.destination {
        shape::Destination::Address(text) => GatewayDestination::Address(network_address(&text)?),
        shape::Destination::Hostname(name) => {
            GatewayDestination::Service(ServiceName { namespace: name.namespace, hostname: name.hostname })
        }
    };
    let port = if entry.hbone_mtls_port == 0 { DEFAULT_HBONE_PORT } else { entry.hbone_mtls_port };
    Ok(Gateway { destination, hbone_port: port })
}

fn application_tunnel(entry: shape::ApplicationTunnel) -> ApplicationTunnel {
    let preamble = match entry.protocol {
        shape::TunnelProtocol::Nothing => Preamble::Nothing,
        shape::TunnelProtocol::Proxy => Preamble::Proxy,
    };
    ApplicationTunnel { preamble, port: entry.port }
}

fn network_address(text: &str) -> Result<NetworkAddress, Malformed> {
    let (network, address) =
        text.split_once('/').ok_or_else(|| Malformed::NetworkAddress(text.to_owned()))?;
    let parsed: Result<IpAddr, _> = address.parse();
    let address = parsed.map_err(|error| Malformed::Address { text: text.to_owned(), error })?;
    Ok(NetworkAddress { network: network.to_owned(), address: address.to_canonical() })
}

fn service_name(text: &str) -> Result<ServiceName, Malformed> {
    let (namespace, hostname) =
        text.split_once('/').ok_or_else(|| Malformed::ServiceName(text.to_owned()))?;
    Ok(ServiceName { namespace: namespace.to_owned(), hostname: hostname.to_owned() })
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}
