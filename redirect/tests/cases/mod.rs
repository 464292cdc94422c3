//! The intents that the golden files and the kernel tests go through.

use std::net::{Ipv4Addr, Ipv6Addr};

use inpod_redirect::{
    DnsCapture, Exception, Families, Guard, Inbound, Intent, InterfaceName, Mark, Marks, Port, Ports,
    ProbeAddresses, ReplyRouting,
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
        ("ingress", ambient().with_inbound(Inbound::Bypassed)),
        ("virtual_interfaces", ambient().with_virtual_interfaces(interfaces()).unwrap()),
        (
            "ingress_and_virtual_interfaces_v4",
            ambient()
                .with_inbound(Inbound::Bypassed)
                .with_virtual_interfaces(interfaces())
                .unwrap()
                .with_families(Families::V4),
        ),
        ("exceptions", ambient().with_exceptions(exceptions()).unwrap()),
        ("exceptions_v4", ambient().with_exceptions(exceptions()).unwrap().with_families(Families::V4)),
        ("unguarded", ambient().with_guard(Guard::Off)),
        ("everything_else", everything_else()),
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
        .with_probe_addresses(probes)
        .with_reply_routing(ReplyRouting::new(1000, 99).unwrap())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}
