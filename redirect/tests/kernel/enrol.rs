//! Capture that begins while connections are open, and changes, under load.

use std::error::Error;
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};

use inpod_redirect::{
    DnsCapture, EnrolError, Exception, Existing, Family, Forgotten, Guard, Intent, Method, Plan, Port,
    Verdict, apply, drain, enrol, forget, verify,
};
use socket2::{SockRef, Socket};
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};

use crate::drain::{Stage, well};
use crate::live::pods;
use crate::load::{CANARY, Echo, Life, Load, Who};
use crate::rules::fresh;
use crate::scene::{
    OUTBOUND, PLAINTEXT, SOME, accept, connect, ip, listen, listen_as_proxy, marked, settle, talk, unmarked,
    wildcard,
};
use crate::text::nft;

/// Whether conntrack knows the connections that are there.
#[derive(Clone, Copy, Debug)]
enum Conntrack {
    Active,
    Inactive,
}

/// Its name, and what happens.
type Test = (&'static str, fn(Family, Conntrack) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 8] = [
        ("kept_connections_go_on_and_new_ones_are_captured", keep),
        ("idle_ones_are_kept_as_well", keep_idle),
        ("kept_connections_go_on_past_tproxy", keep_by_tproxy),
        ("idle_ones_are_kept_past_tproxy_as_well", keep_idle_by_tproxy),
        ("reset_ones_end_on_both_sides_and_the_proxys_do_not", reset),
        ("reset_ones_end_where_tproxy_captures", reset_by_tproxy),
        ("two_ends_that_meet_anew_are_captured", reused),
        ("two_ends_that_were_captured_before_are_kept", captured_before),
    ];
    let mut cases = Vec::new();
    for (name, body) in tests {
        for family in [Family::V4, Family::V6] {
            for conntrack in [Conntrack::Active, Conntrack::Inactive] {
                let name = format!("enrol::{family}_conntrack_{conntrack:?}_{name}").to_lowercase();
                cases.push(test(name, move || body(family, conntrack)).needs_program("nft"));
            }
        }
    }
    for family in [Family::V4, Family::V6] {
        let name = format!("enrol::{family}_options_change_and_nothing_breaks_or_escapes");
        cases.push(test(name, move || changes(family)));
        let name = format!("enrol::{family}_what_drains_is_enrolled_again");
        cases.push(test(name, move || drained(family)));
    }
    cases.push(test("enrol::what_captures_packet_by_packet_without_a_guard_keeps_nothing", packet_by_packet));
    // Alone: each is a load that two processors are busy with.
    cases.into_iter().map(Case::serial).collect()
}

/// Has conntrack look at all connections of a pod from now on, or leaves it off.
fn set(pod: &Pod, conntrack: Conntrack) -> Outcome {
    match conntrack {
        Conntrack::Active => pod.run(|| nft(TRACKING))?,
        Conntrack::Inactive => Ok(()),
    }
}

/// Somebody else's table, for which connections have to be tracked.
const TRACKING: &str = "table inet other {
	chain seen {
		type filter hook output priority 0; policy accept;
		ct state established accept
	}
}";

fn plan() -> Plan {
    Plan::new(&Intent::ambient())
}

/// One that captures what is sent packet by packet.
fn diverting() -> Plan {
    Plan::new(&Intent::ambient().with_outbound_method(Method::Tproxy))
}

fn keep(family: Family, conntrack: Conntrack) -> Outcome {
    keep_by(&plan(), family, conntrack)
}

fn keep_by_tproxy(family: Family, conntrack: Conntrack) -> Outcome {
    keep_by(&diverting(), family, conntrack)
}

