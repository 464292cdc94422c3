//! What stands before the bytes of a connection that is handed over.

use std::hint::black_box;

use bytes::BytesMut;
use gungraun::{library_benchmark, library_benchmark_group};
use hbone::proxy_protocol::{
    AUTHORITY, Addresses, PEER_IDENTITY, ParseError, Parsed, ProxyHeader, Transport, parse,
};

use crate::kept;

#[library_benchmark]
#[bench::addresses(kept(bare().to_bytes()))]
#[bench::with_names(kept(named().to_bytes()))]
#[bench::with_names_and_checksum(kept(named().to_checked_bytes()))]
fn parse_header(bytes: &BytesMut) -> Result<Parsed, ParseError> {
    parse(black_box(bytes))
}

#[library_benchmark]
#[bench::addresses(kept(bare()))]
#[bench::with_names(kept(named()))]
fn write_header(header: &ProxyHeader) -> BytesMut {
    black_box(header).to_bytes()
}

#[library_benchmark]
#[bench::with_names(kept(named()))]
fn write_checked_header(header: &ProxyHeader) -> BytesMut {
    black_box(header).to_checked_bytes()
}

fn bare() -> ProxyHeader {
    Addresses::inet(Transport::Stream, ([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 5], 80).into()).into()
}

/// As a waypoint is told them.
fn named() -> ProxyHeader {
    bare()
        .with_tlv(AUTHORITY, "cart.shop.svc.cluster.local:80")
        .and_then(|header| header.with_tlv(PEER_IDENTITY, "spiffe://cluster.local/ns/shop/sa/cart"))
        .expect("they are short")
}

library_benchmark_group!(
    name = proxy_protocol,
    benchmarks = [parse_header, write_header, write_checked_header]
);
