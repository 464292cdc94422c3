//! Headers of a CONNECT: what a peer's telemetry is told. No decision is taken on them.

use std::num::{NonZeroU64, NonZeroU128};

use hbone::ConnectRequest;
use hbone::header::{self, Baggage, Forwarded, ForwardedNetwork, Hop, TraceParent};

use crate::address::ClientAddr;
use crate::route::TunnelRoute;
use crate::workload::Workload;

/// The CONNECT for one connection of `client` in `source`.
pub(crate) fn request(source: &Workload, client: ClientAddr, route: &TunnelRoute) -> ConnectRequest {
    let mut request = ConnectRequest::new(route.target.clone());
    let headers = request.headers_mut();
    header::write(headers, &baggage(source));
    header::write(headers, &forwarded(client, route.service.as_deref()));
    header::write(headers, &traceparent(fastrand::u128(1..), fastrand::u64(1..)));
    request
}

/// `request`, for who is in another network: it tells the one that it comes from, if that has a name.
pub(crate) fn from_network(source: &Workload, mut request: ConnectRequest) -> ConnectRequest {
    if let Ok(network) = source.network.parse::<ForwardedNetwork>() {
        header::write(request.headers_mut(), &network);
    }
    request
}

/// What describes the workload, as Istio's peers write it. What is empty, or too long to say, is left out.
fn baggage(source: &Workload) -> Baggage {
    let labels = &source.labels;
    let pairs = [
        ("k8s.cluster.name", &labels.cluster),
        ("k8s.namespace.name", &source.name.namespace),
        ("k8s.deployment.name", &labels.workload),
        ("service.name", &labels.service),
        ("service.version", &labels.revision),
    ];
    let mut baggage = Baggage::default();
    for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = key.parse().and_then(|key| baggage.push(key, value.as_str()));
    }
    baggage
}

/// Who asks, and for which service. A service's name that is no host's is left out: a control plane may hold anything.
fn forwarded(client: ClientAddr, service: Option<&str>) -> Forwarded {
    let hop = Hop::from_client(client.socket_addr());
    let named = service.and_then(|host| hop.clone().with_host(host).ok());
    named.unwrap_or(hop).into()
}

/// Not sampled. Neither number is 0, which would be no id.
fn traceparent(trace: u128, parent: u64) -> TraceParent {
    let trace = NonZeroU128::new(trace).unwrap_or(NonZeroU128::MIN);
    TraceParent::new(trace, NonZeroU64::new(parent).unwrap_or(NonZeroU64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_quotes_the_address() {
        let v4 = ClientAddr::new("10.0.0.1:80".parse().unwrap());
        let v6 = ClientAddr::new("[fd00::1]:80".parse().unwrap());
        assert_eq!(forwarded(v4, None).to_string(), r#"for="10.0.0.1:80""#);
        assert_eq!(forwarded(v6, Some("web.shop")).to_string(), r#"for="[fd00::1]:80";host=web.shop"#);
        assert_eq!(forwarded(v4, Some("a\r\nevil: 1")).to_string(), r#"for="10.0.0.1:80""#);
    }

    #[test]
    fn traceparent_has_its_55_characters() {
        assert_eq!(traceparent(1, 2).to_string(), "00-00000000000000000000000000000001-0000000000000002-00");
        assert_eq!(traceparent(u128::MAX, u64::MAX).to_string().len(), 55);
    }
}
