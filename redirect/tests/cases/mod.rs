//! The intents that the golden files and the kernel tests go through.

use std::net::{Ipv4Addr, Ipv6Addr};

use inpod_redirect::{
    DnsCapture, Exception, Families, Guard, HboneSign, Inbound, Inclusion, Intent, InterfaceName, Mark,
    Marks, Method, Owner, Port, Ports, ProbeAddresses, ProxyIdentity, ReplyRouting,
};

pub(crate) fn all() -> Vec<(&'static str, Intent)> {
    let dns = DnsCapture::To(port(15053));
    let ambient = Intent::ambient;
    let interfaces = || ["fake1s0f0", "fake1s0f1"].map(|name| InterfaceName::new(name).unwrap()).to_vec();
    vec![
        ("default", ambient()),
        ("default_v4", ambient().with_families(Families::V4)),
        ("dns", ambient().with_dns(dns).unwrap()),
        ("dns_v4", ambient().with_dns(dns).unwrap().with_families(Families::V4)),
        ("ingress", ambient().with_inbound(Inbound::Bypassed).unwrap()),
        ("virtual_interfaces", ambient().with_virtual_interfaces(interfaces()).unwrap()),
        (
            "ingress_and_virtual_interfaces_v4",
            ambient()
                .with_inbound(Inbound::Bypassed)
                .unwrap()
                .with_virtual_interfaces(interfaces())
                .unwrap()
                .with_families(Families::V4),
        ),
        ("exceptions", ambient().with_exceptions(exceptions()).unwrap()),
        ("exceptions_v4", ambient().with_exceptions(exceptions()).unwrap().with_families(Families::V4)),
        ("unguarded", ambient().with_guard(Guard::Off)),
        ("tproxy", tproxy()),
        ("tproxy_unguarded_v4", tproxy().with_guard(Guard::Off).with_families(Families::V4)),
        ("tproxy_inbound", ambient().with_inbound_method(Method::Tproxy)),
        ("tproxy_outbound_dns", ambient().with_outbound_method(Method::Tproxy).with_dns(dns).unwrap()),
        (
            "tproxy_virtual_interfaces",
            tproxy().with_virtual_interfaces(interfaces()).unwrap().with_families(Families::V4),
        ),
        ("sidecar", Intent::sidecar()),
        ("sidecar_dns_v4", Intent::sidecar().with_dns(dns).unwrap().with_families(Families::V4)),
        ("inclusions", ambient().with_inclusions(inclusions()).unwrap().with_dns(dns).unwrap()),
        ("no_probes", ambient().with_probe_addresses(None)),
        ("hbone_by_dscp", ambient().with_hbone(HboneSign::Dscp("0x17".parse().unwrap())).unwrap()),
        ("hbone_by_mark", ambient().with_hbone(HboneSign::Mark("0x1000/0x1000".parse().unwrap())).unwrap()),
        ("proxy_by_group", proxy_by_group()),
        ("everything_else", everything_else()),
    ]
}

fn tproxy() -> Intent {
    Intent::ambient().with_inbound_method(Method::Tproxy).with_outbound_method(Method::Tproxy)
}

fn proxy_by_group() -> Intent {
    let proxy = ProxyIdentity::Owners(vec![Owner::Group("2000-2001".parse().unwrap())]);
    tproxy().with_proxy(proxy).unwrap().with_families(Families::V4)
}

/// One of each kind.
fn inclusions() -> Vec<Inclusion> {
    vec![
        Inclusion::ToPorts("80".parse().unwrap()),
        Inclusion::ToNetwork("10.0.0.0/8".parse().unwrap()),
        Inclusion::AtPorts("8000-8100".parse().unwrap()),
        Inclusion::SentBy(Owner::User("1000".parse().unwrap())),
        Inclusion::SentBy(Owner::Group("2000-2999".parse().unwrap())),
    ]
}

/// One of each kind.
fn exceptions() -> Vec<Exception> {
    vec![
        Exception::ToPorts("8000-8100".parse().unwrap()),
        Exception::ToNetwork("10.0.0.0/8".parse().unwrap()),
        Exception::ToNetwork("fd00::/8".parse().unwrap()),
        Exception::AtPorts("9090".parse().unwrap()),
        Exception::FromNetwork("192.0.2.0/24".parse().unwrap()),
        Exception::ByInterface(InterfaceName::new("eth9").unwrap()),
        Exception::SentBy(Owner::User("3000".parse().unwrap())),
    ]
}

/// Nothing of Istio's values, and marks of every bit.
fn everything_else() -> Intent {
    let ports = Ports { outbound: port(1), inbound_plaintext: port(2), inbound_hbone: port(65535) };
    let marks =
        Marks::new(Mark::new(0x8000_0001, u32::MAX).unwrap(), Mark::new(2, u32::MAX).unwrap()).unwrap();
    let probes =
        ProbeAddresses::new(Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)).unwrap();
    Intent::ambient()
        .with_ports(ports)
        .unwrap()
        .with_dns(DnsCapture::To(port(3)))
        .unwrap()
        .with_marks(marks)
        .unwrap()
        .with_probe_addresses(probes)
        .with_reply_routing(ReplyRouting::new(1000, 99).unwrap())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}
