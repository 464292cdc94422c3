//! What a CONNECT asks for.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use hbone::{Target, TargetError};

use crate::parsed;

const V4: &str = "10.0.0.5:8080";
const V6: &str = "[2001:db8::5]:8080";
const HOST: &str = "reviews.default.svc.cluster.local:9080";

#[library_benchmark]
#[bench::ipv4(V4)]
#[bench::ipv6(V6)]
#[bench::host(HOST)]
fn parse_target(text: &str) -> Result<Target, TargetError> {
    black_box(text).parse()
}

#[library_benchmark]
#[bench::ipv4(parsed(V4))]
#[bench::ipv6(parsed(V6))]
#[bench::host(parsed(HOST))]
fn write_target(target: &Target) -> String {
    black_box(target).to_string()
}

library_benchmark_group!(name = targets, benchmarks = [parse_target, write_target]);
