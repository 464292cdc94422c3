//! Past the host: what pods send to each other is taken where it enters the node and handed to the other: neither netfilter nor routing of
//! the node sees it.

use std::net::IpAddr;

use netns::Namespace;

use super::Attached;
use super::bpf;
use super::without_plugins::{pods, run, set};
use crate::mesh::{Member, Result, Site};

/// By traffic control's own redirection, onto the other's link.
pub(super) fn by_traffic_control(site: &Site) -> Result<Attached> {
    let node = &site.node;
    let attached = addressed(node)?;
    for (number, sender) in attached.pods().into_iter().enumerate() {
        for (other, receiver) in attached.pods().into_iter().enumerate().filter(|(other, _)| *other != number)
        {
            for address in &receiver.addresses {
                let (protocol, what, priority) =
                    if address.is_ipv4() { ("ip", "ip", 1) } else { ("ipv6", "ip6", 2) };
                let filter = format!(
                    "tc filter add dev pod{number} ingress protocol {protocol} prio {priority} u32 match {what} dst \
                     {address} action mirred egress redirect dev pod{other}"
                );
                run(node, &filter).map_err(|error| format!("{}: {error}", sender.name))?;
            }
        }
    }
    Ok(attached)
}

/// By a program of BPF on each link, which hands packets over into the other pod's namespace at once.
pub(super) fn by_bpf(site: &Site) -> Result<Attached> {
    let node = &site.node;
    let attached = addressed(node)?;
    let index = |number: usize| -> Result<u32> {
        Ok(node.run(|| nix::net::if_::if_nametoindex(format!("pod{number}").as_str()))??)
    };
    for number in 0..attached.pods().len() {
        let mut destinations: Vec<(IpAddr, u32)> = Vec::new();
        for (other, pod) in attached.pods().into_iter().enumerate().filter(|(other, _)| *other != number) {
            let index = index(other)?;
            destinations.extend(pod.addresses.iter().map(|address| (*address, index)));
        }
        let object = site.files.path(&format!("pod{number}.o"));
        std::fs::write(&object, bpf::object(&bpf::hand_over(&destinations))?)?;
        let filter = format!(
            "tc filter add dev pod{number} ingress bpf direct-action object-file {}",
            object.display()
        );
        run(node, &format!("{filter} section tc"))?;
    }
    Ok(attached)
}

/// Pods with addresses and neighbours that nobody has to ask for.
fn addressed(node: &Namespace) -> Result<Attached> {
    let pods = pods(node)?;
    run(node, "ip link add node0 type bridge")?;
    run(node, "ip address add 10.65.0.1/32 dev node0")?;
    run(node, "ip address add fd65::1/128 dev node0 nodad")?;
    run(node, "ip link set node0 up")?;
    // What the node would forward, nobody has redirected.
    set(node, "ipv4/ip_forward", "0")?;
    set(node, "ipv6/conf/all/forwarding", "0")?;
    // Before anything is learnt: a link forgets its neighbours when its address changes.
    for (number, pod) in pods.iter().enumerate() {
        run(&pod.namespace, &format!("ip link set eth0 address {}", inside(number)))?;
        run(node, &format!("ip link set pod{number} address {}", outside(number)))?;
        run(node, &format!("tc qdisc add dev pod{number} clsact"))?;
    }
    for (number, pod) in pods.iter().enumerate() {
        for address in &pod.addresses {
            lead_to(node, number, pod, *address)?;
            let others = pods.iter().enumerate().filter(|(other, _)| *other != number);
            others.into_iter().try_for_each(|(_, other)| knows(other, *address, &inside(number)))?;
        }
    }
    let [client, server, outsider] = pods;
    Ok(Attached { client, server, outsider, node_reaches: true, _network: None, _far: None })
}

/// Gives a pod an address, a way out, and the node a way to it.
fn lead_to(node: &Namespace, number: usize, pod: &Member, address: IpAddr) -> Result<()> {
    let v4 = address.is_ipv4();
    let (family, bits, gateway) = if v4 { ("-4", 24, "10.65.0.1") } else { ("-6", 64, "fd65::1") };
    let at_once = if v4 { "" } else { "nodad" };
    run(&pod.namespace, &format!("ip {family} address add {address}/{bits} dev eth0 {at_once}"))?;
    knows(pod, gateway.parse()?, &outside(number))?;
    run(&pod.namespace, &format!("ip {family} route add default via {gateway} dev eth0"))?;
    run(node, &format!("ip {family} route add {address} dev pod{number}"))?;
    let neighbour = format!("{address} lladdr {} dev pod{number} nud permanent", inside(number));
    run(node, &format!("ip {family} neighbor replace {neighbour}"))
}

fn knows(pod: &Member, address: IpAddr, link: &str) -> Result<()> {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    let neighbour = format!("{address} lladdr {link} dev eth0 nud permanent");
    run(&pod.namespace, &format!("ip {family} neighbor replace {neighbour}"))
}

/// The link address of a pod's own end.
fn inside(number: usize) -> String {
    format!("02:00:00:00:00:0{number}")
}

/// The link address of the node's end.
fn outside(number: usize) -> String {
    format!("02:00:00:00:01:0{number}")
}