fn keep_by(plan: &Plan, family: Family, conntrack: Conntrack) -> Outcome {
    let stage = Stage::new(family)?;
    set(&stage.app, conntrack)?;
    let (old, changing) = (stage.loads(48, Life::Long)?, stage.loads(52, Life::Short)?);
    let enrolled = stage.app.run(|| enrol(plan, Existing::Keep))??;
    assert!(enrolled.kept.len() >= 96, "{}", enrolled.kept.len());
    assert_eq!((enrolled.reset, enrolled.left), (Vec::new(), Vec::new()));
    assert_eq!(stage.app.run(|| verify(plan))??, Verdict::Same);
    let new = stage.loads(20, Life::Long)?;
    for load in old.iter().chain(&changing).chain(&new) {
        load.go_on()?;
    }
    // Applying it again leaves them alone, and so does enrolling it.
    stage.app.run(|| apply(plan))??;
    assert!(stage.app.run(|| enrol(plan, Existing::Keep))??.kept.len() >= 96);
    for load in old.iter().chain(&changing).chain(&new) {
        load.go_on()?;
    }
    assert!(stage.app.run(|| forget(plan))??.kept >= 96);
    for report in well(new) {
        assert_eq!(report.by_server, 0, "new connections are captured");
    }
    for report in well(changing) {
        assert!(report.by_server > 0 && report.by_proxy > 0, "{report:?}");
    }
    for report in well(old) {
        assert_eq!(report.by_proxy, 0, "kept connections stay direct");
    }
    crate::load::until(|| matches!(stage.app.run(|| forget(plan)), Ok(Ok(Forgotten { kept: 0, .. }))))?;
    assert_eq!(stage.app.run(|| verify(plan))??, Verdict::Same);
    stage.assert_servers_well();
    Ok(())
}

/// Two connections, one each way: the application's end first.
fn two(app: &Pod, peer: &Pod, family: Family) -> Result<Vec<(TcpStream, TcpStream)>, Box<dyn Error>> {
    let far = listen(peer, ip(peer, family), SOME)?;
    let near = listen(app, ip(app, family), SOME)?;
    let (to_far, to_near) = (far.local_addr()?, near.local_addr()?);
    let out = (connect(app, to_far, unmarked)?, accept(&far)?);
    let client = connect(peer, to_near, unmarked)?;
    Ok(vec![out, (accept(&near)?, client)])
}

fn keep_idle(family: Family, conntrack: Conntrack) -> Outcome {
    keep_idle_by(&plan(), family, conntrack)
}

fn keep_idle_by_tproxy(family: Family, conntrack: Conntrack) -> Outcome {
    keep_idle_by(&diverting(), family, conntrack)
}

fn keep_idle_by(plan: &Plan, family: Family, conntrack: Conntrack) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    set(&app, conntrack)?;
    let talking = two(&app, &peer, family)?;
    let ending = two(&app, &peer, family)?;
    let hasty = two(&app, &peer, family)?;
    let enrolled = app.run(|| enrol(plan, Existing::Keep))??;
    assert_eq!(enrolled.kept.len(), 6);
    for (here, there) in &talking {
        talk(there, here)?;
        talk(here, there)?;
    }
    // An end in good order is one, and a reset as well.
    for (here, there) in ending {
        drop(there);
        assert_eq!((&here).read(&mut [0])?, 0);
    }
    for (here, there) in hasty {
        SockRef::from(&there).set_linger(Some(std::time::Duration::ZERO))?;
        drop(there);
        let error = (&here).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let forgotten = app.run(|| forget(plan))??;
    assert!(forgotten.kept >= 2 && forgotten.forgotten >= 2, "{forgotten:?}");
    for (here, there) in &talking {
        talk(there, here)?;
    }
    Ok(())
}

fn reset(family: Family, conntrack: Conntrack) -> Outcome {
    reset_by(&plan(), family, conntrack)
}

fn reset_by_tproxy(family: Family, conntrack: Conntrack) -> Outcome {
    reset_by(&diverting(), family, conntrack)
}

