//! PROXY protocol version 2, by the sections of HAProxy's `proxy-protocol.txt`.

use inpod_hbone::proxy_protocol::{
    AUTHORITY, Addresses, Incomplete, PEER_IDENTITY, ParseError, Parsed, ProxyHeader, TlvError, Transport,
    UNIQUE_ID, parse,
};
use proptest::prelude::*;

const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const TCP4: [u8; 12] = [10, 0, 0, 1, 10, 0, 0, 5, 0x0f, 0xa0, 0, 80];

/// A header of bytes 13 and 14 and what follows the length.
fn raw(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[version_and_command, family], &length, block].concat()
}

fn tcp4() -> ProxyHeader {
    addresses("10.0.0.1:4000", "10.0.0.5:80").into()
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses::inet(Transport::Stream, source.parse().unwrap(), destination.parse().unwrap())
}

fn read(bytes: &[u8]) -> Result<ProxyHeader, ParseError> {
    parse(bytes).map(|Parsed { header, length }| {
        assert_eq!(length, bytes.len());
        header
    })
}

#[test]
fn section_2_2_tcp_over_ipv4() {
    let bytes = raw(0x21, 0x11, &TCP4);
    assert_eq!(tcp4().to_bytes(), bytes);
    assert_eq!(read(&bytes), Ok(tcp4()));
}

#[test]
fn section_2_2_each_family_and_transport_has_its_byte() {
    for (source, destination, transport, byte, length) in [
        ("10.0.0.1:1", "10.0.0.2:2", Transport::Stream, 0x11, 12),
        ("10.0.0.1:1", "10.0.0.2:2", Transport::Datagram, 0x12, 12),
        ("[fd00::1]:1", "[fd00::2]:2", Transport::Stream, 0x21, 36),
        ("[fd00::1]:1", "[fd00::2]:2", Transport::Datagram, 0x22, 36),
    ] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let addresses = Addresses::inet(transport, source, destination);
        assert_eq!((addresses.source(), addresses.destination()), (Some(source), Some(destination)));
        assert_eq!((addresses.transport(), addresses.unix_paths()), (transport, None));
        let header = ProxyHeader::from(addresses);
        let bytes = header.to_bytes();
        assert_eq!((bytes[13], bytes[15]), (byte, length));
        assert_eq!(read(&bytes), Ok(header));
    }
}

#[test]
fn section_2_2_unix_sockets() {
    let addresses = Addresses::unix(Transport::Stream, b"/run/a", b"\0abstract").unwrap();
    assert_eq!(addresses.unix_paths(), Some((&b"/run/a"[..], &b"\0abstract"[..])));
    assert_eq!(addresses.source(), None);
    let header = ProxyHeader::from(addresses);
    let bytes = header.to_bytes();
    assert_eq!((bytes[13], bytes[15]), (0x31, 216));
    assert_eq!(read(&bytes), Ok(header));
    assert!(Addresses::unix(Transport::Stream, &[b'a'; 108], b"").is_some());
    assert!(Addresses::unix(Transport::Stream, b"", &[b'a'; 109]).is_none());
}

#[test]
fn addresses_of_two_families_are_written_as_ipv6() {
    let mixed = addresses("10.0.0.1:4000", "[fd00::5]:80");
    assert_eq!(mixed.source(), Some("[::ffff:10.0.0.1]:4000".parse().unwrap()));
    assert_eq!(read(&ProxyHeader::from(mixed.clone()).to_bytes()), Ok(mixed.into()));
}

/// "The receiver must [...] discard the protocol block including the family which is ignored."
#[test]
fn section_2_2_local_is_taken_whatever_it_has() {
    assert_eq!(ProxyHeader::Local.to_bytes(), raw(0x20, 0, &[]));
    for bytes in [raw(0x20, 0, &[]), raw(0x20, 0x11, &TCP4), raw(0x20, 0xff, b"anything")] {
        assert_eq!(read(&bytes), Ok(ProxyHeader::Local));
    }
}

