//! The module's table, row by row.
#![expect(clippy::unwrap_in_result, reason = "what a test builds is valid")]

use identity::ServiceAccount;
use proptest::prelude::*;

use super::*;
use crate::workload::{Health, Labels, PodName, SnapshotBuilder};

fn workload(name: &str, address: &str, protocol: Protocol) -> Workload {
    Workload {
        uid: name.into(),
        name: PodName { namespace: "shop".into(), name: name.into(), service_account: name.into() },
        trust_domain: "cluster.local".parse().unwrap(),
        service_account: ServiceAccount::new("shop", name).unwrap(),
        addresses: vec![address.parse().unwrap()],
        network: String::new(),
        protocol,
        health: Health::Healthy,
        waypoint: None,
        policies: Vec::new(),
        labels: Labels::default(),
        capacity: 1,
    }
}

fn service_name() -> ServiceName {
    ServiceName { namespace: "shop".into(), hostname: "web.shop".into() }
}

fn service() -> Service {
    Service {
        name: service_name(),
        vips: vec![NetworkAddress { network: String::new(), address: "10.1.0.1".parse().unwrap() }],
        ports: [(80, 8080)].into(),
        subject_alt_names: Vec::new(),
        waypoint: None,
    }
}

fn gateway(address: &str) -> Gateway {
    let address = NetworkAddress { network: String::new(), address: address.parse().unwrap() };
    Gateway { destination: GatewayDestination::Address(address), hbone_port: 15008 }
}

fn member(builder: &mut SnapshotBuilder, workload: Workload) {
    builder.workload(workload, [(service_name(), [(80, 8080)].into())]).unwrap();
}

fn to(builder: SnapshotBuilder, destination: &str) -> Result<Route, NoRoute> {
    let source = workload("client", "10.0.0.1", Protocol::Hbone);
    let destination = OriginalDst::new(destination.parse().unwrap());
    route(&builder.build(), &source, Ports::default(), destination, 0)
}

fn direct(address: &str) -> Result<Route, NoRoute> {
    Ok(Route::Direct(HopAddr::new(address.parse().unwrap())))
}

fn tunnel(hop: &str, target: &str, id: &str, service: Option<&str>) -> Result<Route, NoRoute> {
    Ok(Route::Tunnel(TunnelRoute {
        hop: HopAddr::new(hop.parse().unwrap()),
        target: target.parse().unwrap(),
        expected: vec![format!("spiffe://cluster.local/ns/shop/sa/{id}").parse().unwrap()],
        service: service.map(Into::into),
    }))
}

#[test]
fn our_own_port_by_loopback_is_a_loop() {
    let loopback = "127.0.0.1:15001";
    assert_eq!(to(Snapshot::builder(), loopback), Err(NoRoute::OwnPort(loopback.parse().unwrap())));
}

#[test]
fn outside_the_mesh_is_direct() {
    assert_eq!(to(Snapshot::builder(), "192.0.2.1:443"), direct("192.0.2.1:443"));
}

#[test]
fn a_workload_is_reached_as_it_takes_connections() {
    let mut builder = Snapshot::builder();
    builder.workload(workload("server", "10.0.0.2", Protocol::Hbone), []).unwrap();
    builder.workload(workload("legacy", "10.0.0.3", Protocol::Tcp), []).unwrap();
    let snapshot = builder.build();
    let source = workload("client", "10.0.0.1", Protocol::Hbone);
    let to = |address: &str| {
        route(&snapshot, &source, Ports::default(), OriginalDst::new(address.parse().unwrap()), 0)
    };
    assert_eq!(to("10.0.0.2:8080"), tunnel("10.0.0.2:15008", "10.0.0.2:8080", "server", None));
    assert_eq!(to("10.0.0.3:8080"), direct("10.0.0.3:8080"));
}

#[test]
fn the_same_address_in_another_network_is_outside() {
    let mut builder = Snapshot::builder();
    let far = Workload { network: "far".into(), ..workload("server", "10.0.0.2", Protocol::Hbone) };
    builder.workload(far, []).unwrap();
    assert_eq!(to(builder, "10.0.0.2:8080"), direct("10.0.0.2:8080"));
}