fn reset_by(plan: &Plan, family: Family, conntrack: Conntrack) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    set(&app, conntrack)?;
    let existing = two(&app, &peer, family)?;
    let far = listen(&peer, ip(&peer, family), SOME)?;
    let of_proxy = (connect(&app, far.local_addr()?, marked)?, accept(&far)?);
    let own = listen(&app, wildcard(family), SOME)?;
    let mut selves = Vec::new();
    for address in [family.loopback(), ip(&app, family)] {
        selves.push((connect(&app, SocketAddr::new(address, SOME), unmarked)?, accept(&own)?));
    }
    let enrolled = app.run(|| enrol(plan, Existing::Reset))??;
    assert_eq!((enrolled.reset.len(), enrolled.kept.len(), enrolled.left.len()), (2, 0, 0));
    for (here, there) in existing {
        let error = |mut stream: TcpStream| stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error(here), Err(ErrorKind::ConnectionAborted));
        assert_eq!(error(there), Err(ErrorKind::ConnectionReset));
    }
    talk(&of_proxy.1, &of_proxy.0)?;
    talk(&of_proxy.0, &of_proxy.1)?;
    for (one, other) in &selves {
        talk(one, other)?;
    }
    assert_eq!(app.run(|| verify(plan))??, Verdict::Same);
    let proxy = listen_as_proxy(&app, SocketAddr::new(wildcard(family), OUTBOUND))?;
    let new = connect(&app, far.local_addr()?, unmarked)?;
    talk(&new, &accept(&proxy)?)
}

fn reused(family: Family, conntrack: Conntrack) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    set(&app, conntrack)?;
    let far = listen(&peer, ip(&peer, family), SOME)?;
    let from = SocketAddr::new(ip(&app, family), 40_000);
    let bound = |socket: &Socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())
    };
    let old = connect(&app, far.local_addr()?, bound)?;
    let served = accept(&far)?;
    assert_eq!(app.run(|| enrol(&plan(), Existing::Keep))??.kept.len(), 1);
    talk(&old, &served)?;
    SockRef::from(&old).set_linger(Some(std::time::Duration::ZERO))?;
    drop(old);
    assert!((&served).read(&mut [0]).is_err(), "the reset has arrived");
    let proxy = listen(&app, wildcard(family), OUTBOUND)?;
    let new = connect(&app, far.local_addr()?, bound)?;
    talk(&new, &accept(&proxy)?)
}

/// Conntrack remembers the connection that was captured: what it says is not about the one that is there now.
fn captured_before(family: Family, conntrack: Conntrack) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    let far = listen(&peer, ip(&peer, family), SOME)?;
    let proxy = listen(&app, wildcard(family), OUTBOUND)?;
    let from = SocketAddr::new(ip(&app, family), 40_000);
    let bound = |socket: &Socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())
    };
    app.run(|| apply(&plan()))??;
    let captured = connect(&app, far.local_addr()?, bound)?;
    let served = accept(&proxy)?;
    talk(&captured, &served)?;
    SockRef::from(&captured).set_linger(Some(std::time::Duration::ZERO))?;
    drop(captured);
    assert!((&served).read(&mut [0]).is_err(), "the reset has arrived");
    app.run(|| inpod_redirect::remove(&plan()))??;
    set(&app, conntrack)?;
    let old = connect(&app, far.local_addr()?, bound)?;
    let its_end = accept(&far)?;
    talk(&old, &its_end)?;
    assert_eq!(app.run(|| enrol(&plan(), Existing::Keep))??.kept.len(), 1);
    talk(&old, &its_end)
}

/// Plans that follow one another, each another than the one before.
fn options() -> Result<Vec<Plan>, Box<dyn Error>> {
    let excepted = vec![Exception::ToPorts(Port::new(EXCEPTED)?.into())];
    let dns = DnsCapture::To(Port::new(15053)?);
    Ok([
        Intent::ambient().with_exceptions(excepted.clone())?,
        Intent::ambient(),
        Intent::ambient().with_dns(dns)?,
        Intent::ambient().with_dns(dns)?.with_exceptions(excepted)?,
        Intent::ambient().with_guard(Guard::Off),
    ]
    .iter()
    .map(Plan::new)
    .collect())
}