#[test]
fn section_2_2_an_unspecified_family_is_skipped() {
    assert_eq!(ProxyHeader::Unknown.to_bytes(), raw(0x21, 0, &[]));
    assert_eq!(read(&raw(0x21, 0, b"anything")), Ok(ProxyHeader::Unknown));
    assert_eq!(ProxyHeader::Unknown.with_tlv(AUTHORITY, "a"), Ok(ProxyHeader::Unknown));
}

#[test]
fn section_2_2_what_is_not_assigned_is_refused() {
    for byte in [0x01, 0x11, 0x31, 0xf1] {
        assert_eq!(read(&raw(byte, 0x11, &TCP4)), Err(ParseError::Version { byte }));
    }
    for byte in 0x22..=0x2f {
        assert_eq!(read(&raw(byte, 0x11, &TCP4)), Err(ParseError::Command { byte }));
    }
    for byte in [0x01, 0x02, 0x10, 0x13, 0x20, 0x1f, 0x30, 0x41, 0xf1] {
        assert_eq!(read(&raw(0x21, byte, &TCP4)), Err(ParseError::Family { byte }));
    }
}

#[test]
fn bytes_that_begin_otherwise_are_known_at_the_first_that_differs() {
    assert_eq!(parse(b"G"), Err(ParseError::NotProxy));
    assert_eq!(parse(b"PROXY TCP4 10.0.0.1 10.0.0.5 4000 80\r\n"), Err(ParseError::NotProxy));
    assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT\r"), Err(ParseError::NotProxy));
}

#[test]
fn each_prefix_says_how_much_it_needs_and_what_follows_is_left() {
    let mut bytes = tcp4().to_bytes();
    for end in 0..bytes.len() {
        let needed = if end < 16 { 16 } else { 28 };
        assert_eq!(parse(&bytes[..end]), Err(ParseError::Incomplete(Incomplete { needed })));
    }
    bytes.extend_from_slice(b"GET /");
    assert_eq!(parse(&bytes), Ok(Parsed { header: tcp4(), length: 28 }));
}

#[test]
fn section_2_2_parts_do_not_go_beyond_the_length() {
    assert_eq!(read(&raw(0x21, 0x11, &TCP4[..11])), Err(ParseError::Truncated));
    assert_eq!(read(&raw(0x21, 0x21, &TCP4)), Err(ParseError::Truncated));
    for tail in [&[2][..], &[2, 0], &[2, 0, 1], &[2, 0, 2, b'a'], &[2, 0xff, 0xff, b'a']] {
        assert_eq!(read(&raw(0x21, 0x11, &[&TCP4, tail].concat())), Err(ParseError::Truncated));
    }
}

#[test]
fn a_header_has_a_longest() {
    let block = |length: usize| raw(0x21, 0, &vec![0; length]);
    assert_eq!(read(&block(4096)), Ok(ProxyHeader::Unknown));
    // Known before the bytes have come.
    let head = &block(4097)[..16];
    assert_eq!(parse(head), Err(ParseError::TooLong { length: 4097, max: 4096 }));
}

#[test]
fn section_2_2_1_values_have_types() {
    let header = tcp4()
        .with_tlv(AUTHORITY, "web.example:80")
        .and_then(|header| header.with_tlv(PEER_IDENTITY, "spiffe://cluster.local/ns/shop/sa/web"))
        .unwrap();
    let values =
        [&[0x02, 0, 14][..], b"web.example:80", &[0xd0, 0, 37], b"spiffe://cluster.local/ns/shop/sa/web"]
            .concat();
    let bytes = raw(0x21, 0x11, &[&TCP4[..], &values].concat());
    assert_eq!(header.to_bytes(), bytes);
    let Ok(ProxyHeader::Proxied { tlvs, .. }) = read(&bytes) else { panic!("it is one") };
    assert_eq!(tlvs.authority(), Some("web.example:80"));
    assert_eq!(tlvs.peer_identity(), Some("spiffe://cluster.local/ns/shop/sa/web"));
    assert_eq!(tlvs.get(UNIQUE_ID), None);
    assert_eq!(tlvs.entries().count(), 2);
}

