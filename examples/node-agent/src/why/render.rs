//! Render: the answer as text, for people.

use std::time::{SystemTime, UNIX_EPOCH};

use super::verdict::by;
use super::view::{
    Beyond, Connections, Decision, End, Inbound, Kind, Outbound, Packet, Policy, Proxy, Route, Rules, Socket,
    Told, Way, Why,
};
use crate::table::{Table, plain};

/// All of it, the sentence first.
pub(super) fn text(why: &Why, now: SystemTime) -> String {
    let way = match why.way {
        Way::Outbound => "outbound",
        Way::Inbound => "inbound",
    };
    let pod = &why.pod;
    let whose = format!("{}/{} ({})", pod.namespace, pod.name, pod.uid);
    let (whose, verdict) = (plain(&whose), plain(&why.verdict));
    let mut text = format!("{whose}, {way}: {} -> {}\n=> {verdict}\n", why.source, why.destination);
    text.push_str(&rules(&why.rules, &why.packets));
    text.push_str(&sockets(why));
    text.push_str(&match &why.proxy {
        Proxy::Told(told) => proxy(told, now),
        Proxy::DoesNotTell => section(["PROXY", ""], [["does not tell".into(), String::new()]]),
        Proxy::Silent { error } => section(["PROXY", ""], [["silent".into(), error.clone()]]),
    });
    text.push_str(&differs(why));
    text
}

/// What is said under a heading.
fn section<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new(heading);
    rows.into_iter().for_each(|row| table.push(row));
    format!("\n{table}")
}

fn rules(rules: &Rules, packets: &[Packet]) -> String {
    let count = |packets: Option<u64>| packets.map_or_else(String::new, |packets| packets.to_string());
    let rows = packets.iter().flat_map(|packet| {
        let met = packet.met.iter().map(move |met| {
            let at = format!("{} rule {}", met.chain, met.number);
            [kind(packet.kind).into(), at, count(met.packets), met.why.clone(), met.rule.clone()]
        });
        met.chain([[
            kind(packet.kind).into(),
            format!("=> {}", end(&packet.end)),
            String::new(),
            String::new(),
            String::new(),
        ]])
    });
    let state = if rules.same { "RULES (as intended)" } else { "RULES (intended; the kernel's differ)" };
    section(["PACKET", state, "PACKETS", "WHY", "RULE"], rows)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Captured => "captured",
        Kind::Tunnel => "tunnel",
        Kind::Plaintext => "plaintext",
    }
}

fn end(end: &End) -> String {
    match end {
        End::Proxy { port } => format!("the proxy at {port}"),
        End::Socket { address } => format!("past the proxy, to {address}"),
        End::Leaves { interface, address } => format!("past the proxy, by {interface} to {address}"),
        End::Reset => "refused".into(),
        End::Dropped => "dropped".into(),
    }
}

fn sockets(why: &Why) -> String {
    let row = |of: &str, socket: &Socket| {
        let mark = socket.mark.map_or_else(|| "unknown".into(), |mark| format!("{mark:#x}"));
        let whose = if socket.has_proxys_mark { "proxy" } else { "other" };
        [
            of.to_owned(),
            socket.address.to_string(),
            whose.into(),
            mark,
            socket.user.to_string(),
            format!("{}/{}", socket.waiting, socket.most_waiting),
        ]
    };
    let captured =
        why.packets.iter().flat_map(|packet| packet.sockets.iter().map(|s| row(kind(packet.kind), s)));
    let application = why.application.iter().map(|socket| row("application", socket));
    let rows: Vec<_> = captured.chain(application).collect();
    section(["SOCKET", "LISTENS AT", "OF", "MARK", "USER", "WAITING"], rows)
}

fn proxy(told: &Told, now: SystemTime) -> String {
    let mut rows = vec![["identity".into(), told.identity.clone()]];
    rows.push(["certificate".into(), expiry(told.expires, now)]);
    let facts =
        told.facts.as_ref().map_or_else(|| "none".into(), |facts| format!("{} ({})", facts.name, facts.uid));
    rows.push(["facts of the pod".into(), facts]);
    if let Some(outbound) = &told.outbound {
        rows.extend(outward(outbound));
    }
    if let Some(inbound) = &told.inbound {
        rows.extend(inward(inbound));
    }
    let mut text = section(["PROXY", ""], rows);
    let policies = told.inbound.as_ref().map(|inbound| inbound.policies.as_slice()).unwrap_or_default();
    if !policies.is_empty() {
        text.push_str(&section(["POLICY", "ACTION", "TUNNEL", "PLAINTEXT"], policies.iter().map(policy)));
    }
    text
}

