//! Connections that are open, or are being opened, while the rules change: what opened them came under the old rules, and what completes
//! them, under the new ones.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use inpod_redirect::{Existing, Family, Intent, Method, Plan, enrol, remove_istio};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

use crate::backend::Backend;
use crate::istio_rules::Istio;
use crate::live::pods;
use crate::programs::needing;
use crate::scene::{
    OUTBOUND, PLAINTEXT, SOME, accept, connect, ip, listen, listen_as_proxy, talk, unmarked, wildcard,
};
use crate::text::nft;

const CHANGES: [(Method, Method); 2] =
    [(Method::Tproxy, Method::Redirect), (Method::Redirect, Method::Tproxy)];

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for backend in Backend::ALL {
            for istio in Istio::ALL {
                let name = format!("handshakes::{family}_from_{istio}_to_{backend}");
                cases.push(test(name, move || from_istio(istio, backend, family)));
            }
        }
        for (from, to) in CHANGES {
            let mut case = |name: String, body: Box<dyn FnOnce() -> Outcome + Send>| {
                let name = format!("handshakes::{family}_{name}_from_{from:?}_to_{to:?}").to_lowercase();
                cases.push(test(name, body));
            };
            for backend in Backend::ALL {
                let change = move || opening(backend, from, to, family);
                case(format!("opening_by_{backend}"), Box::new(change));
            }
            case("open_inbound".into(), Box::new(move || open_inbound(from, to, family)));
            case("open_outbound".into(), Box::new(move || open_outbound(from, to, family)));
        }
        let name = format!("handshakes::{family}_of_before_capture_are_kept");
        cases.push(test(name, move || of_before(family)));
    }
    cases.into_iter().map(|case| needing(case).needs_program("nft").needs_program("ip")).collect()
}

/// Drops what completes a handshake, and what is sent after it, as a network may.
const HOLD: &str = "table inet holds {
	chain sent {
		type filter hook output priority 0; policy accept;
		tcp dport 8080 tcp flags & (syn | ack) == ack drop
	}
}";

/// A client that has been answered, by a server that does not know yet that it is there.
struct Half {
    _lab: Lab,
    app: Pod,
    peer: Pod,
    application: TcpListener,
    proxy: TcpListener,
    client: TcpStream,
}

impl Half {
    /// Opened under what is put into the application's pod before.
    fn open(family: Family, before: impl FnOnce(&Pod) -> Outcome) -> Result<Self, Box<dyn Error>> {
        let (lab, app, peer) = pods(family)?;
        let to = SocketAddr::new(ip(&app, family), SOME);
        let application = listen(&app, to.ip(), SOME)?;
        let proxy = listen_as_proxy(&app, SocketAddr::new(wildcard(family), PLAINTEXT))?;
        before(&app)?;
        peer.run(|| nft(HOLD))??;
        let client = connect(&peer, to, unmarked)?;
        Ok(Self { _lab: lab, app, peer, application, proxy, client })
    }

    /// What completes it arrives at last.
    fn complete(&self, server: &TcpListener) -> Outcome {
        self.peer.run(|| nft("delete table inet holds"))??;
        (&self.client).write_all(b"!")?;
        let served = accept(server)?;
        let mut first = [0];
        (&served).read_exact(&mut first)?;
        assert_eq!(&first, b"!");
        talk(&self.client, &served)
    }
}

fn from_istio(istio: Istio, to: Backend, family: Family) -> Outcome {
    let half = Half::open(family, |app| app.run(|| istio.install())?)?;
    to.apply(&half.app, &Plan::new(&Intent::ambient()))?;
    half.app.run(remove_istio)??;
    half.complete(&half.proxy)
}

fn inbound_by(method: Method) -> Plan {
    Plan::new(&Intent::ambient().with_inbound_method(method))
}

fn outbound_by(method: Method) -> Plan {
    Plan::new(&Intent::ambient().with_outbound_method(method))
}

fn opening(backend: Backend, from: Method, to: Method, family: Family) -> Outcome {
    let half = Half::open(family, |app| backend.apply(app, &inbound_by(from)).map(drop))?;
    backend.apply(&half.app, &inbound_by(to))?;
    half.complete(&half.proxy)
}

/// What was being opened before there was any capture is the application's.
fn of_before(family: Family) -> Outcome {
    let half = Half::open(family, |_| Ok(()))?;
    half.app.run(|| enrol(&inbound_by(Method::Redirect), Existing::Keep))??;
    half.complete(&half.application)
}

fn open_inbound(from: Method, to: Method, family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    let proxy = listen_as_proxy(&app, SocketAddr::new(wildcard(family), PLAINTEXT))?;
    let at = SocketAddr::new(ip(&app, family), SOME);
    goes_on(&app, [inbound_by(from), inbound_by(to)], &proxy, || connect(&peer, at, unmarked))
}

fn open_outbound(from: Method, to: Method, family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    let proxy = listen_as_proxy(&app, SocketAddr::new(wildcard(family), OUTBOUND))?;
    let at = SocketAddr::new(ip(&peer, family), SOME);
    goes_on(&app, [outbound_by(from), outbound_by(to)], &proxy, || connect(&app, at, unmarked))
}

/// A connection captured by the one plan is the proxy's under the other as well, and then again.
fn goes_on(
    app: &Pod,
    [one, other]: [Plan; 2],
    proxy: &TcpListener,
    connect: impl Fn() -> Result<TcpStream, Box<dyn Error>>,
) -> Outcome {
    Backend::Nftables.apply(app, &one)?;
    let (client, served) = (connect()?, accept(proxy)?);
    talk(&client, &served)?;
    Backend::Nftables.apply(app, &other)?;
    talk(&client, &served)?;
    app.run(|| enrol(&one, Existing::Keep))??;
    talk(&client, &served)?;
    app.run(|| enrol(&other, Existing::Keep))??;
    talk(&client, &served)?;
    let (client, served) = (connect()?, accept(proxy)?);
    talk(&client, &served)
}
