//! Networks built here, for designs whose programs are not at hand.

use std::net::IpAddr;
use std::process::Command;

use netns::Namespace;
use testkit::kernel::{Case, Outcome};

use super::{Attached, any_network, namespace, past_the_host};
use crate::mesh::{Member, Result, Site, with_programs};

type Attach = fn(&Site) -> Result<Attached>;

pub(super) fn cases() -> Vec<Case> {
    let networks: [(&str, Attach); 3] = [
        ("routes_to_each_pod", routes_to_each_pod),
        ("redirection_past_the_host", past_the_host::by_traffic_control),
        ("redirection_past_the_host_by_bpf", past_the_host::by_bpf),
    ];
    let case = |(name, network): (&str, Attach)| {
        let body = move || -> Outcome { any_network(network) };
        let case = with_programs(&format!("on_{name}"), body);
        // Only the machine's own root may load programs.
        let case = if name.ends_with("bpf") { case.needs_root() } else { case };
        case.needs_program("nft")
            .needs_program("iptables-legacy-save")
            .needs_program("tc")
            .needs_program("ip")
    };
    networks.into_iter().map(case).collect()
}

/// Runs a program inside, its words in one line.
pub(super) fn run(namespace: &Namespace, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().ok_or("no words")?);
    command.args(words);
    let output = namespace.run(|| command.output())??;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

pub(super) fn set(namespace: &Namespace, path: &str, value: &str) -> Result<()> {
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
pub(super) fn pods(node: &Namespace) -> Result<[Member; 3]> {
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
