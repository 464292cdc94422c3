//! The fields that go with a CONNECT.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use hbone::header::{Baggage, FieldError, Forwarded, ForwardedNetwork, TraceParent, TraceState};

use crate::parsed;

/// As Istio's proxies have it.
const BAGGAGE: &str = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,service.version=v1";
const FORWARDED: &str = "for=\"10.0.0.1:4000\";by=10.0.0.9;host=cart.shop;proto=http";
const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const NETWORK: &str = "network-2";

#[library_benchmark]
#[bench::of_5_members(BAGGAGE)]
fn parse_baggage(text: &str) -> Result<Baggage, FieldError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::of_5_members(parsed(BAGGAGE))]
fn write_baggage(field: &Baggage) -> String {
    black_box(field).to_string()
}

#[library_benchmark]
#[bench::of_1_hop(FORWARDED)]
fn parse_forwarded(text: &str) -> Result<Forwarded, FieldError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::of_1_hop(parsed(FORWARDED))]
fn write_forwarded(field: &Forwarded) -> String {
    black_box(field).to_string()
}

#[library_benchmark]
#[bench::sampled(TRACE_PARENT)]
fn parse_traceparent(text: &str) -> Result<TraceParent, FieldError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::sampled(parsed(TRACE_PARENT))]
fn write_traceparent(field: &TraceParent) -> String {
    black_box(field).to_string()
}

#[library_benchmark]
#[bench::of_2_entries(TRACE_STATE)]
fn parse_tracestate(text: &str) -> Result<TraceState, FieldError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::of_2_entries(parsed(TRACE_STATE))]
fn write_tracestate(field: &TraceState) -> String {
    black_box(field).to_string()
}

#[library_benchmark]
#[bench::of_9_bytes(NETWORK)]
fn parse_network(text: &str) -> Result<ForwardedNetwork, FieldError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::of_9_bytes(parsed(NETWORK))]
fn write_network(field: &ForwardedNetwork) -> String {
    black_box(field).to_string()
}

library_benchmark_group!(
    name = headers,
    benchmarks = [
        parse_baggage,
        write_baggage,
        parse_forwarded,
        write_forwarded,
        parse_traceparent,
        write_traceparent,
        parse_tracestate,
        write_tracestate,
        parse_network,
        write_network
    ]
);
