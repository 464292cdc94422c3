//! Verdict: what becomes of the connection, in one sentence. No IO.

use super::view::{Beyond, Decision, End, Inbound, Kind, Outbound, Packet, Proxy, Route, Why};

/// The sentence. It is about the rules that are intended, so it says so where they are not there.
pub(super) fn verdict(why: &Why) -> String {
    let becomes = becomes(why);
    if why.rules.same { becomes } else { format!("if the rules were as intended: {becomes}") }
}

/// How a connection comes.
pub(super) fn by(kind: Kind) -> &'static str {
    match kind {
        Kind::Captured => "from the pod",
        Kind::Tunnel => "by a tunnel",
        Kind::Plaintext => "in plaintext",
    }
}

fn becomes(why: &Why) -> String {
    match why.packets.as_slice() {
        [Packet { end: End::Proxy { .. }, kind: Kind::Captured, .. }] => captured(&why.proxy),
        [packet] => past(packet),
        packets => packets.iter().map(|packet| peers(packet, &why.proxy)).collect::<Vec<_>>().join("; "),
    }
}

fn captured(proxy: &Proxy) -> String {
    match proxy {
        Proxy::Told(told) => match &told.outbound {
            Some(outbound) => routed(outbound),
            None => "captured; what the proxy says is about something else".into(),
        },
        Proxy::DoesNotTell => "captured; the proxy does not tell what it would do".into(),
        Proxy::Silent { error } => format!("captured, and goes nowhere until a proxy serves it: {error}"),
    }
}

fn routed(outbound: &Outbound) -> String {
    let Some(Route { hop, at, waypoint, tunnel, beyond }) = &outbound.route else {
        let reason = outbound.refused.as_ref().map_or("", |no| no.reason.as_str());
        return format!("captured, and refused by the proxy: {reason}");
    };
    let whose = at.as_ref().map_or("somebody outside the mesh", |at| at.name.as_str());
    let service =
        outbound.service.as_ref().map(|service| format!(" for service {service}")).unwrap_or_default();
    let waypoint = waypoint.as_ref().map(|_| ", a waypoint,").unwrap_or_default();
    match (tunnel, beyond) {
        (Some(_), Some(Beyond { network, .. })) => {
            format!(
                "captured, and goes by a tunnel to {whose}, a gateway, at {hop}, and through it to network {network}{service}"
            )
        }
        (Some(_), None) => format!("captured, and goes by a tunnel to {whose}{waypoint} at {hop}{service}"),
        (None, _) => format!("captured, and goes in plain TCP to {whose} at {hop}{service}"),
    }
}

fn peers(packet: &Packet, proxy: &Proxy) -> String {
    let Packet { end: End::Proxy { .. }, kind, .. } = packet else { return past(packet) };
    let by = by(*kind);
    match proxy {
        Proxy::Told(told) => match (&told.inbound, kind) {
            (Some(Inbound { plaintext, .. }), Kind::Plaintext) => format!("{by} {}", decided(plaintext)),
            (Some(Inbound { tunnel: Some(tunnel), .. }), _) => format!("{by} {}", decided(tunnel)),
            (Some(_), _) => format!("{by} it depends on the identity: none is known of the source"),
            (None, _) => format!("{by} what the proxy says is about something else"),
        },
        Proxy::DoesNotTell => format!("{by} the proxy decides, and does not tell how"),
        Proxy::Silent { error } => format!("{by} nowhere until a proxy serves it: {error}"),
    }
}

fn decided(decision: &Decision) -> String {
    match (&decision.refused, &decision.policy) {
        (Some(no), _) => format!("refused: {}", no.reason),
        (None, Some(policy)) => format!("permitted by policy {policy}"),
        (None, None) => "permitted: no policy asks for anything".into(),
    }
}

fn past(packet: &Packet) -> String {
    let by = by(packet.kind);
    match &packet.end {
        End::Proxy { port } => format!("{by} to the proxy at {port}"),
        End::Socket { address } => format!("{by} past the proxy, to {address} in the pod"),
        End::Leaves { interface, address } => format!("{by} past the proxy, out of {interface} to {address}"),
        End::Reset => format!("{by} refused by a rule: its sender gets a reset"),
        End::Dropped => format!("{by} dropped by a rule"),
    }
}