fn expiry(expires: Option<u64>, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match expires {
        None => "none yet; the proxy asks for one".into(),
        Some(expires) if expires <= now => "expired; the proxy asks for another".into(),
        Some(expires) => format!("valid for {} min more", (expires - now) / 60),
    }
}

fn outward(outbound: &Outbound) -> Vec<[String; 2]> {
    let row = |name: &str, what: String| [name.to_owned(), what];
    let whose = match (&outbound.service, &outbound.workload) {
        (Some(service), _) => format!("service {service}"),
        (None, Some(workload)) => format!("workload {} ({})", workload.name, workload.protocol),
        (None, None) => "nobody's in the mesh".into(),
    };
    let mut rows = vec![row("destination", whose)];
    let Some(Route { hop, at, waypoint, tunnel, beyond }) = &outbound.route else {
        let reason = outbound.refused.as_ref().map(|no| no.reason.clone()).unwrap_or_default();
        rows.push(row("refused", reason));
        return rows;
    };
    rows.extend(waypoint.iter().map(|waypoint| row("waypoint", waypoint.clone())));
    let at = at.as_ref().map(|at| format!(" of {}", at.name)).unwrap_or_default();
    let Some(tunnel) = tunnel else {
        rows.push(row("route", format!("plain TCP to {hop}{at}")));
        return rows;
    };
    rows.push(row("route", format!("tunnel to {hop}{at}, for {}", tunnel.target)));
    rows.extend(whom_and_how(&tunnel.expected, &tunnel.connections));
    if let Some(beyond) = beyond {
        let Beyond { network, gateway, .. } = beyond;
        rows.push(row("network gateway", format!("{gateway}, to network {network}")));
        rows.push(row("route within", format!("tunnel through the gateway, for {}", tunnel.target)));
        rows.extend(whom_and_how(&beyond.expected, &beyond.connections));
    }
    rows
}

/// Whom a tunnel's end must prove to be, and what there is for it.
fn whom_and_how(expected: &[String], connections: &[Connections]) -> Vec<[String; 2]> {
    let row = |name: &str, what: String| [name.to_owned(), what];
    let mut rows: Vec<_> = expected.iter().map(|id| row("expected identity", id.clone())).collect();
    if connections.is_empty() {
        rows.push(row("connections", "none yet".into()));
    }
    rows.extend(connections.iter().map(|used| {
        let dialling =
            if used.dialling > 0 { format!(", {} dialling", used.dialling) } else { String::new() };
        row(
            "connections",
            format!("worker {}: {} open{dialling}, {} streams", used.worker, used.open, used.streams),
        )
    }));
    rows
}

fn inward(inbound: &Inbound) -> Vec<[String; 2]> {
    let client = inbound.client.as_ref();
    let client = client.map_or_else(
        || "nobody in the mesh".into(),
        |client| format!("{} ({})", client.name, client.protocol),
    );
    let mut rows = vec![["source".to_owned(), client]];
    rows.push([
        by(Kind::Tunnel).into(),
        inbound.tunnel.as_ref().map_or_else(|| "no identity is known".into(), decision),
    ]);
    rows.push([by(Kind::Plaintext).into(), decision(&inbound.plaintext)]);
    rows
}

fn decision(decision: &Decision) -> String {
    let who = decision.peer.as_ref().map(|peer| format!("{peer}: ")).unwrap_or_default();
    match (&decision.refused, &decision.policy) {
        (Some(no), _) => format!("{who}refused, {}", no.reason),
        (None, Some(policy)) => format!("{who}permitted by {policy}"),
        (None, None) => format!("{who}permitted, no policy asks for anything"),
    }
}

fn policy(policy: &Policy) -> [String; 4] {
    let matches = |rule: Option<u32>| rule.map_or_else(|| "no match".into(), |rule| format!("rule {rule}"));
    let dry = if policy.dry_run { " (dry run)" } else { "" };
    [
        policy.name.clone(),
        format!("{}{dry}", policy.action),
        matches(policy.tunnel),
        matches(policy.plaintext),
    ]
}

fn differs(why: &Why) -> String {
    if why.differs.is_empty() {
        return "\nNothing differs from what is intended.\n".into();
    }
    section(["DIFFERS", ""], why.differs.iter().map(|differs| [differs.what.clone(), differs.how.clone()]))
}
