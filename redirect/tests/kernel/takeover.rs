//! Pods that somebody else captures already: Istio's node agent, in all its shapes, or another backend of ours. Connections open,
//! talk and end all the time, and the proxy has each of them from its beginning to its end.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use inpod_redirect::iptables::{self, Programs};
use inpod_redirect::{
    DnsCapture, Family, Intent, IstioError, IstioPiece, Method, Plan, Port, Verdict, find_istio,
    remove_istio, remove_rules,
};
use socket2::Socket;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

use crate::backend::Backend;
use crate::drain::{Stage, well};
use crate::istio_rules::Istio;
use crate::load::{Life, Load, MESSAGE};
use crate::programs::{feed, lines, needing};
use crate::rules::fresh;
use crate::scene::{SOME, connect, ip, marked, set_transparent};

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for backend in Backend::ALL {
            // What differs between the families is the plan's, which nf_tables shows.
            if family == Family::V6 && backend != Backend::Nftables {
                continue;
            }
            for istio in Istio::ALL {
                let name = format!("takeover::{family}_from_{istio}_to_{backend}");
                cases.push(test(name, move || from_istio(istio, backend, family)));
            }
            for to in Backend::ALL.into_iter().filter(|to| *to != backend) {
                for method in [Method::Redirect, Method::Tproxy] {
                    let name = format!("takeover::{family}_{method:?}_from_{backend}_to_{to}").to_lowercase();
                    cases.push(test(name, move || moved(backend, to, family, method)));
                }
            }
        }
    }
    cases.push(test("takeover::what_istio_has_of_routing_goes_with_the_plan", routing_goes));
    cases.push(test("takeover::a_sidecar_and_a_node_are_left_alone", strangers));
    // Alone: each is a load that two processors are busy with.
    cases.into_iter().map(|case| needing(case).needs_program("nft").needs_program("ip").serial()).collect()
}

/// With all that Istio has by default.
fn dns() -> Result<Intent, Box<dyn Error>> {
    Ok(Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?)
}

/// Connections of every kind, each from before, some of them new all the time.
struct Connections {
    loads: Vec<Load>,
    delivered: TcpStream,
}

impl Connections {
    fn open(stage: &Stage, family: Family) -> Result<Self, Box<dyn Error>> {
        let mut loads = Vec::from(stage.loads(8, Life::Long)?);
        loads.push(stage.tunnels(8, Life::Long)?);
        loads.extend(stage.loads(8, Life::Short)?);
        Ok(Self { loads, delivered: deliver(stage, family)? })
    }

    /// All talk, and more are opened.
    fn go_on(&mut self, stage: &Stage) -> Outcome {
        self.loads.extend(stage.loads(8, Life::Long)?);
        for load in &self.loads {
            load.go_on()?;
        }
        answered(&mut self.delivered)
    }

    /// All end in good order, and the proxy has had them.
    fn close(self) {
        for report in well(self.loads) {
            assert!(report.by_server == 0 && report.by_proxy > 0, "all is captured, throughout: {report:?}");
        }
    }
}

/// A port that the kernel chooses for nobody (`net.ipv4.ip_local_port_range`): were the peer's own connections to get it, they would
/// have both ends of the one that is delivered.
const DELIVERED_FROM: u16 = 20_000;

/// A connection that the proxy opens to the application, with the peer's address.
fn deliver(stage: &Stage, family: Family) -> Result<TcpStream, Box<dyn Error>> {
    let as_peer = SocketAddr::new(ip(&stage.peer, family), DELIVERED_FROM);
    let ready = |socket: &Socket| {
        marked(socket)?;
        set_transparent(socket, as_peer)?;
        socket.bind(&as_peer.into())
    };
    connect(&stage.app, SocketAddr::new(ip(&stage.app, family), SOME), ready)
}

/// The application itself answers.
fn answered(stream: &mut TcpStream) -> Outcome {
    stream.write_all(&[7; MESSAGE])?;
    let mut answer = [0; MESSAGE + 1];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer[0], b'S');
    Ok(())
}

/// What is there, but for what a plan has put there.
fn foreign(pod: &Pod) -> Result<Vec<String>, Box<dyn Error>> {
    let lines = pod.run(lines)??;
    Ok(lines.into_iter().filter(|line| !line.contains("INPOD_")).collect())
}