#[test]
fn a_service_goes_to_an_endpoint_at_its_port() {
    let mut builder = Snapshot::builder();
    builder.service(service());
    member(&mut builder, workload("server", "10.0.0.2", Protocol::Hbone));
    assert_eq!(
        to(builder, "10.1.0.1:80"),
        tunnel("10.0.0.2:15008", "10.0.0.2:8080", "server", Some("web.shop"))
    );
}

#[test]
fn a_service_without_endpoint_or_port_goes_nowhere() {
    let none = |port| Err(NoRoute::NoEndpoint { service: service_name(), port });
    let mut builder = Snapshot::builder();
    builder.service(service());
    assert_eq!(to(builder, "10.1.0.1:80"), none(80));
    let mut builder = Snapshot::builder();
    builder.service(service());
    member(&mut builder, workload("server", "10.0.0.2", Protocol::Hbone));
    assert_eq!(to(builder, "10.1.0.1:81"), none(81));
}

#[test]
fn an_unhealthy_endpoint_is_not_chosen() {
    let mut builder = Snapshot::builder();
    builder.service(service());
    let sick = Workload { health: Health::Unhealthy, ..workload("server", "10.0.0.2", Protocol::Hbone) };
    member(&mut builder, sick);
    assert_eq!(to(builder, "10.1.0.1:80"), Err(NoRoute::NoEndpoint { service: service_name(), port: 80 }));
}

#[test]
fn a_waypoint_gets_the_destination_untranslated() {
    let mut builder = Snapshot::builder();
    builder.workload(workload("waypoint", "10.0.0.9", Protocol::Hbone), []).unwrap();
    builder.service(Service { waypoint: Some(gateway("10.0.0.9")), ..service() });
    member(&mut builder, workload("server", "10.0.0.2", Protocol::Hbone));
    assert_eq!(
        to(builder, "10.1.0.1:80"),
        tunnel("10.0.0.9:15008", "10.1.0.1:80", "waypoint", Some("web.shop"))
    );
}

#[test]
fn an_unknown_waypoint_is_not_skipped() {
    let mut builder = Snapshot::builder();
    let waypoint = gateway("10.0.0.9");
    let server =
        Workload { waypoint: Some(waypoint.clone()), ..workload("server", "10.0.0.2", Protocol::Hbone) };
    builder.workload(server, []).unwrap();
    assert_eq!(to(builder, "10.0.0.2:80"), Err(NoRoute::UnknownWaypoint(waypoint.destination)));
}

proptest! {
    /// Whatever the facts, a mesh workload is never reached by plain TCP, and a tunnel always names whom it expects.
    #[test]
    fn nothing_of_the_mesh_is_reached_in_plaintext(
        last in 1u8..6, port in 1u16.., pick in any::<u64>(), members in prop::collection::vec((1u8..6, any::<bool>(), 0u32..3), 0..5),
    ) {
        let mut builder = Snapshot::builder();
        builder.service(service());
        let mut mesh = Vec::new();
        for (index, (last, hbone, capacity)) in members.into_iter().enumerate() {
            let protocol = if hbone { Protocol::Hbone } else { Protocol::Tcp };
            let address = format!("10.0.{index}.{last}");
            if hbone {
                mesh.push(address.parse::<IpAddr>().unwrap());
            }
            member(&mut builder, Workload { capacity, ..workload(&format!("w{index}"), &address, protocol) });
        }
        let snapshot = builder.build();
        let source = workload("client", "10.9.0.1", Protocol::Hbone);
        for ip in [format!("10.0.0.{last}"), format!("10.0.1.{last}"), "10.1.0.1".into()] {
            let destination = OriginalDst::new(SocketAddr::new(ip.parse().unwrap(), port));
            match route(&snapshot, &source, Ports::default(), destination, pick) {
                Ok(Route::Direct(hop)) => prop_assert!(!mesh.contains(&hop.ip())),
                Ok(Route::Tunnel(tunnel)) => prop_assert!(!tunnel.expected.is_empty() && mesh.contains(&tunnel.hop.ip())),
                Err(_) => {}
            }
        }
    }
}
