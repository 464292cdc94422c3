//! Shape of the workloads file: what serde reads, before any meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use serde::de::value::{EnumAccessDeserializer, MapAccessDeserializer};
use serde::de::{EnumAccess, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) workloads: Vec<Workload>,
    #[serde(default)]
    pub(super) services: Vec<Service>,
    #[serde(default)]
    pub(super) policies: Vec<Policy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Workload {
    #[serde(default)]
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) service_account: String,
    #[serde(default)]
    pub(super) trust_domain: String,
    pub(super) workload_ips: Vec<IpAddr>,
    #[serde(default)]
    pub(super) network: String,
    #[serde(default)]
    pub(super) protocol: Protocol,
    #[serde(default)]
    pub(super) network_mode: NetworkMode,
    #[serde(default)]
    pub(super) status: Status,
    #[serde(default)]
    pub(super) waypoint: Option<Gateway>,
    #[serde(default)]
    pub(super) network_gateway: Option<Gateway>,
    #[serde(default)]
    pub(super) application_tunnel: Option<ApplicationTunnel>,
    #[serde(default)]
    pub(super) authorization_policies: Vec<String>,
    #[serde(default)]
    pub(super) services: BTreeMap<String, BTreeMap<u16, u16>>,
    #[serde(default = "one")]
    pub(super) capacity: u32,
    #[serde(default)]
    pub(super) cluster_id: String,
    #[serde(default)]
    pub(super) workload_name: String,
    #[serde(default)]
    pub(super) canonical_name: String,
    #[serde(default)]
    pub(super) canonical_revision: String,
    // Descriptions that decide nothing here.
    #[serde(default, rename = "node")]
    _node: IgnoredAny,
    #[serde(default, rename = "workloadType")]
    _workload_type: IgnoredAny,
    #[serde(default, rename = "locality")]
    _locality: IgnoredAny,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) enum Protocol {
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "HBONE")]
    Hbone,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
pub(super) enum NetworkMode {
    #[default]
    Standard,
    HostNetwork,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) enum Status {
    #[default]
    Healthy,
    Unhealthy,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) destination: Destination,
    #[serde(default)]
    pub(super) hbone_mtls_port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApplicationTunnel {
    pub(super) protocol: TunnelProtocol,
    #[serde(default)]
    pub(super) port: Option<NonZeroU16>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum TunnelProtocol {
    #[serde(rename = "NONE")]
    Nothing,
    #[serde(rename = "PROXY")]
    Proxy,
}

/// `network/address`, or a namespaced hostname.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Destination {
    Address(String),
    Hostname(Hostname),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hostname {
    pub(super) namespace: String,
    pub(super) hostname: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) hostname: String,
    pub(super) vips: Vec<String>,
    pub(super) ports: BTreeMap<u16, u16>,
    #[serde(default)]
    pub(super) subject_alt_names: Vec<String>,
    #[serde(default)]
    pub(super) waypoint: Option<Gateway>,
    // Decides between services of several namespaces with one hostname in DNS answers, which are not given here.
    #[serde(default, rename = "canonical")]
    _canonical: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) scope: Scope,
    pub(super) action: Action,
    #[serde(default)]
    pub(super) dry_run: bool,
    pub(super) rules: Vec<Vec<Vec<Condition>>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Scope {
    Global,
    Namespace,
    WorkloadSelector,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Action {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Condition {
    pub(super) namespaces: Vec<StringMatch>,
    pub(super) not_namespaces: Vec<StringMatch>,
    pub(super) principals: Vec<StringMatch>,
    pub(super) not_principals: Vec<StringMatch>,
    pub(super) service_accounts: Vec<ServiceAccount>,
    pub(super) not_service_accounts: Vec<ServiceAccount>,
    pub(super) source_ips: Vec<IpNet>,
    pub(super) not_source_ips: Vec<IpNet>,
    pub(super) destination_ips: Vec<IpNet>,
    pub(super) not_destination_ips: Vec<IpNet>,
    pub(super) destination_ports: Vec<u16>,
    pub(super) not_destination_ports: Vec<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceAccount {
    pub(super) namespace: String,
    pub(super) service_account: String,
}

/// How a string is compared: `!Exact x` as ztunnel writes it, or `Exact: x` as people do.
#[derive(Debug)]
pub(super) enum StringMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Presence(),
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagOrMap).map(|variant| match variant {
            Variant::Exact(text) => Self::Exact(text),
            Variant::Prefix(text) => Self::Prefix(text),
            Variant::Suffix(text) => Self::Suffix(text),
            Variant::Presence() => Self::Presence(),
        })
    }
}

#[derive(Deserialize)]
enum Variant {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Presence(),
}

/// Takes an enum that is written as a YAML tag or as a map of one key.
struct TagOrMap;

impl<'de> Visitor<'de> for TagOrMap {
    type Value = Variant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of Exact, Prefix, Suffix (with a text) or Presence (with an empty list)")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tag: A) -> Result<Variant, A::Error> {
        Variant::deserialize(EnumAccessDeserializer::new(tag))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Variant, A::Error> {
        Variant::deserialize(MapAccessDeserializer::new(map))
    }
}
