//! Under load: agents and proxies are replaced, and no connection fails.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testkit::child::Child;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::Lab;

use crate::mesh::{APPLICATION, Member, Result, Site, pair, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with_programs("agents_are_replaced_under_load", agents_are_replaced_under_load).serial(),
        with_programs("proxies_are_replaced_under_load", proxies_are_replaced_under_load).serial(),
        with_programs("both_are_replaced_under_load", both_are_replaced_under_load).serial(),
        with_programs("a_proxy_that_is_killed_loses_no_attempt", a_proxy_that_is_killed_loses_no_attempt)
            .serial(),
    ]
}

/// New connections of each pod to another, one after the other.
const PACE: Duration = Duration::from_millis(8);

/// What came of connections.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    done: AtomicUsize,
    /// When each began, and what came of it.
    failed: Mutex<Vec<(Instant, String)>>,
}

impl Load {
    /// Keeps connecting from one pod to another until it is over.
    fn run(&self, from: &Member, to: &Member) {
        while !self.over.load(Ordering::Relaxed) {
            let start = Instant::now();
            for address in &to.addresses {
                let (address, began) = (SocketAddr::new(*address, APPLICATION), Instant::now());
                let answer = http::request(&from.namespace, address, "/", b"hello");
                match answer.map(|answer| answer.status()) {
                    Ok(200) => drop(self.done.fetch_add(1, Ordering::Relaxed)),
                    other => self.fail(began, format!("{} to {address}: {other:?}", from.name)),
                }
            }
            sleep(PACE.saturating_sub(start.elapsed()));
        }
    }

    fn fail(&self, began: Instant, what: String) {
        if let Ok(mut failed) = self.failed.lock() {
            failed.push((began, what));
        }
    }

    /// What has failed so far is not held against anybody, if it began before that.
    fn forgive(&self, before: Instant) {
        if let Ok(mut failed) = self.failed.lock() {
            failed.retain(|(began, _)| *began >= before);
        }
    }

    /// Waits until so many more have been made.
    fn more(&self, connections: usize) -> Result<()> {
        let wanted = self.done.load(Ordering::Relaxed) + connections;
        wait_for("connections", || Ok(self.done.load(Ordering::Relaxed) >= wanted))
    }

    fn assert_none_failed(&self) {
        let failed = self.failed.lock().map(|failed| failed.clone()).unwrap_or_default();
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            failed.is_empty(),
            "{} of {done} failed: {:#?}",
            failed.len(),
            failed.iter().take(5).collect::<Vec<_>>()
        );
    }
}

/// The load ends when this does, however that is.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What becomes of connections that are there while something changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Living {
    LiveOn,
    MayEnd,
}

/// Runs `change` with four enrolled pods that connect to each other all the time, and connections between them.
fn under_load(
    living: Living,
    change: impl FnOnce(&Site, &Load, Child, Child) -> Result<Vec<Child>>,
) -> Outcome {
    let lab = Lab::new()?;
    let names = ["a", "b", "c", "d"];
    let pods = names.iter().map(|name| lab.pod(*name).map(|pod| Member::from(&pod)));
    let pods: Vec<Member> = pods.collect::<Result<_, _>>()?;
    let site = Site::new(lab.node(), &pods.iter().collect::<Vec<_>>())?;
    let (agent, proxy) = (site.agent()?, site.proxy()?);
    for pod in &pods {
        site.files.write_pod(pod, "")?;
    }
    site.wait_for_enrolled(pods.len()).map_err(|error| agent.with_log(error))?;
    let servers = pods.iter().map(|pod| http::Server::start(&pod.namespace, APPLICATION));
    let _servers = servers.collect::<std::io::Result<Vec<_>>>()?;
    let next = |index: usize| pods.get((index + 1) % pods.len());
    let pairs = || pods.iter().enumerate().filter_map(|(index, pod)| Some((pod, next(index)?)));
    let there: Vec<(TcpStream, TcpStream)> =
        pairs().map(|(from, to)| pair(from, to, 8081)).collect::<Result<_>>()?;
    let load = Load::default();
    let changed = std::thread::scope(|scope: &Scope<'_, '_>| {
        let _over = Over(&load);
        for (from, to) in pairs() {
            let load = &load;
            scope.spawn(move || load.run(from, to));
        }
        load.more(400)?;
        let changed = change(&site, &load, agent, proxy)?;
        load.more(400)?;
        Ok::<_, Box<dyn std::error::Error>>(changed)
    })?;
    load.assert_none_failed();
    for (mut near, mut far) in there.into_iter().filter(|_| living == Living::LiveOn) {
        near.write_all(b"still there?")?;
        let mut heard = [0; 12];
        far.read_exact(&mut heard)?;
        assert_eq!(&heard, b"still there?");
    }
    drop(changed);
    Ok(())
}

/// Another agent takes this one's place: by ending first, by a kill, and side by side.
fn replace_agent(site: &Site, load: &Load, mut agent: Child) -> Result<Child> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        agent.signal(signal)?;
        agent.wait()?;
        load.more(50)?;
        agent = site.agent()?;
        site.wait_for_enrolled(4).map_err(|error| agent.with_log(error))?;
        load.more(50)?;
    }
    let next = site.agent()?;
    load.more(50)?;
    agent.signal(Signal::SIGTERM)?;
    agent.wait()?;
    site.wait_for_enrolled(4).map_err(|error| next.with_log(error))?;
    Ok(next)
}

/// Another proxy takes this one's place, which serves until the other does.
fn replace_proxy(site: &Site, load: &Load, proxy: &Child) -> Result<Child> {
    let next = site.proxy_beside()?;
    wait_for("two proxies", || Ok(site.proxies()? == 2))?;
    site.wait_for_enrolled(4).map_err(|error| next.with_log(error))?;
    load.more(50)?;
    proxy.signal(Signal::SIGTERM)?;
    load.more(200)?;
    Ok(next)
}

fn agents_are_replaced_under_load() -> Outcome {
    under_load(Living::LiveOn, |site, load, agent, proxy| Ok(vec![replace_agent(site, load, agent)?, proxy]))
}

fn proxies_are_replaced_under_load() -> Outcome {
    under_load(Living::LiveOn, |site, load, agent, proxy| {
        let next = replace_proxy(site, load, &proxy)?;
        // The old one drains: what it has lives on.
        Ok(vec![agent, proxy, next])
    })
}

fn both_are_replaced_under_load() -> Outcome {
    under_load(Living::LiveOn, |site, load, agent, proxy| {
        let agent = replace_agent(site, load, agent)?;
        let next = replace_proxy(site, load, &proxy)?;
        Ok(vec![replace_agent(site, load, agent)?, proxy, next])
    })
}

/// Connections that the proxy had die with it. Those that are opened from then on wait in sockets that the agent holds, until the next one
/// accepts them.
fn a_proxy_that_is_killed_loses_no_attempt() -> Outcome {
    under_load(Living::MayEnd, |site, load, agent, mut proxy| {
        for _ in 0..3 {
            proxy.signal(Signal::SIGKILL)?;
            proxy.wait()?;
            let killed = Instant::now();
            wait_for("no proxy", || Ok(site.proxies()? == 0))?;
            proxy = site.proxy()?;
            site.wait_for_enrolled(4).map_err(|error| proxy.with_log(error))?;
            load.more(100)?;
            load.forgive(killed);
        }
        Ok(vec![agent, proxy])
    })
}