/// A port that is excepted by some plans.
const EXCEPTED: u16 = 9090;
/// A port on which nobody listens outside: who speaks to it is captured.
const NOBODY: u16 = 7070;

fn changes(family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    let servers = [
        Echo::start(&peer, ip(&peer, family), EXCEPTED, Who::Server)?,
        Echo::start(&app, wildcard(family), OUTBOUND, Who::Proxy)?,
        Echo::start(&app, wildcard(family), PLAINTEXT, Who::Proxy)?,
    ];
    let plans = options()?;
    let first = plans.first().ok_or("no plans")?;
    app.run(|| apply(first))??;
    let wire = Capture::start(peer.namespace(), INTERFACE)?;
    let to = |port| SocketAddr::new(ip(&peer, family), port);
    let captured =
        [Load::start(&app, to(NOBODY), 48, Life::Long)?, Load::start(&app, to(NOBODY), 12, Life::Short)?];
    for plan in plans.iter().chain([first]).cycle().take(50) {
        app.run(|| enrol(plan, Existing::Keep))??;
        app.run(|| apply(plan))??;
        assert_eq!(app.run(|| verify(plan))??, Verdict::Same);
    }
    for load in &captured {
        load.go_on()?;
    }
    for report in well(captured) {
        assert_eq!(report.by_server, 0);
    }
    settle(&app, &peer, family)?;
    let frames = wire.stop()?;
    assert!(!frames.is_empty() && frames.drops() == 0);
    assert!(!frames.contains(CANARY), "what is captured never leaves");

    // Those to the excepted port are now captured, now not, and each stays as it is.
    app.run(|| enrol(first, Existing::Keep))??;
    let direct = Load::start(&app, to(EXCEPTED), 24, Life::Long)?;
    let both = Load::start(&app, to(EXCEPTED), 24, Life::Short)?;
    for plan in plans.iter().chain([first]).cycle().take(8) {
        app.run(|| enrol(plan, Existing::Keep))??;
        assert_eq!(app.run(|| verify(plan))??, Verdict::Same);
        both.go_on()?;
    }
    direct.go_on()?;
    let [direct, both] = <[_; 2]>::try_from(well([direct, both])).map_err(|_| "two")?;
    assert_eq!(direct.by_proxy, 0);
    assert!(both.by_proxy > 0 && both.by_server > 0, "{both:?}");
    for server in &servers {
        assert_eq!(server.faults(), [] as [String; 0]);
    }
    Ok(())
}

/// Capture that has been taken back half is there again, and what was direct meanwhile stays so.
fn drained(family: Family) -> Outcome {
    let stage = Stage::new(family)?;
    stage.app.run(|| apply(&plan()))??;
    let captured = stage.loads(20, Life::Long)?;
    stage.app.run(|| drain(&plan()))??;
    let direct = stage.loads(20, Life::Long)?;
    let enrolled = stage.app.run(|| enrol(&plan(), Existing::Keep))??;
    assert_eq!(enrolled.kept.len(), 40);
    assert_eq!(stage.app.run(|| verify(&plan()))??, Verdict::Same);
    let new = stage.loads(20, Life::Long)?;
    for load in captured.iter().chain(&direct).chain(&new) {
        load.go_on()?;
    }
    for report in well(captured).iter().chain(&well(new)) {
        assert_eq!(report.by_server, 0);
    }
    for report in well(direct) {
        assert_eq!(report.by_proxy, 0);
    }
    stage.assert_servers_well();
    Ok(())
}

fn packet_by_packet() -> Outcome {
    let intent = Intent::ambient().with_outbound_method(Method::Tproxy).with_guard(Guard::Off);
    let plan = Plan::new(&intent);
    fresh()?.run(|| -> Outcome {
        assert!(matches!(enrol(&plan, Existing::Keep), Err(EnrolError::PacketByPacket)));
        assert!(matches!(verify(&plan)?, Verdict::Differs(_)), "nothing was changed");
        Ok(())
    })?
}
