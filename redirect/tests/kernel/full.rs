//! A conntrack table that is full: what it has no room for goes nowhere, so nothing escapes capture.

use std::error::Error;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use inpod_redirect::{Family, Intent, Method};
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};

use crate::backend::Backend;
use crate::scene::{SOME, Scene, accept, connect, listen, settle, talk, unmarked};

/// How many connections a table holds: of each namespace, but one number for the whole machine
/// (Documentation/networking/nf_conntrack-sysctl.rst).
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Says that tests may lower it for a moment: machines whose own tables hold more would open no connection meanwhile.
const ALLOWED: &str = "INPOD_TEST_MACHINE_SETTINGS";
/// What it is lowered to.
const FEW: usize = 20;

/// Long enough for an answer, and for a packet to be sent twice.
const NOBODY: Duration = Duration::from_millis(1500);

pub(crate) fn tests() -> Vec<Case> {
    // The harness leaves the machine's own network namespace before cases run, and others may not write it.
    let max = File::options().read(true).write(true).open(MAX).map(Arc::new);
    let mut cases = Vec::new();
    for backend in Backend::ALL {
        for method in [Method::Redirect, Method::Tproxy] {
            for family in [Family::V4, Family::V6] {
                let name = format!("full::{backend}_{method:?}_{family}_nothing_escapes").to_lowercase();
                let max = max.as_ref().map(Arc::clone).map_err(|error| format!("{MAX}: {error}"));
                let case = test(name, move || nothing_escapes(&*max?, backend, method, family));
                cases.push(backend.needed(case).needs_root().needs_env(ALLOWED).serial());
            }
        }
    }
    cases
}

/// The number as it was, until this is dropped.
struct Lowered<'max> {
    max: &'max File,
    before: String,
}

impl<'max> Lowered<'max> {
    fn new(max: &'max File) -> Result<Self, Box<dyn Error>> {
        let mut before = [0; 32];
        let read = max.read_at(&mut before, 0)?;
        let before = std::str::from_utf8(before.get(..read).unwrap_or_default())?.to_owned();
        max.write_all_at(FEW.to_string().as_bytes(), 0)?;
        Ok(Self { max, before })
    }
}

impl Drop for Lowered<'_> {
    fn drop(&mut self) {
        self.max.write_all_at(self.before.as_bytes(), 0).unwrap();
    }
}

fn nothing_escapes(max: &File, backend: Backend, method: Method, family: Family) -> Outcome {
    let intent = Intent::ambient().with_inbound_method(method).with_outbound_method(method);
    let scene = Scene::by(backend, intent, family)?;
    let far = listen(&scene.peer, scene.peer_ip(), SOME)?;
    let near = listen(&scene.app, scene.app_ip(), SOME)?;
    let open = |from: &Pod, to: &TcpListener| connect(from, to.local_addr()?, unmarked);
    // All are sure to stay (`ASSURED`), and leave room for no other.
    let mut old = Vec::new();
    for _ in 0..FEW {
        old.push((open(&scene.app, &far)?, accept(&scene.outbound)?));
        old.push((open(&scene.peer, &near)?, accept(&scene.plaintext)?));
    }
    for (one, other) in &old {
        talk(one, other)?;
    }
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    let lowered = Lowered::new(max)?;
    refused(&scene.app, &far)?;
    drop(lowered);
    settle(&scene.app, &scene.peer, family)?;
    assert_eq!(wire.stop()?.tcp_ports().get(&SOME), None, "what has no room does not get to the wire");

    let lowered = Lowered::new(max)?;
    refused(&scene.peer, &near)?;
    scene.assert_proxy_idle()?;
    for (one, other) in &old {
        talk(one, other)?;
    }
    drop(lowered);
    for listener in [&scene.outbound, &scene.plaintext] {
        listener.set_nonblocking(false)?;
    }
    let new = (open(&scene.app, &far)?, accept(&scene.outbound)?);
    talk(&new.0, &new.1)
}

fn refused(from: &Pod, to: &TcpListener) -> Outcome {
    let at = to.local_addr()?;
    let outcome = from.run(|| TcpStream::connect_timeout(&at, NOBODY))?;
    assert!(outcome.is_err(), "{outcome:?}");
    to.set_nonblocking(true)?;
    let arrived = to.accept();
    assert!(arrived.is_err(), "it was not captured: {arrived:?}");
    Ok(to.set_nonblocking(false)?)
}
