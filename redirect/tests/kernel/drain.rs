//! Capture that ends in two phases, under load.

use std::error::Error;
use std::net::SocketAddr;

use inpod_redirect::{
    Family, Intent, Method, Plan, Verdict, apply, captured, drain, remove, tcp_sockets, verify,
};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

use crate::live::pods;
use crate::load::{Echo, Life, Load, Report, Who, until};
use crate::rules::fresh;
use crate::scene::{HBONE, OUTBOUND, PLAINTEXT, SOME, ip, wildcard};

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for method in [Method::Redirect, Method::Tproxy] {
            let name =
                format!("drain::{family}_{method:?}_captured_connections_go_on_and_new_ones_are_direct");
            cases.push(test(name.to_lowercase(), move || captured_go_on(family, method)));
        }
    }
    cases.push(test("drain::where_nothing_is_captured_nothing_is_done", nothing));
    // Alone: each is a load that two processors are busy with.
    cases.into_iter().map(Case::serial).collect()
}

/// A pod whose capture comes and goes, and a peer; with who answers.
pub(crate) struct Stage {
    _lab: Lab,
    pub(crate) app: Pod,
    pub(crate) peer: Pod,
    family: Family,
    servers: Vec<Echo>,
}

impl Stage {
    pub(crate) fn new(family: Family) -> Result<Self, Box<dyn Error>> {
        let (lab, app, peer) = pods(family)?;
        let servers = vec![
            Echo::start(&peer, ip(&peer, family), SOME, Who::Server)?,
            Echo::start(&app, ip(&app, family), SOME, Who::Server)?,
            Echo::start(&app, wildcard(family), OUTBOUND, Who::Proxy)?,
            Echo::start(&app, wildcard(family), PLAINTEXT, Who::Proxy)?,
            Echo::start(&app, wildcard(family), HBONE, Who::Proxy)?,
        ];
        Ok(Self { _lab: lab, app, peer, family, servers })
    }

    /// Connections from the application, and to it.
    pub(crate) fn loads(&self, connections: u64, life: Life) -> Result<[Load; 2], Box<dyn Error>> {
        let to = |pod: &Pod| SocketAddr::new(ip(pod, self.family), SOME);
        Ok([
            Load::start(&self.app, to(&self.peer), connections, life)?,
            Load::start(&self.peer, to(&self.app), connections, life)?,
        ])
    }

    /// Tunnels, as it were, to the proxy itself.
    pub(crate) fn tunnels(&self, connections: u64, life: Life) -> Result<Load, Box<dyn Error>> {
        Load::start(&self.peer, SocketAddr::new(ip(&self.app, self.family), HBONE), connections, life)
    }

    /// Nothing has gone wrong at any server.
    pub(crate) fn assert_servers_well(&self) {
        for server in &self.servers {
            assert_eq!(server.faults(), [] as [String; 0]);
        }
    }
}

/// What came of loads on which nothing went wrong.
pub(crate) fn well(loads: impl IntoIterator<Item = Load>) -> Vec<Report> {
    let reports: Vec<Report> = loads.into_iter().map(Load::finish).collect();
    for report in &reports {
        assert_eq!(report.faults, [] as [String; 0]);
    }
    reports
}

fn captured_go_on(family: Family, method: Method) -> Outcome {
    let stage = Stage::new(family)?;
    let intent = Intent::ambient().with_inbound_method(method).with_outbound_method(method);
    let plan = Plan::new(&intent);
    stage.app.run(|| apply(&plan))??;
    let old = stage.loads(20, Life::Long)?;
    let changing = stage.loads(20, Life::Short)?;
    for _ in 0..2 {
        let drained = stage.app.run(|| drain(&plan))??;
        assert!(drained.captured.len() >= 40, "{}", drained.captured.len());
    }
    assert!(matches!(stage.app.run(|| verify(&plan))??, Verdict::Differs(_)));
    let new = stage.loads(20, Life::Long)?;
    for load in old.iter().chain(&changing).chain(&new) {
        load.go_on()?;
    }
    for report in well(new) {
        assert_eq!(report.by_proxy, 0, "new connections are direct");
    }
    for report in well(changing) {
        assert!(report.by_server > 0 && report.by_proxy > 0, "{report:?}");
    }
    for report in well(old) {
        assert_eq!(report.by_server, 0, "captured connections stay captured");
    }
    until(|| stage.app.run(|| captured(&plan)).is_ok_and(|left| left.is_ok_and(|left| left.is_empty())))?;
    let direct = stage.loads(20, Life::Long)?;
    stage.app.run(|| remove(&plan))??;
    for load in &direct {
        load.go_on()?;
    }
    well(direct);
    stage.assert_servers_well();
    Ok(())
}

fn nothing() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| -> Outcome {
        assert_eq!(drain(&plan)?.captured, []);
        assert_eq!(tcp_sockets()?, []);
        let Verdict::Differs(differences) = verify(&plan)? else { panic!("it has put rules there") };
        assert_eq!(differences.first().map(ToString::to_string).as_deref(), Some("missing: table inpod"));
        Ok(())
    })?
}
