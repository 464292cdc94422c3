//! Headers of a CONNECT: what a peer's telemetry is told. No decision is taken on them.

use std::fmt::Write as _;

use hbone::ConnectRequest;
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::address::ClientAddr;
use crate::route::TunnelRoute;
use crate::workload::Workload;

/// W3C Baggage.
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The CONNECT for one connection of `client` in `source`.
pub(crate) fn request(source: &Workload, client: ClientAddr, route: &TunnelRoute) -> ConnectRequest {
    let mut request = ConnectRequest::new(route.target.clone());
    let headers = request.headers_mut();
    insert(headers, BAGGAGE, &baggage(source));
    insert(headers, FORWARDED, &forwarded(client, route.service.as_deref()));
    insert(headers, TRACEPARENT, &traceparent(fastrand::u128(1..), fastrand::u64(1..)));
    request
}

/// What describes the workload, as Istio's peers write it.
fn baggage(source: &Workload) -> String {
    let labels = &source.labels;
    let pairs = [
        ("k8s.cluster.name", &labels.cluster),
        ("k8s.namespace.name", &source.name.namespace),
        ("k8s.deployment.name", &labels.workload),
        ("service.name", &labels.service),
        ("service.version", &labels.revision),
    ];
    let mut text = String::with_capacity(128);
    for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let separator = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{key}={value}");
    }
    text
}

/// RFC 7239 §4: an address with a port must be quoted.
fn forwarded(client: ClientAddr, service: Option<&str>) -> String {
    match service {
        Some(host) => format!("for=\"{client}\";host={host}"),
        None => format!("for=\"{client}\""),
    }
}

/// Trace Context §3.2: version 00, not sampled.
fn traceparent(trace: u128, parent: u64) -> String {
    format!("00-{trace:032x}-{parent:016x}-00")
}

/// Leaves out what is empty or cannot be a header's value: names from a control plane may hold anything.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Some(value) = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_quotes_the_address() {
        let v4 = ClientAddr::new("10.0.0.1:80".parse().unwrap());
        let v6 = ClientAddr::new("[fd00::1]:80".parse().unwrap());
        assert_eq!(forwarded(v4, None), r#"for="10.0.0.1:80""#);
        assert_eq!(forwarded(v6, Some("web.shop")), r#"for="[fd00::1]:80";host=web.shop"#);
    }

    #[test]
    fn traceparent_has_its_55_characters() {
        assert_eq!(traceparent(1, 2), "00-00000000000000000000000000000001-0000000000000002-00");
        assert_eq!(traceparent(u128::MAX, u64::MAX).len(), 55);
    }

    #[test]
    fn a_value_with_a_line_break_is_left_out() {
        let mut headers = HeaderMap::new();
        insert(&mut headers, BAGGAGE, "a=b\r\nevil: 1");
        assert!(headers.is_empty());
    }
}
