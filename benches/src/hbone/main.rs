//! What tunnels cost over a pipe in memory, beside the same bytes over the same pipe without them; interleaved in one run. Both
//! ends share one thread, so a rate is that of both together.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;

mod bulk;
mod connect;
mod hostile;
mod neighbour;
mod peer;
mod pipe;
mod rate;

use hostile::Kind;
use neighbour::Neighbour;
use peer::Peer;
use pipe::Cover;
use rate::Rates;

/// Times tunnels over a pipe in memory, with TLS and without, beside the pipe alone.
#[derive(Debug, clap::Parser)]
#[command(name = "inpod-bench-hbone", version)]
struct Args {
    /// How many MiB are sent each time
    #[arg(long, default_value_t = 512)]
    mebibytes: usize,
    /// How many tunnels are opened each time
    #[arg(long, default_value_t = 5000)]
    tunnels: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How many connections the peer beside a neighbour makes each time, at most; else as many as go
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
    /// How many milliseconds a neighbour is measured each time
    #[arg(long, default_value_t = 500)]
    milliseconds: u64,
    /// Another implementation of tunnels, to be measured in turn: a program that is told what to measure, and prints the rate
    #[arg(long, env = "INPOD_PEER_HBONE", value_name = "PATH")]
    peer: Option<Peer>,
    /// What is measured; else everything
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Bytes of one tunnel and of a hundred
    Bulk,
    /// Tunnels one after another
    Opens,
    /// Round trips beside peers that mean harm
    Neighbour,
}

impl Args {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inpod-bench-hbone: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    for cover in [Cover::Plain, Cover::Tls] {
        if args.has(Part::Bulk) {
            bulk(args, cover).await?;
        }
    }
    for cover in [Cover::Plain, Cover::Tls] {
        if args.has(Part::Opens) {
            opens(args, cover).await?;
        }
    }
    if args.has(Part::Neighbour) {
        neighbours(args).await?;
    }
    Ok(())
}

async fn bulk(args: &Args, cover: Cover) -> Result<()> {
    let (mut alone, mut one, mut hundred) = (Rates::default(), Rates::default(), Rates::default());
    let mut of_peer = [Rates::default(), Rates::default()];
    for _ in 0..args.rounds {
        alone.add(bulk::alone(cover, args.mebibytes).await?);
        one.add(bulk::tunnels(cover, args.mebibytes, 1).await?);
        hundred.add(bulk::tunnels(cover, args.mebibytes, 100).await?);
        if let Some(peer) = &args.peer {
            for (rates, count) in of_peer.iter_mut().zip([1, 100]) {
                rates.add(peer.tunnels(cover, args.mebibytes, count).await?);
            }
        }
    }
    println!(
        "{cover}, {} MiB ({} rounds): MiB/s, and as a share of the pipe alone",
        args.mebibytes, args.rounds
    );
    println!("  {:<24} {alone}", "the pipe alone");
    print_share("one tunnel", &one, &alone);
    print_share("a hundred tunnels", &hundred, &alone);
    if args.peer.is_some() {
        let [one, hundred] = &of_peer;
        print_share("the peer's, one tunnel", one, &alone);
        print_share("the peer's, a hundred tunnels", hundred, &alone);
    }
    Ok(())
}

async fn opens(args: &Args, cover: Cover) -> Result<()> {
    let (mut trips, mut opens, mut of_peer) = (Rates::default(), Rates::default(), Rates::default());
    for _ in 0..args.rounds {
        trips.add(connect::round_trips(cover, args.tunnels).await?);
        opens.add(connect::opens(cover, args.tunnels).await?);
        if let Some(peer) = &args.peer {
            of_peer.add(peer.opens(cover, args.tunnels).await?);
        }
    }
    println!("{cover}, one after another ({} each, {} rounds): per second", args.tunnels, args.rounds);
    println!("  {:<24} {trips}", "round trips of a byte");
    print_share("tunnels opened and closed", &opens, &trips);
    if args.peer.is_some() {
        print_share("the peer's", &of_peer, &trips);
    }
    Ok(())
}

fn print_share(what: &str, rates: &Rates, of: &Rates) {
    println!("  {what:<24} {rates} {:>6.0} %", 100.0 * rates.of(of));
}

async fn neighbours(args: &Args) -> Result<()> {
    let span = Duration::from_millis(args.milliseconds);
    println!(
        "round trips over TCP beside another peer of the same server, one thread ({} rounds of {span:?}): microseconds",
        args.rounds
    );
    let mut neighbour = Neighbour::new().await?;
    // Once for nothing, so that all is warm.
    neighbour.trips(span).await?;
    for kind in Kind::ALL {
        let [mut medians, mut p99s] = [Rates::default(), Rates::default()];
        let [mut of_medians, mut of_p99s] = [Rates::default(), Rates::default()];
        let mut connections = 0;
        for _ in 0..args.rounds {
            let alone = neighbour.trips(span).await?;
            let (beside, count) = neighbour.trips_beside(kind, span, args.connections).await?;
            medians.add(beside.median);
            p99s.add(beside.p99);
            of_medians.add(beside.median / alone.median);
            of_p99s.add(beside.p99 / alone.p99);
            connections += count;
        }
        println!(
            "  {kind:<26} median {:>5.0} {:>5.1} x   p99 {:>6.0} {:>5.1} x   {connections} connections",
            medians.median(),
            of_medians.median(),
            p99s.median(),
            of_p99s.median(),
        );
    }
    Ok(())
}
