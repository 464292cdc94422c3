//! An operation that is killed between any two requests to the kernel: what is left is the one state or the other, or one in between
//! that captures no less; and whoever starts again converges.
//!
//! strace kills a child as it is about to make its n-th request (each is one `sendto`), for every n until the child gets to its
//! end.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use inpod_redirect::{
    DnsCapture, Existing, Family, Intent, Method, Plan, Port, Verdict, apply, drain, enrol, remove, verify,
};
use socket2::SockRef;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::live::pods;
use crate::scene::{OUTBOUND, SOME, accept, connect, ip, listen, listen_as_proxy, talk, unmarked, wildcard};

pub(crate) fn tests() -> Vec<Case> {
    let of = |deed: Deed, before: Before| {
        let name = format!("killed::{deed:?}_when_there_is_{before:?}_converges").to_lowercase();
        test(name, move || each_boundary(deed, before)).needs_program("strace")
    };
    let mut cases = vec![
        of(Deed::Drain, Before::Another),
        of(Deed::Remove, Before::Another),
        of(Deed::DrainDiverted, Before::Diverting),
    ];
    for before in [Before::Nothing, Before::Another, Before::Draining] {
        cases.extend([Deed::Apply, Deed::Keep, Deed::Reset].map(|deed| of(deed, before)));
    }
    cases
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Apply,
    Keep,
    Reset,
    Drain,
    /// Of a plan that captures packet by packet.
    DrainDiverted,
    Remove,
}

/// What there is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A plan with other options.
    Another,
    /// One that captures packet by packet.
    Diverting,
    /// The same as the other, draining.
    Draining,
}

/// Says in a child what it is to do.
pub(crate) const DEED: &str = "INPOD_REDIRECT_TEST_DEED";

/// The child: it is killed, or comes to its end.
pub(crate) fn act(deed: &str) {
    let plan = plan();
    match deed {
        "Apply" => drop(apply(&plan).unwrap()),
        "Keep" => drop(enrol(&plan, Existing::Keep).unwrap()),
        "Reset" => drop(enrol(&plan, Existing::Reset).unwrap()),
        "Drain" => drop(drain(&plan).unwrap()),
        "DrainDiverted" => drop(drain(&diverting()).unwrap()),
        "Remove" => remove(&plan).unwrap(),
        other => panic!("{other}"),
    }
}

fn plan() -> Plan {
    Plan::new(&Intent::ambient())
}

fn diverting() -> Plan {
    Plan::new(&Intent::ambient().with_outbound_method(Method::Tproxy))
}

fn another() -> Plan {
    let dns = DnsCapture::To(Port::new(15053).unwrap());
    Plan::new(&Intent::ambient().with_dns(dns).unwrap())
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Killed,
    Done,
}

/// More requests than any deed makes: a child that is killed at each of them would never get to its end.
const LIMIT: u32 = 300;

fn each_boundary(deed: Deed, before: Before) -> Outcome {
    let (_lab, app, peer) = pods(Family::V4)?;
    let far = listen(&peer, ip(&peer, Family::V4), SOME)?;
    let proxy = listen_as_proxy(&app, SocketAddr::new(wildcard(Family::V4), OUTBOUND))?;
    for n in 1..LIMIT {
        set(&app, before)?;
        let old = connect(&app, far.local_addr()?, unmarked)?;
        let old =
            (old, accept(if matches!(before, Before::Another | Before::Diverting) { &proxy } else { &far })?);
        let ended = run(&app, deed, n)?;

        let new = to(&app, far.local_addr()?, &far, &proxy)?;
        match (before, deed, &ended) {
            // Never less than before, and all when it is done.
            (Before::Another, Deed::Apply | Deed::Keep | Deed::Reset, _) => {
                assert_eq!(new, Whither::Proxy, "{n}");
            }
            (_, Deed::Apply | Deed::Keep | Deed::Reset, Ended::Done) => assert_eq!(new, Whither::Proxy),
            (_, Deed::Drain | Deed::DrainDiverted | Deed::Remove, Ended::Done) => {
                assert_eq!(new, Whither::Direct);
            }
            (_, _, Ended::Killed) => {}
        }
        // What is captured, or kept, goes on through all this.
        let lives = matches!(deed, Deed::Keep | Deed::Drain | Deed::DrainDiverted)
            || before == Before::Another && matches!(deed, Deed::Apply | Deed::Reset);
        if deed == Deed::Keep {
            app.run(|| enrol(&plan(), Existing::Keep))??;
        }
        if lives {
            talk(&old.0, &old.1).map_err(|error| format!("killed at {n}: {error}"))?;
        }
        app.run(|| apply(&plan()))??;
        assert_eq!(app.run(|| verify(&plan()))??, Verdict::Same, "{n}");
        assert_eq!(to(&app, far.local_addr()?, &far, &proxy)?, Whither::Proxy);
        if ended == Ended::Done {
            assert!(n > 5, "it makes some requests");
            return Ok(());
        }
    }
    Err("it does not come to its end".into())
}

/// Brings about what there is before.
fn set(app: &Pod, before: Before) -> Outcome {
    app.run(|| -> Outcome {
        remove(&plan())?;
        match before {
            Before::Nothing => {}
            Before::Another => drop(apply(&another())?),
            Before::Diverting => drop(apply(&diverting())?),
            Before::Draining => {
                apply(&another())?;
                drain(&another())?;
            }
        }
        Ok(())
    })?
}

/// Runs a deed in a child, which is killed as it makes its n-th request.
fn run(app: &Pod, deed: Deed, n: u32) -> Result<Ended, Box<dyn Error>> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e"]);
    strace.arg(format!("inject=sendto:signal=KILL:when={n}"));
    strace.arg(std::env::current_exe()?).env(DEED, format!("{deed:?}"));
    let status = app.spawn(&mut strace)?.wait()?;
    match (status.signal(), status.success()) {
        (Some(KILL), _) => Ok(Ended::Killed),
        (None, true) => Ok(Ended::Done),
        _ => Err(format!("{deed:?} ended with {status}").into()),
    }
}

/// `SIGKILL` (`signal(7)`).
const KILL: i32 = 9;

/// Where a new connection goes.
#[derive(Debug, PartialEq, Eq)]
enum Whither {
    Proxy,
    Direct,
}

fn to(
    app: &Pod,
    address: SocketAddr,
    far: &TcpListener,
    proxy: &TcpListener,
) -> Result<Whither, Box<dyn Error>> {
    let client = connect(app, address, unmarked)?;
    // Whoever has it has it before its client knows.
    let mut has = Vec::new();
    for (listener, whither) in [(far, Whither::Direct), (proxy, Whither::Proxy)] {
        listener.set_nonblocking(true)?;
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                talk(&client, &stream)?;
                has.push(whither);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        listener.set_nonblocking(false)?;
    }
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    let one = has.pop().ok_or("nobody has it")?;
    if has.is_empty() { Ok(one) } else { Err("both have it".into()) }
}
