//! The module's table, row by row.
#![expect(clippy::unwrap_in_result, reason = "what a test builds is valid")]

use identity::ServiceAccount;
use proptest::prelude::*;

use super::*;
use crate::workload::{Health, Labels, NetworkAddress, PodName, SnapshotBuilder};

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
        network_gateway: None,
        application_tunnel: None,
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

/// A workload of the network "west", which this gateway leads to, if any.
fn far(name: &str, address: &str, network_gateway: Option<Gateway>) -> Workload {
    Workload { network: "west".into(), network_gateway, ..workload(name, address, Protocol::Hbone) }
}

fn to_west(address: &str) -> Gateway {
    let address = NetworkAddress { network: "west".into(), address: address.parse().unwrap() };
    Gateway { destination: GatewayDestination::Address(address), hbone_port: 15008 }
}

fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

fn known_service() -> Service {
    Service { subject_alt_names: vec![id("server")], ..service() }
}

fn double(hop: &str, gateway: &str, expected: &str) -> Result<Route, NoRoute> {
    let Ok(Route::Tunnel(outer)) = tunnel(hop, "web.shop:80", gateway, Some("web.shop")) else {
        panic!("a tunnel was made");
    };
    Ok(Route::Double(DoubleRoute { outer, expected: vec![id(expected)], network: "west".into() }))
}

#[test]
fn another_network_is_reached_through_its_gateway() {
    let mut builder = Snapshot::builder();
    builder.service(known_service());
    builder.workload(far("gateway", "10.0.0.8", None), []).unwrap();
    // Its address would be another's here: it is not looked at.
    member(&mut builder, far("server", "10.0.0.2", Some(to_west("10.0.0.8"))));
    assert_eq!(to(builder, "10.1.0.1:80"), double("10.0.0.8:15008", "gateway", "server"));
}

#[test]
fn a_gateway_may_be_a_service_of_several() {
    let name = ServiceName { namespace: "shop".into(), hostname: "gateway.west".into() };
    let destination = GatewayDestination::Service(name.clone());
    let by_service = Gateway { destination, hbone_port: 15009 };
    let gateways =
        Service { name: name.clone(), vips: Vec::new(), ports: [(15009, 15008)].into(), ..service() };
    let mut builder = Snapshot::builder();
    builder.service(known_service());
    builder.service(gateways);
    builder.workload(far("east", "10.0.0.8", None), [(name.clone(), [].into())]).unwrap();
    builder.workload(far("west", "10.0.0.9", None), [(name, [].into())]).unwrap();
    member(&mut builder, Workload { addresses: vec![], ..far("server", "10.0.0.2", Some(by_service)) });
    let snapshot = builder.build();
    let source = workload("client", "10.0.0.1", Protocol::Hbone);
    let destination = OriginalDst::new("10.1.0.1:80".parse().unwrap());
    let picked = |pick| route(&snapshot, &source, Ports::default(), destination, pick);
    assert_eq!(picked(0), double("10.0.0.8:15008", "east", "server"));
    assert_eq!(picked(1 << 32), double("10.0.0.9:15008", "west", "server"));
}

#[test]
fn without_a_gateway_another_network_is_not_reached() {
    let lacking = NoRoute::NoNetworkGateway { workload: "server".into(), network: "west".into() };
    let mut builder = Snapshot::builder();
    builder.service(known_service());
    member(&mut builder, far("server", "10.0.0.2", None));
    assert_eq!(to(builder, "10.1.0.1:80"), Err(lacking));
    let mut builder = Snapshot::builder();
    builder.service(known_service());
    member(&mut builder, far("server", "10.0.0.2", Some(to_west("10.0.0.8"))));
    let unknown = NoRoute::UnknownNetworkGateway(to_west("10.0.0.8").destination);
    assert_eq!(to(builder, "10.1.0.1:80"), Err(unknown));
}

#[test]
fn an_endpoint_without_a_gateway_is_not_chosen_beside_one_that_is_near() {
    let mut builder = Snapshot::builder();
    builder.service(known_service());
    member(&mut builder, far("lost", "10.0.0.3", None));
    member(&mut builder, workload("server", "10.0.0.2", Protocol::Hbone));
    let Ok(Route::Tunnel(chosen)) = to(builder, "10.1.0.1:80") else { panic!("it is near") };
    assert_eq!(chosen.hop.to_string(), "10.0.0.2:15008");
}

#[test]
fn nobody_is_expected_beyond_a_gateway_but_whom_the_service_names() {
    let mut builder = Snapshot::builder();
    builder.service(service());
    builder.workload(far("gateway", "10.0.0.8", None), []).unwrap();
    member(&mut builder, far("server", "10.0.0.2", Some(to_west("10.0.0.8"))));
    assert_eq!(to(builder, "10.1.0.1:80"), Err(NoRoute::NoIdentity(service_name())));
}

