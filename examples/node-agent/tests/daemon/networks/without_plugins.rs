//! Networks built here, for designs whose programs are not at hand.

use std::net::IpAddr;
use std::process::Command;

use netns::Namespace;
use testkit::kernel::{Case, Outcome};

use super::{Attached, any_network, namespace};
use crate::mesh::{Member, Result, Site, with_programs};

type Attach = fn(&Site) -> Result<Attached>;

pub(super) fn cases() -> Vec<Case> {
    let networks: [(&str, Attach); 2] = [
        ("routes_to_each_pod", routes_to_each_pod),
        ("redirection_past_the_host", redirection_past_the_host),
    ];
    let case = |(name, network): (&str, Attach)| {
        let body = move || -> Outcome { any_network(network) };
        let case = with_programs(&format!("on_{name}"), body);
        case.needs_program("nft")
            .needs_program("iptables-legacy-save")
            .needs_program("tc")
            .needs_program("ip")
    };
    networks.into_iter().map(case).collect()
}

/// Runs a program inside, its words in one line.
fn run(namespace: &Namespace, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().ok_or("no words")?);
    command.args(words);
    let output = namespace.run(|| command.output())??;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn set(namespace: &Namespace, path: &str, value: &str) -> Result<()> {
    Ok(namespace.run(|| std::fs::write(format!("/proc/sys/net/{path}"), value))??)
}

/// A pair of links between two namespaces, both up.
pub(super) fn link(here: &Namespace, name: &str, there: &Namespace, its: &str) -> Result<()> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let descriptor = there.as_fd().as_raw_fd();
    run(
        here,
        &format!(
            "ip link add {name} type veth peer name {its} netns /proc/{}/fd/{descriptor}",
            std::process::id()
        ),
    )?;
    run(here, &format!("ip link set {name} up"))?;
    run(there, &format!("ip link set {its} up"))
}

/// Pods, each at the end of a pair of links whose other end is in the node.
fn pods(node: &Namespace) -> Result<[Member; 3]> {
    let mut pods = Vec::new();
    for (number, name) in ["client", "server", "outsider"].into_iter().enumerate() {
        let (namespace, host) = (namespace()?, number + 2);
        let addresses: [String; 2] = [format!("10.65.0.{host}"), format!("fd65::{host}")];
        let addresses = addresses.iter().map(|text| text.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
        link(node, &format!("pod{number}"), &namespace, "eth0")?;
        pods.push(Member { name: name.into(), namespace, addresses });
    }
    set(node, "ipv4/ip_forward", "1")?;
    set(node, "ipv6/conf/all/forwarding", "1")?;
    pods.try_into().map_err(|_| "three".into())
}

/// No common link: each pod has one address, its node answers for all others by proxy ARP, and leads to each pod by rules and a table
/// of its own.
fn routes_to_each_pod(site: &Site) -> Result<Attached> {
    let node = &site.node;
    let pods = pods(node)?;
    for (number, pod) in pods.iter().enumerate() {
        let table = 200 + number;
        set(node, &format!("ipv4/conf/pod{number}/proxy_arp"), "1")?;
        run(node, &format!("ip address add fe80::1/64 dev pod{number} nodad"))?;
        for address in &pod.addresses {
            let (family, bits) = if address.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
            run(
                &pod.namespace,
                &format!(
                    "ip {family} address add {address}/{bits} dev eth0 {}",
                    if bits == 128 { "nodad" } else { "" }
                ),
            )?;
            run(node, &format!("ip {family} route add {address}/{bits} dev pod{number} table {table}"))?;
            run(node, &format!("ip {family} rule add to {address}/{bits} lookup {table} priority 1000"))?;
        }
        run(&pod.namespace, "ip route add 169.254.1.1 dev eth0 scope link")?;
        run(&pod.namespace, "ip route add default via 169.254.1.1 dev eth0")?;
        run(&pod.namespace, "ip -6 route add default via fe80::1 dev eth0")?;
    }
    // Whoever answers for others must lead to them.
    let far = namespace()?;
    link(node, "uplink", &far, "uplink")?;
    run(node, "ip address add 10.65.1.1/32 dev uplink")?;
    run(node, "ip address add fd65:1::1/128 dev uplink nodad")?;
    run(node, "ip route add default dev uplink")?;
    let [client, server, outsider] = pods;
    Ok(Attached { client, server, outsider, node_reaches: true, _network: None, _far: Some(far) })
}

/// What pods send to each other is taken where it enters the node and put onto the other's link: neither netfilter nor routing of the
/// node sees it. Programs of BPF do so in products; here it is traffic control's own redirection.
fn redirection_past_the_host(site: &Site) -> Result<Attached> {
    let node = &site.node;
    let pods = pods(node)?;
    run(node, "ip link add node0 type bridge")?;
    run(node, "ip address add 10.65.0.1/32 dev node0")?;
    run(node, "ip address add fd65::1/128 dev node0 nodad")?;
    run(node, "ip link set node0 up")?;
    // Before anything is learnt: a link forgets its neighbours when its address changes.
    for (number, pod) in pods.iter().enumerate() {
        run(&pod.namespace, &format!("ip link set eth0 address 02:00:00:00:00:0{number}"))?;
        run(node, &format!("ip link set pod{number} address 02:00:00:00:01:0{number}"))?;
        run(node, &format!("tc qdisc add dev pod{number} clsact"))?;
    }
    for (number, pod) in pods.iter().enumerate() {
        let inside = &pod.namespace;
        for address in &pod.addresses {
            let v4 = address.is_ipv4();
            let (family, bits, gateway) = if v4 { ("-4", 24, "10.65.0.1") } else { ("-6", 64, "fd65::1") };
            run(
                inside,
                &format!(
                    "ip {family} address add {address}/{bits} dev eth0 {}",
                    if v4 { "" } else { "nodad" }
                ),
            )?;
            run(
                inside,
                &format!(
                    "ip {family} neighbor replace {gateway} lladdr 02:00:00:00:01:0{number} dev eth0 nud permanent"
                ),
            )?;
            run(inside, &format!("ip {family} route add default via {gateway} dev eth0"))?;
            run(node, &format!("ip {family} route add {address} dev pod{number}"))?;
            run(
                node,
                &format!(
                    "ip {family} neighbor replace {address} lladdr 02:00:00:00:00:0{number} dev pod{number} nud permanent"
                ),
            )?;
            // What others send to it.
            let others = pods.iter().enumerate().filter(|(other, _)| *other != number);
            for (other, sender) in others {
                run(
                    &sender.namespace,
                    &format!(
                        "ip {family} neighbor replace {address} lladdr 02:00:00:00:00:0{number} dev eth0 nud permanent"
                    ),
                )?;
                let (protocol, what, priority) = if v4 { ("ip", "ip", 1) } else { ("ipv6", "ip6", 2) };
                run(
                    node,
                    &format!(
                        "tc filter add dev pod{other} ingress protocol {protocol} prio {priority} u32 match {what} dst \
                         {address} action mirred egress redirect dev pod{number}"
                    ),
                )?;
            }
        }
    }
    let [client, server, outsider] = pods;
    Ok(Attached { client, server, outsider, node_reaches: true, _network: None, _far: None })
}