/// Readers would differ in which of two they take.
#[test]
fn a_type_is_there_once() {
    let twice = [&TCP4[..], &[0xd0, 0, 1, b'a'], &[0xd0, 0, 1, b'b']].concat();
    let source = TlvError::Repeated { kind: PEER_IDENTITY };
    assert_eq!(read(&raw(0x21, 0x11, &twice)), Err(ParseError::Tlv { source }));
    let header = tcp4().with_tlv(PEER_IDENTITY, "a").unwrap();
    assert_eq!(header.with_tlv(PEER_IDENTITY, "b"), Err(source));
}

#[test]
fn section_2_2_3_a_checksum_is_verified() {
    let header = tcp4().with_tlv(AUTHORITY, "a").unwrap();
    let bytes = header.to_checked_bytes();
    assert_eq!(bytes.len(), header.to_bytes().len() + 7);
    assert_eq!(read(&bytes), Ok(header), "it is not kept");
    for index in 16..bytes.len() {
        let mut broken = bytes.clone();
        broken[index] ^= 1;
        assert!(read(&broken).is_err(), "byte {index}");
    }
    let short = [&TCP4[..], &[3, 0, 3, 0, 0, 0]].concat();
    assert_eq!(read(&raw(0x21, 0x11, &short)), Err(ParseError::Checksum));
    assert_eq!(tcp4().with_tlv(3, "abcd"), Err(TlvError::Reserved { kind: 3 }));
}

#[test]
fn section_2_2_4_padding_is_passed_over() {
    let padded = [&TCP4[..], &[4, 0, 2, 9, 9], &[4, 0, 0]].concat();
    assert_eq!(read(&raw(0x21, 0x11, &padded)), Ok(tcp4()));
    assert_eq!(tcp4().with_tlv(4, ""), Err(TlvError::Reserved { kind: 4 }));
}

#[test]
fn section_2_2_5_a_unique_id_has_128_bytes() {
    assert!(tcp4().with_tlv(UNIQUE_ID, vec![7; 128]).is_ok());
    let source = TlvError::TooLong { length: 129, max: 128 };
    assert_eq!(tcp4().with_tlv(UNIQUE_ID, vec![7; 129]), Err(source));
    let long = [&TCP4[..], &[5, 0, 129], &[7; 129]].concat();
    assert_eq!(read(&raw(0x21, 0x11, &long)), Err(ParseError::Tlv { source }));
}

#[test]
fn the_longest_that_is_written_is_read() {
    let unix = Addresses::unix(Transport::Stream, &[b'a'; 108], &[b'b'; 108]).unwrap();
    let header = ProxyHeader::from(unix).with_tlv(0xe0, vec![7; 3837]).unwrap();
    assert_eq!(read(&header.to_checked_bytes()), Ok(header.clone()));
    assert!(matches!(header.with_tlv(0xe1, ""), Err(TlvError::TooLong { max: 3840, .. })));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source: std::net::SocketAddr,
        destination: std::net::SocketAddr,
        datagram: bool,
        values in prop::collection::btree_map(6_u8.., prop::collection::vec(any::<u8>(), 0..200), 0..8),
        checked: bool,
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let transport = if datagram { Transport::Datagram } else { Transport::Stream };
        let mut header = ProxyHeader::from(Addresses::inet(transport, source, destination));
        for (kind, value) in values {
            header = header.with_tlv(kind, value).unwrap();
        }
        let mut bytes = if checked { header.to_checked_bytes() } else { header.to_bytes() };
        let length = bytes.len();
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(parse(&bytes), Ok(Parsed { header, length }));
    }

    /// Whatever is read is written as what is read as the same.
    #[test]
    fn reading_is_stable(command in 0x20_u8..0x23, family in 0x0f_u8..0x34, block in prop::collection::vec(0_u8..6, 0..300)) {
        if let Ok(Parsed { header, .. }) = parse(&raw(command, family, &block)) {
            prop_assert_eq!(read(&header.to_bytes()), Ok(header));
        }
    }
}