/// What others have put into a pod.
const OTHERS: &str = "*nat
:THEIRS - [0:0]
-A OUTPUT -j THEIRS
-A THEIRS -p tcp -m tcp --dport 9999 -j ACCEPT
COMMIT
*filter
-A INPUT -p udp -m udp --dport 9999 -j DROP
COMMIT
";

fn from_istio(istio: Istio, to: Backend, family: Family) -> Outcome {
    let stage = Stage::new(family)?;
    let (app, plan) = (&stage.app, Plan::new(&dns()?));
    for variant in ["nft", "legacy"] {
        app.run(|| feed(&format!("iptables-{variant}-restore --noflush"), OTHERS))??;
    }
    let before = foreign(app)?;
    app.run(|| istio.install())??;
    let mut connections = Connections::open(&stage, family)?;

    to.apply(app, &plan)?;
    connections.go_on(&stage)?;
    let found = app.run(find_istio)??;
    let tables = found.iter().filter(|piece| matches!(piece, IstioPiece::Table(_))).count();
    assert_eq!((tables, found.len() - tables), istio.pieces(), "{found:?}");
    assert_eq!(app.run(remove_istio)??, found);
    connections.go_on(&stage)?;

    assert_eq!(app.run(remove_istio)??, [], "nothing is left of it");
    assert_eq!(to.verify(app, &plan)?, Verdict::Same);
    assert_eq!(foreign(app)?, before, "what is others' is as it was");
    connections.close();
    stage.assert_servers_well();
    Ok(())
}

fn moved(from: Backend, to: Backend, family: Family, method: Method) -> Outcome {
    let stage = Stage::new(family)?;
    let intent = Intent::ambient().with_inbound_method(method).with_outbound_method(method);
    let (app, plan) = (&stage.app, Plan::new(&intent));
    from.apply(app, &plan)?;
    let mut connections = Connections::open(&stage, family)?;
    to.apply(app, &plan)?;
    connections.go_on(&stage)?;
    match from {
        Backend::Nftables => app.run(|| remove_rules(&plan))??,
        Backend::Iptables(variant) => {
            let programs = Programs::of(variant)?;
            app.run(|| iptables::remove_rules(&programs))??;
        }
    }
    connections.go_on(&stage)?;
    assert_eq!(to.verify(app, &plan)?, Verdict::Same);
    assert_ne!(from.verify(app, &plan)?, Verdict::Same);
    connections.close();
    stage.assert_servers_well();
    Ok(())
}

fn routing_goes() -> Outcome {
    let lab = Lab::new()?;
    let (pod, plan) = (lab.pod("app")?, Plan::new(&Intent::ambient()));
    pod.run(|| Istio::NfTables.install())??;
    Backend::Nftables.apply(&pod, &plan)?;
    pod.run(remove_istio)??;
    Backend::Nftables.remove(&pod, &plan)?;
    for line in ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"] {
        let said = pod.run(|| feed(line, ""))??;
        assert!(!said.contains("lookup 100") && !said.contains("table 100"), "{said}");
    }
    Ok(())
}

fn strangers() -> Outcome {
    let sidecars = "*nat\n-N ISTIO_OUTPUT\n-N ISTIO_REDIRECT\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n";
    let nodes = "*nat\n-N ISTIO_POSTRT\n-I POSTROUTING 1 -j ISTIO_POSTRT\nCOMMIT\n";
    let nodes_tables =
        "table inet istio-ambient-nat {\nchain postrouting { type nat hook postrouting priority 100; }\n}\n";
    for (program, text, chain) in [
        ("iptables-nft-restore", sidecars, "ISTIO_REDIRECT"),
        ("ip6tables-legacy-restore", nodes, "ISTIO_POSTRT"),
        ("nft -f -", nodes_tables, "postrouting"),
    ] {
        fresh()?.run(|| -> Outcome {
            feed(program, text)?;
            let before = lines()?;
            for outcome in [find_istio(), remove_istio()] {
                match outcome {
                    Err(IstioError::Stranger { chain: found, .. }) => assert_eq!(found, chain),
                    other => panic!("{text}: {other:?}"),
                }
            }
            assert_eq!(lines()?, before, "nothing is changed");
            Ok(())
        })??;
    }
    Ok(())
}
