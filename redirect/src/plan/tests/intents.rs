//! Intents, for properties.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    DnsCapture, Dscp, Exception, Families, Guard, HboneSign, Inbound, Inclusion, Intent, InterfaceName, Mark,
    Marks, Method, Owner, Port, Ports, ProbeAddresses, ProxyIdentity, ReplyRouting,
};

pub(super) fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

prop_compose! {
    pub(crate) fn intents()(
        ports in vec(1_u16.., 4).prop_filter("distinct", |ports| {
            (0..4).all(|one| (0..one).all(|other| ports[one] != ports[other]))
        }),
        dns: bool,
        bypassed: bool,
        interfaces in vec(select(vec!["tap0", "tap1", "k6t-eth0"]), 0..4),
        v4_only: bool,
        guarded: bool,
        exceptions in vec(exceptions(), 0..4),
        marks in select(vec![(0x539, 0xfff, 0x111, 0xfff), (1, u32::MAX, 2, u32::MAX), (1 << 31, 1 << 31, 1, 1)]),
        probe in 1_u32..,
        table in 1_u32..253,
        priority in 1_u32..32766,
    ) -> Intent {
        let port = |index: usize| Port::new(ports[index]).unwrap();
        let probe = Ipv4Addr::from(probe & 0x00ff_ffff | 0x0a00_0001);
        let (proxy, mask, connection, connection_mask) = marks;
        Intent::ambient()
            .with_ports(Ports { outbound: port(0), inbound_plaintext: port(1), inbound_hbone: port(2) })
            .unwrap()
            .with_dns(if dns { DnsCapture::To(port(3)) } else { DnsCapture::Off })
            .unwrap()
            .with_inbound(if bypassed { Inbound::Bypassed } else { Inbound::Captured })
            .unwrap()
            .with_virtual_interfaces(interfaces.iter().map(|name| interface(name)).collect())
            .unwrap()
            .with_families(if v4_only { Families::V4 } else { Families::V4AndV6 })
            .with_marks(
                Marks::new(Mark::new(proxy, mask).unwrap(), Mark::new(connection, connection_mask).unwrap()).unwrap(),
            )
            .unwrap()
            .with_probe_addresses(ProbeAddresses::new(probe, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7)).unwrap())
            .with_exceptions(exceptions)
            .unwrap()
            .with_guard(if guarded { Guard::On } else { Guard::Off })
            .with_reply_routing(ReplyRouting::new(table, priority).unwrap())
    }
}

/// With the options that change the shape of a plan.
pub(crate) fn all_intents() -> impl Strategy<Value = Intent> {
    let methods = || select(vec![Method::Redirect, Method::Tproxy]);
    let signs = select(vec![
        HboneSign::Port,
        HboneSign::Dscp(Dscp::new(0x17).unwrap()),
        HboneSign::Mark(Mark::new(0x1000, 0x1000).unwrap()),
    ]);
    let owners = || {
        select(vec!["0", "1000", "2000-2999"]).prop_flat_map(|ids| {
            let ids = ids.parse().unwrap();
            select(vec![Owner::User(ids), Owner::Group(ids)])
        })
    };
    let proxys = prop_oneof![
        3 => Just(ProxyIdentity::Mark),
        1 => vec(owners(), 1..3).prop_map(ProxyIdentity::Owners)
    ];
    let ports = || select(vec!["80", "1-79", "8000-9000"]).prop_map(|text| text.parse().unwrap());
    let networks = select(vec!["10.0.0.0/8", "fd77::/16"]).prop_map(|text| text.parse().unwrap());
    let inclusions = vec(
        prop_oneof![
            ports().prop_map(Inclusion::ToPorts),
            networks.prop_map(Inclusion::ToNetwork),
            ports().prop_map(Inclusion::AtPorts),
            owners().prop_map(Inclusion::SentBy),
        ],
        0..3,
    );
    let exceptions = vec(owners().prop_map(Exception::SentBy), 0..2);
    (intents(), methods(), methods(), signs, proxys, inclusions, exceptions, any::<bool>()).prop_map(
        |(intent, inbound, outbound, sign, proxy, inclusions, more, probes)| {
            let exceptions = intent.exceptions().iter().cloned().chain(more).collect();
            let probes = intent.probe_addresses().filter(|_| probes);
            let intent = intent
                .with_inbound_method(inbound)
                .with_outbound_method(outbound)
                .with_probe_addresses(probes)
                .with_proxy(proxy)
                .unwrap()
                .with_exceptions(exceptions)
                .unwrap();
            // What cannot be together is left out.
            let intent = intent.clone().with_hbone(sign).unwrap_or(intent);
            intent.clone().with_inclusions(inclusions).unwrap_or(intent)
        },
    )
}

fn exceptions() -> impl Strategy<Value = Exception> {
    let ports = || select(vec!["80", "53", "79-81", "8000-9000"]).prop_map(|text| text.parse().unwrap());
    let networks = || {
        select(vec!["10.0.0.0/8", "10.1.2.3", "127.0.0.2", "fd77::/16"])
            .prop_map(|text| text.parse().unwrap())
    };
    prop_oneof![
        ports().prop_map(Exception::ToPorts),
        networks().prop_map(Exception::ToNetwork),
        ports().prop_map(Exception::AtPorts),
        networks().prop_map(Exception::FromNetwork),
        select(vec!["eth0", "tap1"]).prop_map(|name| Exception::ByInterface(interface(name))),
    ]
}
