//! Every public parser of text and of messages from outside, as a function of bytes that must not panic.

#![forbid(unsafe_code)]

mod certificates;

use std::fmt::{Debug, Display};
use std::str::FromStr;

mod http2;

/// A parser, and inputs from which to start.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it takes, and some of what it does not.
    pub seeds: &'static [&'static [u8]],
    /// Runs it. Panics if it does not keep what it promises.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "network", seeds: &[b"10.0.0.0/8", b"fd00::/16", b"192.0.2.1"], run: text::<redirect::Network> },
    Target { name: "port_range", seeds: &[b"80", b"8000-8100", b"0"], run: text::<redirect::PortRange> },
    Target { name: "port", seeds: &[b"15001", b"65536"], run: text::<redirect::Port> },
    Target { name: "id_range", seeds: &[b"1337", b"0-4294967294"], run: text::<redirect::IdRange> },
    Target { name: "mark", seeds: &[b"0x539/0xfff", b"1337/4095"], run: text::<redirect::Mark> },
    Target { name: "dscp", seeds: &[b"0x17", b"23"], run: text::<redirect::Dscp> },
    Target { name: "interface_name", seeds: &[b"eth0", b"k6t-eth0", b"a/b"], run: interface_name },
    Target { name: "namespace_name", seeds: &[b"pod", b"../x"], run: text::<netns::Name> },
    Target { name: "pod_uid", seeds: &[b"a3b9c2d4-0000-4000-8000-0123456789ab"], run: text::<netns::find::PodUid> },
    Target { name: "container_id", seeds: &[&[b'a'; 64]], run: text::<netns::find::ContainerId> },
    Target {
        name: "spiffe_id",
        seeds: &[b"spiffe://cluster.local/ns/default/sa/web", b"spiffe://a/%41"],
        run: text::<identity::SpiffeId>,
    },
    Target { name: "trust_domain", seeds: &[b"cluster.local", b"A.b"], run: text::<identity::TrustDomain> },
    Target {
        name: "service_account",
        seeds: &[b"spiffe://cluster.local/ns/default/sa/web", b"spiffe://a/ns/B/sa/c.d"],
        run: service_account,
    },
    Target { name: "leaf", seeds: &[certificates::LEAF, certificates::ROOT], run: certificates::leaf },
    Target { name: "root", seeds: &[certificates::ROOT, certificates::LEAF], run: certificates::root },
    Target { name: "intermediate", seeds: &[certificates::ROOT, certificates::LEAF], run: certificates::intermediate },
    Target { name: "bundle_pem", seeds: &[certificates::ROOT_PEM], run: certificates::bundle_pem },
    Target {
        name: "bundle_document",
        seeds: &[include_bytes!("../../identity/tests/data/bundle.json"), b"{\"keys\":[],\"spiffe_sequence\":1}"],
        run: certificates::bundle_document,
    },
    Target { name: "crl", seeds: &[certificates::CRL, certificates::CRL_PEM], run: certificates::crl },
    Target { name: "connect_target", seeds: &[b"10.0.0.1:80", b"[::1]:443", b"web.test:80"], run: text::<hbone::Target> },
    Target { name: "token", seeds: &[b"gzip", b"a b"], run: text::<hbone::header::Token> },
    Target {
        name: "baggage",
        seeds: &[b"service.name=web,k=%C3%A9;p=1;q , l = ", b"a=%", b"a"],
        run: text::<hbone::header::Baggage>,
    },
    Target {
        name: "forwarded",
        seeds: &[b"for=\"[2001:db8::1]:80\";host=web.shop, for=_a;by=unknown;proto=http;x=\"\\\"\"", b"for=1;for=2"],
        run: text::<hbone::header::Forwarded>,
    },
    Target {
        name: "forwarded_node",
        seeds: &[b"192.0.2.1:80", b"[::1]:_port", b"unknown", b"_hidden"],
        run: text::<hbone::header::Node>,
    },
    Target {
        name: "traceparent",
        seeds: &[
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later",
        ],
        run: text::<hbone::header::TraceParent>,
    },
    Target {
        name: "tracestate",
        seeds: &[b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", b"a@b=c d , ,"],
        run: text::<hbone::header::TraceState>,
    },
    Target { name: "forwarded_network", seeds: &[b"network-2"], run: text::<hbone::header::ForwardedNetwork> },
    Target {
        name: "proxy_protocol",
        seeds: &[
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\x0a\0\0\x01\x0a\0\0\x05\x0f\xa0\0\x50\x02\0\x01a",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            b"PROXY TCP4 10.0.0.1 10.0.0.5 4000 80\r\n",
        ],
        run: proxy_protocol,
    },
    Target { name: "http2_of_a_client", seeds: http2::OF_A_CLIENT, run: http2::to_a_server },
    Target { name: "http2_of_a_server", seeds: http2::OF_A_SERVER, run: http2::to_a_client },
    Target { name: "zds_request", seeds: &[b"\x0a\x05\x0a\x03uid", b"\x12\x05\x0a\x03uid", b"\x1a\x00"], run: zds_request },
    Target { name: "zds_response", seeds: &[b"\x0a\x00", b"\x0a\x05\x0a\x03err"], run: zds_response },
    Target { name: "zds_hello", seeds: &[b"\x08\x01"], run: zds_hello },
    Target {
        name: "workloads",
        seeds: &[
            b"workloads:\n- {name: a, namespace: b, serviceAccount: c, workloadIps: [\"10.0.0.1\"], protocol: HBONE}\n",
            b"policies:\n- {name: p, namespace: b, action: DENY, rules: []}\n",
        ],
        run: workloads,
    },
];

/// Text that is taken is written back as text that is taken as the same value.
fn text<T>(bytes: &[u8])
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq,
{
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<T>() {
        Ok(value) => assert!(
            value.to_string().parse::<T>().is_ok_and(|again| again == value),
            "{value:?} is written as {value}, which is another"
        ),
        Err(error) => drop(error.to_string()),
    }
}

/// An id that is a service account's is that service account's id.
fn service_account(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(id) = text.parse::<identity::SpiffeId>() else { return };
    if let Ok(account) = identity::ServiceAccount::try_from(&id) {
        assert_eq!(account.spiffe_id(&id.trust_domain()), id);
    }
}

fn interface_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = redirect::InterfaceName::new(text) {
        assert_eq!(name.as_str(), text);
        // It goes into rules as it is.
        assert!(!text.contains(['"', '\n', ' ', '/']) && text.len() < 16, "{text:?}");
    }
}

fn proxy_protocol(bytes: &[u8]) {
    use hbone::proxy_protocol::{ParseError, Parsed, parse};
    match parse(bytes) {
        Ok(Parsed { header, length }) => {
            assert!(length <= bytes.len());
            let again = parse(&header.to_bytes()).map(|parsed| parsed.header);
            assert_eq!(again, Ok(header));
        }
        Err(ParseError::Incomplete(incomplete)) => assert!(incomplete.needed > bytes.len()),
        Err(error) => drop(error.to_string()),
    }
}

fn zds_request(bytes: &[u8]) {
    let _ = proxy_core::zds::Request::decode(bytes);
}

fn zds_response(bytes: &[u8]) {
    let _ = proxy_core::zds::Response::decode(bytes);
}

fn zds_hello(bytes: &[u8]) {
    let _ = proxy_core::zds::Hello::decode(bytes);
}

fn workloads(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(trust_domain) = "cluster.local".parse() {
        let _ = proxy_core::workload::file::parse(text, &trust_domain);
    }
}
