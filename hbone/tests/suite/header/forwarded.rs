//! RFC 7239, section by section.

use std::net::SocketAddr;

use inpod_hbone::header::{Expected, FieldError, Forwarded, Hop, Node, NodeName, NodePort, Obfuscated};
use proptest::prelude::*;

use super::{fault, is_stable, is_written_as, through_headers};

/// The examples of section 4.
#[test]
fn section_4_examples() {
    is_written_as::<Forwarded>(r#"for="_gazonk""#, "for=_gazonk");
    let forwarded: Forwarded =
        is_written_as(r#"For="[2001:db8:cafe::17]:4711""#, r#"for="[2001:db8:cafe::17]:4711""#);
    let client = forwarded.hops()[0].client().unwrap().socket_addr().unwrap();
    assert_eq!(client, "[2001:db8:cafe::17]:4711".parse::<SocketAddr>().unwrap());
    let text = "for=192.0.2.60;proto=http;by=203.0.113.43";
    let forwarded: Forwarded = is_written_as(text, "for=192.0.2.60;by=203.0.113.43;proto=http");
    assert_eq!(forwarded.hops()[0].proto().unwrap().as_str(), "http");
    assert_eq!(forwarded.hops()[0].client().unwrap().socket_addr(), None, "it has no port");
    let forwarded: Forwarded =
        is_written_as("for=192.0.2.43, for=198.51.100.17", "for=192.0.2.43, for=198.51.100.17");
    assert_eq!(forwarded.hops().len(), 2);
}

/// The examples of section 7.1.
#[test]
fn section_7_1_examples() {
    let text = r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#;
    let forwarded: Forwarded =
        is_written_as(text, r#"for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown"#);
    assert_eq!(forwarded.hops()[2].client().unwrap().name, NodeName::Unknown);
    is_written_as::<Forwarded>(
        r#"for=_hidden, for=_SEVKISEK;host="example.com:80""#,
        r#"for=_hidden, for=_SEVKISEK;host="example.com:80""#,
    );
}

/// What this project and Istio's ztunnel write.
#[test]
fn a_mesh_peer_s_forwarded_is_read_and_written_alike() {
    let hop = Hop::from_client("10.0.0.1:80".parse().unwrap());
    assert_eq!(Forwarded::from(hop.clone()).to_string(), r#"for="10.0.0.1:80""#);
    let hop = hop.with_host("web.shop").unwrap();
    is_written_as::<Forwarded>(&Forwarded::from(hop).to_string(), r#"for="10.0.0.1:80";host=web.shop"#);
}

/// Section 4: names of parameters have no case, and each is there once in a hop.
#[test]
fn section_4_a_parameter_is_there_once() {
    is_written_as::<Forwarded>("FOR=unknown;HoSt=a", "for=unknown;host=a");
    assert_eq!(fault::<Forwarded>("for=unknown;For=unknown"), FieldError::Repeated);
    assert_eq!(fault::<Forwarded>("secret=a;Secret=b"), FieldError::Repeated);
}

/// Section 4: pairs may be left out; RFC 9110 section 5.6.1.2: so may elements of the list.
#[test]
fn section_4_what_is_left_out_is_passed_over() {
    is_written_as::<Forwarded>(" , ;;for=unknown; ;, ,", "for=unknown");
    assert!(is_written_as::<Forwarded>("", "").hops().is_empty());
}

/// Section 4: values are tokens or quoted strings, with escapes.
#[test]
fn section_4_quoted_strings() {
    let forwarded: Forwarded = is_written_as(r#"a="\"\\\b c""#, r#"a="\"\\b c""#);
    let (name, value) = forwarded.hops()[0].extensions().next().unwrap();
    assert_eq!((name.as_str(), value), ("a", r#""\b c"#));
    is_written_as::<Forwarded>(r#"a="""#, r#"a="""#);
    let syntax = |at, expected| FieldError::Syntax { at, expected };
    assert_eq!(fault::<Forwarded>(r#"a="b"#), syntax(4, Expected::ClosingQuote));
    assert_eq!(fault::<Forwarded>(r#"a="b\"#), syntax(5, Expected::ClosingQuote));
    assert_eq!(fault::<Forwarded>(r#"a="b"c"#), syntax(5, Expected::Separator));
    assert_eq!(fault::<Forwarded>("a=\"b\n\""), syntax(4, Expected::ClosingQuote));
    assert_eq!(fault::<Forwarded>("a"), syntax(1, Expected::Equals));
    assert_eq!(fault::<Forwarded>("a= b"), syntax(2, Expected::Token));
    assert_eq!(fault::<Forwarded>("a ="), syntax(1, Expected::Equals));
    assert_eq!(fault::<Forwarded>("for=[::1]"), syntax(4, Expected::Token), "a bracket is for quotes");
}

/// Section 6: addresses, `unknown`, hidden names, and ports of each kind.
#[test]
fn section_6_nodes() {
    for node in
        ["192.0.2.1", "192.0.2.1:0", "192.0.2.1:65535", "[::1]", "[::1]:_port", "unknown:80", "_a.b-c_d:80"]
    {
        assert_eq!(node.parse::<Node>().unwrap().to_string(), node);
    }
    assert_eq!("UNKNOWN".parse::<Node>().unwrap().name, NodeName::Unknown);
    assert_eq!("unknown:080".parse::<Node>().unwrap().port, Some(NodePort::Number(80)));
    for bad in [
        "",
        ":",
        "::1",
        "[::1",
        "[192.0.2.1]",
        "[::1%eth0]",
        "192.0.2.1:",
        "192.0.2.1:+80",
        "192.0.2.1:65536",
        "_",
        "_\u{e9}",
        "192.0.2.1:_",
        "example.com",
        "999.0.0.1",
        "010.0.0.1",
        "192.0.2.1:80:80",
        "unknown ",
    ] {
        assert!(bad.parse::<Node>().is_err(), "{bad:?}");
    }
    assert!("_".to_owned().repeat(64).parse::<Obfuscated>().is_ok());
    assert!("_".to_owned().repeat(65).parse::<Obfuscated>().is_err());
}

/// Section 5.3.
#[test]
fn section_5_3_hosts() {
    for host in ["web.shop", "a.example:80", "[::1]:80", "10.0.0.5"] {
        let hop = Hop::default().with_host(host).unwrap();
        assert_eq!(through_headers(&Forwarded::from(hop)).unwrap().hops()[0].host(), Some(host));
    }
    for bad in ["", "a b", "a\"b", "a\r\nb", "user@a", "a/b", "a?b", "a#b", "\u{e9}"] {
        assert!(Hop::default().with_host(bad).is_err(), "{bad:?}");
    }
    assert!(matches!(Hop::default().with_host(&"a".repeat(262)), Err(FieldError::TooLong { max: 261, .. })));
}

#[test]
fn hops_parameters_and_bytes_are_bounded() {
    let hops = |count: usize| vec!["for=unknown"; count].join(",");
    assert_eq!(hops(32).parse::<Forwarded>().unwrap().hops().len(), 32);
    assert_eq!(fault::<Forwarded>(&hops(33)), FieldError::TooMany { max: 32 });
    let parameters =
        |count: usize| (0..count).map(|index| format!("a{index}=b")).collect::<Vec<_>>().join(";");
    assert!(parameters(8).parse::<Forwarded>().is_ok());
    assert_eq!(fault::<Forwarded>(&parameters(9)), FieldError::TooMany { max: 8 });
    assert!(matches!(
        fault::<Forwarded>(&format!("a=\"{}\"", " ".repeat(257))),
        FieldError::TooLong { max: 256, .. }
    ));
    assert!(matches!(fault::<Forwarded>(&" ".repeat(8193)), FieldError::TooLong { max: 8192, .. }));
}

#[test]
fn the_longest_hop_fits() {
    let quotes = "\\\"".repeat(256);
    let name = "n".repeat(255);
    let mut text = format!(
        "for=\"_{0}:_{0}\";by=\"_{0}:_{0}\";host=\"{1}\";proto={2}",
        "x".repeat(63),
        "h".repeat(261),
        "p".repeat(256)
    );
    for index in 0..8 {
        text += &format!(";{name}{index}=\"{quotes}\"");
    }
    let forwarded: Forwarded = text.parse().unwrap();
    assert_eq!(Forwarded::from(forwarded.hops()[0].clone()), forwarded);
}

fn node() -> impl Strategy<Value = Node> {
    let hidden = || "_[A-Za-z0-9._-]{1,20}".prop_map(|name| name.parse::<Obfuscated>().unwrap());
    let name = prop_oneof![
        any::<std::net::IpAddr>().prop_map(NodeName::Address),
        Just(NodeName::Unknown),
        hidden().prop_map(NodeName::Obfuscated)
    ];
    let port = prop_oneof![any::<u16>().prop_map(NodePort::Number), hidden().prop_map(NodePort::Obfuscated)];
    (name, prop::option::of(port)).prop_map(|(name, port)| Node { name, port })
}

proptest! {
    #[test]
    fn any_hops_come_back(
        hops in prop::collection::vec((node(), prop::option::of(node()), "[a-z.:\\[\\]]{1,20}", "[a-z]{1,5}"), 1..5),
    ) {
        let mut forwarded = Forwarded::default();
        for (client, by, host, proto) in hops {
            let hop = Hop::default().with_client(client).with_host(&host).unwrap().with_proto(proto.parse().unwrap());
            forwarded.push(by.into_iter().fold(hop, Hop::with_by)).unwrap();
        }
        prop_assert_eq!(through_headers(&forwarded), Some(forwarded));
    }

    #[test]
    fn text_is_stable(text in r#"((for|by|host|proto|x)=|[a-z0-9.:;, _"\\\[\]]|unknown|10\.0\.0\.1){0,30}"#) {
        is_stable::<Forwarded>(&text);
    }
}
