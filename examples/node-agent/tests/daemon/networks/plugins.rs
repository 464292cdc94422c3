//! Networks of Debian's plugins, with ours at the end of the chain.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::cni::{Container, Network};
use testkit::kernel::{Case, Outcome};

use super::{Attached, any_network, namespace};
use crate::mesh::{Member, Result, Site, program, with_programs};

/// Where Debian's package containernetworking-plugins puts them.
const PLUGINS: &str = "/usr/lib/cni";

type Attach = fn(&Site) -> Result<Attached>;

pub(super) fn cases() -> Vec<Case> {
    let networks: [(&str, &str, Attach); 9] = [
        ("bridge", "bridge", |site| attach(site, &[bridge()], true)),
        ("ptp", "ptp", |site| attach(site, &[json!({ "type": "ptp" })], true)),
        ("macvlan", "macvlan", macvlan),
        ("bridge_portmap", "portmap", |site| attach(site, &[bridge(), portmap()], true)),
        ("bridge_firewall", "firewall", |site| attach(site, &[bridge(), firewall()], true)),
        ("bridge_bandwidth", "bandwidth", |site| attach(site, &[bridge(), bandwidth()], true)),
        ("bridge_tuning", "tuning", |site| attach(site, &[bridge(), tuning()], true)),
        ("bridge_masquerade", "bridge", |site| {
            attach(
                site,
                &[json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true })],
                true,
            )
        }),
        ("bridge_and_all", "bandwidth", |site| {
            attach(site, &[bridge(), portmap(), firewall(), bandwidth(), tuning()], true)
        }),
    ];
    let case = |(name, plugin, network): (&str, &str, Attach)| {
        let body = move || -> Outcome { any_network(network) };
        let case = with_programs(&format!("on_{name}"), body).needs_path(format!("{PLUGINS}/{plugin}"));
        case.needs_program("nft").needs_program("iptables-legacy-save").needs_program("tc")
    };
    networks.into_iter().map(case).collect()
}

fn bridge() -> Value {
    json!({ "type": "bridge", "bridge": "cni0", "isGateway": true })
}

fn portmap() -> Value {
    json!({ "type": "portmap", "capabilities": { "portMappings": true } })
}

fn firewall() -> Value {
    json!({ "type": "firewall", "backend": "iptables" })
}

fn bandwidth() -> Value {
    json!({ "type": "bandwidth", "ingressRate": 1_000_000_000, "ingressBurst": 1_000_000_000, "egressRate": 1_000_000_000, "egressBurst": 1_000_000_000 })
}

fn tuning() -> Value {
    json!({ "type": "tuning", "sysctl": { "net.ipv4.tcp_keepalive_time": "600" } })
}

/// Pods on a link that leaves the node: processes of the node do not reach them, as macvlan has it.
fn macvlan(site: &Site) -> Result<Attached> {
    let (node, far) = (&site.node, namespace()?);
    super::without_plugins::link(node, "uplink", &far, "uplink")?;
    let attached =
        attach(site, &[json!({ "type": "macvlan", "master": "uplink", "mode": "bridge" })], false)?;
    Ok(Attached { _far: Some(far), ..attached })
}

/// Attaches three pods by a chain of plugins, of which the first gives them addresses.
fn attach(site: &Site, plugins: &[Value], node_reaches: bool) -> Result<Attached> {
    let own = program("inpod-cni").parent().ok_or("no folder")?.to_owned();
    let mut network = Network::new("pods", [own, PathBuf::from(PLUGINS)])?;
    let state = site.files.path("addresses");
    for (index, plugin) in plugins.iter().enumerate() {
        let mut plugin = plugin.clone();
        if index == 0 {
            let fields = plugin.as_object_mut().ok_or("an object")?;
            fields.insert("ipam".into(), ipam(&state));
        }
        network = network.plugin(plugin);
    }
    let ours = json!({ "type": "inpod-cni", "agentSocket": site.files.cni(), "answerLimitSeconds": 20 });
    let mapping = json!([{ "hostPort": 18080, "containerPort": 8080, "protocol": "tcp" }]);
    let network = network.plugin(ours).capability("portMappings", mapping);
    let mut pods = Vec::new();
    for name in ["client", "server", "outsider"] {
        let namespace = namespace()?;
        let arguments = [("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", "test"), ("K8S_POD_NAME", name)];
        let container =
            Container { id: name, namespace: &namespace, interface: "eth0", arguments: &arguments };
        let addresses = network.add(&site.node, &container)?.addresses();
        pods.push(Member { name: name.into(), namespace, addresses });
    }
    let [client, server, outsider] = <[Member; 3]>::try_from(pods).map_err(|_| "three")?;
    Ok(Attached { client, server, outsider, node_reaches, _network: Some(network), _far: None })
}

fn ipam(state: &Path) -> Value {
    json!({
        "type": "host-local",
        "dataDir": state,
        "ranges": [[{ "subnet": "10.88.0.0/16" }], [{ "subnet": "fd88::/64" }]],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
    })
}