#[test]
fn a_hostname_that_cannot_be_asked_for_leads_nowhere() {
    let name = ServiceName { hostname: "no host".into(), ..service_name() };
    let mut builder = Snapshot::builder();
    builder.service(Service { name: name.clone(), ..known_service() });
    builder.workload(far("gateway", "10.0.0.8", None), []).unwrap();
    let server = far("server", "10.0.0.2", Some(to_west("10.0.0.8")));
    builder.workload(server, [(name.clone(), [].into())]).unwrap();
    assert_eq!(to(builder, "10.1.0.1:80"), Err(NoRoute::NoHostname(name)));
}

#[test]
fn a_waypoint_in_another_network_is_reached_through_that_networks_gateway() {
    let waypoints = ServiceName { namespace: "shop".into(), hostname: "waypoint.shop".into() };
    let destination = GatewayDestination::Service(waypoints.clone());
    let waypoint = Some(Gateway { destination, hbone_port: 15008 });
    let mut builder = Snapshot::builder();
    builder.service(Service { waypoint: waypoint.clone(), ..service() });
    let (vips, ports) = (Vec::new(), [(15008, 15008)].into());
    let names = vec![id("waypoint")];
    builder.service(Service { name: waypoints.clone(), vips, ports, subject_alt_names: names, ..service() });
    builder.workload(far("gateway", "10.0.0.8", None), []).unwrap();
    let there = far("waypoint", "10.0.0.2", Some(to_west("10.0.0.8")));
    builder.workload(there, [(waypoints, [].into())]).unwrap();
    // By its own address a workload has no name that the other network knows.
    builder.workload(Workload { waypoint, ..workload("near", "10.0.0.3", Protocol::Hbone) }, []).unwrap();
    let snapshot = builder.build();
    let source = workload("client", "10.0.0.1", Protocol::Hbone);
    let to = |address: &str| {
        route(&snapshot, &source, Ports::default(), OriginalDst::new(address.parse().unwrap()), 0)
    };
    assert_eq!(to("10.1.0.1:80"), double("10.0.0.8:15008", "gateway", "waypoint"));
    let none = NoRoute::NoService { workload: "waypoint".into(), network: "west".into() };
    assert_eq!(to("10.0.0.3:80"), Err(none));
}

proptest! {
    /// Whatever the facts, a mesh workload is never reached by plain TCP, and a tunnel always names whom it expects.
    #[test]
    fn nothing_of_the_mesh_is_reached_in_plaintext(
        last in 1u8..6, port in 1u16.., pick in any::<u64>(),
        members in prop::collection::vec((1u8..6, any::<bool>(), 0u32..3, any::<Option<bool>>()), 0..5),
    ) {
        let mut builder = Snapshot::builder();
        builder.service(known_service());
        builder.workload(far("gateway", "10.2.0.1", None), []).unwrap();
        let (mut mesh, mut elsewhere) = (Vec::new(), Vec::new());
        for (index, (last, hbone, capacity, in_west)) in members.into_iter().enumerate() {
            let protocol = if hbone { Protocol::Hbone } else { Protocol::Tcp };
            let address = format!("10.0.{index}.{last}");
            if hbone && in_west.is_none() {
                mesh.push(address.parse::<IpAddr>().unwrap());
            }
            let near = Workload { capacity, ..workload(&format!("w{index}"), &address, protocol) };
            member(&mut builder, match in_west {
                None => near,
                Some(has_gateway) => {
                    elsewhere.push(address.parse::<IpAddr>().unwrap());
                    let network_gateway = has_gateway.then(|| to_west("10.2.0.1"));
                    Workload { network: "west".into(), network_gateway, ..near }
                }
            });
        }
        let snapshot = builder.build();
        let source = workload("client", "10.9.0.1", Protocol::Hbone);
        for ip in [format!("10.0.0.{last}"), format!("10.0.1.{last}"), "10.1.0.1".into()] {
            let destination = OriginalDst::new(SocketAddr::new(ip.parse().unwrap(), port));
            match route(&snapshot, &source, Ports::default(), destination, pick) {
                // An address of another network is another's here, so only what was addressed by itself may be dialled.
                Ok(Route::Direct(hop)) => {
                    prop_assert!(!mesh.contains(&hop.ip()));
                    prop_assert!(!elsewhere.contains(&hop.ip()) || hop.ip() == destination.ip());
                }
                Ok(Route::Double(double)) => {
                    prop_assert!(!double.expected.is_empty() && !double.outer.expected.is_empty());
                    prop_assert_eq!(double.outer.hop.to_string(), "10.2.0.1:15008");
                }
                Ok(Route::Tunnel(tunnel)) => prop_assert!(!tunnel.expected.is_empty() && mesh.contains(&tunnel.hop.ip())),
                Err(_) => {}
            }
        }
    }
}
