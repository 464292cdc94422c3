//! Files that people and peers write, and files that must be refused by name.
#![expect(clippy::unwrap_in_result, reason = "the trust domain is valid")]

use super::*;
use crate::workload::{
    ApplicationTunnel, Gateway, GatewayDestination, NetworkAddress, PodName, Preamble, Protocol, ServiceName,
};

fn parse(text: &str) -> Result<Snapshot, FileError> {
    super::parse(text, &"example.org".parse().unwrap())
}

/// An error with its causes, as a person sees it.
fn refusal(text: &str) -> String {
    crate::report::Causes(&parse(text).unwrap_err()).to_string()
}

const FULL: &str = r#"
workloads:
- uid: cluster1//v1/Pod/shop/client
  name: client
  namespace: shop
  serviceAccount: client
  workloadIps: ["10.0.0.1", "fd00::1"]
  protocol: HBONE
  node: here
  network: ""
  services: {"shop/web.shop": {80: 8080}}
- name: legacy
  namespace: shop
  workloadIps: ["10.0.0.2"]
  trustDomain: other.org
services:
- name: web
  namespace: shop
  hostname: web.shop
  vips: ["/10.1.0.1"]
  ports: {80: 8080}
  subjectAltNames: ["spiffe://example.org/ns/shop/sa/web"]
  canonical: true
policies:
- name: strict
  namespace: shop
  scope: Namespace
  action: Deny
  dryRun: false
  rules: [[[{notPrincipals: [Presence: []]}]]]
- name: tagged
  namespace: shop
  scope: Global
  action: Allow
  rules: [[[{namespaces: [!Exact shop], principals: [!Presence []], sourceIps: ["10.0.0.0/8"], notDestinationPorts: [9999]}]]]
"#;

#[test]
fn a_full_file_becomes_facts() {
    let snapshot = parse(FULL).unwrap();
    assert_eq!(snapshot.workloads(), 2);
    let client = snapshot.workload_at("", "fd00::1".parse().unwrap()).unwrap();
    assert_eq!(client.identity().to_string(), "spiffe://example.org/ns/shop/sa/client");
    assert_eq!(client.protocol, Protocol::Hbone);
    let legacy =
        PodName { namespace: "shop".into(), name: "legacy".into(), service_account: "default".into() };
    let legacy = snapshot.workload_named(&legacy).unwrap();
    assert_eq!(legacy.identity().to_string(), "spiffe://other.org/ns/shop/sa/default");
    assert_eq!(legacy.protocol, Protocol::Tcp);
    let service = snapshot.service_at("", "shop", "10.1.0.1".parse().unwrap()).unwrap();
    assert_eq!(snapshot.target_port(service, client, 80), Some(8080));
    let names: Vec<_> = snapshot.policies_for(client).map(ToString::to_string).collect();
    assert_eq!(names, ["shop/strict", "shop/tagged"]);
}

#[test]
fn another_network_s_workload_has_a_gateway() {
    let text = "workloads:
- {name: far, namespace: n, workloadIps: [], network: west, networkGateway: {destination: west/10.9.0.1}}
- {name: farther, namespace: n, workloadIps: [], networkGateway: {destination: {namespace: n, hostname: gw.n}, hboneMtlsPort: 15009}}";
    let snapshot = parse(text).unwrap();
    let gateway = |name: &str| {
        let name = PodName { namespace: "n".into(), name: name.into(), service_account: "default".into() };
        snapshot.workload_named(&name).unwrap().network_gateway.clone().unwrap()
    };
    let address = NetworkAddress { network: "west".into(), address: "10.9.0.1".parse().unwrap() };
    let by_address = Gateway { destination: GatewayDestination::Address(address), hbone_port: 15008 };
    assert_eq!(gateway("far"), by_address);
    let service = ServiceName { namespace: "n".into(), hostname: "gw.n".into() };
    let by_service = Gateway { destination: GatewayDestination::Service(service), hbone_port: 15009 };
    assert_eq!(gateway("farther"), by_service);
}

#[test]
fn an_application_asks_for_a_preamble() {
    let asked = |tunnel: &str| {
        let text = format!("workloads: [{{name: p, namespace: n, workloadIps: [10.0.0.1]{tunnel}}}]");
        let snapshot = parse(&text)?;
        let workload = snapshot.workload_at("", "10.0.0.1".parse().unwrap()).unwrap();
        Ok::<_, FileError>(workload.application_tunnel)
    };
    assert_eq!(asked("").unwrap(), None);
    let proxy = asked(", applicationTunnel: {protocol: PROXY}").unwrap();
    assert_eq!(proxy, Some(ApplicationTunnel { preamble: Preamble::Proxy, port: None }));
    let other_port = asked(", applicationTunnel: {protocol: NONE, port: 15088}").unwrap().unwrap();
    assert_eq!((other_port.preamble, other_port.port.map(Into::into)), (Preamble::Nothing, Some(15088u16)));
    for wrong in ["{protocol: PROXI}", "{port: 15088}", "{protocol: PROXY, port: 0}"] {
        assert!(asked(&format!(", applicationTunnel: {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn an_empty_file_is_a_mesh_of_nobody() {
    assert_eq!(parse("{}").unwrap().workloads(), 0);
}

#[test]
fn an_unknown_field_is_an_error_with_its_place() {
    let text = FULL.replace("notPrincipals", "notPrincipal");
    let said = refusal(&text);
    assert!(said.contains("notPrincipal") && said.contains("line"), "{said}");
}

#[test]
fn what_is_wrong_with_an_entry_is_said_with_its_name() {
    for (from, to, name, problem) in [
        ("serviceAccount: client", "serviceAccount: UPPER", "shop/client", "service account"),
        ("/10.1.0.1", "10.1.0.1", "shop/web", "network/address"),
        ("/10.1.0.1", "/10.1.0.300", "shop/web", "10.1.0.300"),
        ("shop/web.shop", "web.shop", "shop/client", "namespace/hostname"),
        ("trustDomain: other.org", "trustDomain: \"a b\"", "shop/legacy", "trust domain"),
    ] {
        let said = refusal(&FULL.replace(from, to));
        assert!(said.contains(name) && said.contains(problem), "{said}");
    }
}

#[test]
fn a_pod_that_stands_twice_is_refused() {
    let twice = FULL.replace("name: legacy", "name: client\n  serviceAccount: client");
    assert!(refusal(&twice).contains("there twice"));
}

#[test]
fn what_is_not_yaml_is_refused() {
    assert!(refusal("workloads: [").contains("not a workloads file"));
    assert!(refusal("42").contains("not a workloads file"));
}
