//! Enrol: a pod that runs already is captured.
//!
//! ```text
//!   (a) opening: what opens a connection is captured, nothing else is touched
//!   (b) look, look, look: what is connected and not captured was there before (a)
//!   (c) the plan, which leaves just that alone; or it is ended first
//! ```
//!
//! Where what is sent is captured packet by packet, later packets of a new connection look like those of an old one. Then (a) is to
//! hold back what opens a connection ([`Hold`]) until (c).
//!
//! Each of (a) and (c) is one transaction. Between any two steps at least what opens is captured, so that who starts again after an
//! interruption finds what he would have found.

use crate::apply::{Applied, elements, put, verify};
use crate::compare::Verdict;
use crate::elements::Elements;
use crate::error::ApplyError;
use crate::found::{FoundRule, FoundTable};
use crate::netlink::{NfTables, Rejected, SockDiag};
use crate::plan::{Before, Plan};
use crate::rule::Action;

use super::end::Ending;
use super::error::{EndError, EnrolError};
use super::existing::connection;
use super::hold::Hold;
use super::look::look;
use super::tcp_socket::{TcpSocket, TcpState};

/// What becomes of the connections that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Existing {
    /// They go on as they are, past the proxy, until they end.
    Keep,
    /// They end now: both ends are told that they are reset. The proxy's own go on, and what the pod has with itself.
    Reset,
}

/// What [`enrol`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enrolled {
    /// As [`apply`](crate::apply) has it.
    pub applied: Applied,
    /// The application's ends of connections that go on past the proxy.
    pub kept: Vec<TcpSocket>,
    /// Those that were ended.
    pub reset: Vec<TcpSocket>,
    /// Those that this kernel could not end: the guard resets them at their next packet, if the plan has one.
    pub left: Vec<TcpSocket>,
}

/// Captures a pod that runs already: puts a plan into the network namespace that the calling thread is in, so that each connection
/// there is captured whole, or goes on past the proxy whole, or is reset. Which of the last two is for the caller to choose.
///
/// From one plan to another, connections that the old one has captured stay captured, and those that it has let past are what is
/// there already. Can be repeated. [`forget`](crate::forget) tidies up after kept connections.
///
/// # Errors
/// See [`EnrolError`]. After the first step, no error takes the capture of new connections back.
pub fn enrol(plan: &Plan, choice: Existing) -> Result<Enrolled, EnrolError> {
    if choice == Existing::Keep && verify(plan).map_err(EnrolError::Verify)? == Verdict::Same {
        return in_place(plan);
    }
    let mut sockets = SockDiag::open().map_err(EnrolError::List)?;
    if plan.diverts() {
        return held(plan, choice, &mut sockets);
    }
    open(plan)?;
    let older = look(plan, &mut sockets).map_err(EnrolError::List)?;
    match choice {
        Existing::Keep => keep_all(plan, older),
        // What only asks for a connection has none: it asks again, and is captured.
        Existing::Reset => reset_all(plan, &mut sockets, open_ones(older)),
    }
}

/// Where each packet is captured for itself: the plan, while nobody opens a connection.
///
/// What has asked for a connection before may be answered yet, past the proxy; or not, and asks again, for the proxy. Nobody can tell.
/// So it is not kept: if it comes about past the proxy, the guard resets it.
fn held(plan: &Plan, choice: Existing, sockets: &mut SockDiag) -> Result<Enrolled, EnrolError> {
    if choice == Existing::Keep && !plan.refuses() {
        return Err(EnrolError::PacketByPacket);
    }
    let refused = |Rejected { piece, source }| EnrolError::Apply(ApplyError::Rejected { piece, source });
    let _hold = Hold::new(plan).map_err(refused)?;
    let older = look(plan, sockets).map_err(EnrolError::List)?;
    match choice {
        Existing::Keep => keep_all(plan, open_ones(older)),
        Existing::Reset => reset_all(plan, sockets, older),
    }
}

fn open_ones(older: Vec<TcpSocket>) -> Vec<TcpSocket> {
    older.into_iter().filter(|socket| socket.state != TcpState::SynSent).collect()
}

fn keep_all(plan: &Plan, older: Vec<TcpSocket>) -> Result<Enrolled, EnrolError> {
    let keeping = plan.keeping();
    let filling = keeping.elements_for(older.iter().filter_map(connection));
    let plan = if filling.is_empty() { plan } else { &keeping };
    let applied = put(plan, Some(&filling)).map_err(EnrolError::Apply)?;
    Ok(Enrolled { applied, kept: older, reset: Vec::new(), left: Vec::new() })
}

fn reset_all(plan: &Plan, sockets: &mut SockDiag, older: Vec<TcpSocket>) -> Result<Enrolled, EnrolError> {
    let (reset, left) = end_all(sockets, older)?;
    let applied = put(plan, Some(&Elements::new())).map_err(EnrolError::Apply)?;
    Ok(Enrolled { applied, kept: Vec::new(), reset, left })
}

/// Captures what opens a connection.
fn open(plan: &Plan) -> Result<(), EnrolError> {
    let found =
        NfTables::open().and_then(|mut tables| tables.table(plan.table())).map_err(EnrolError::Look)?;
    let opening = plan.opening(before(found.as_ref())).ok_or(EnrolError::PacketByPacket)?;
    let kept = found.map(|table| table.elements(opening.sets())).unwrap_or_default();
    put(&opening, Some(&kept)).map(drop).map_err(EnrolError::Apply)
}

fn before(found: Option<&FoundTable>) -> Before {
    let refuses = |rule: &FoundRule| matches!(rule, FoundRule::Ours(rule) if rule.action() == Action::Reset);
    let mut rules = found.into_iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    if rules.any(refuses) { Before::Guarded } else { Before::Open }
}

/// Ends connections: those that it has ended, and those that it cannot.
fn end_all(
    sockets: &mut SockDiag,
    older: Vec<TcpSocket>,
) -> Result<(Vec<TcpSocket>, Vec<TcpSocket>), EnrolError> {
    let (mut reset, mut left) = (Vec::new(), Vec::new());
    for socket in older {
        match sockets.end(&socket) {
            Ok(Ending::Done) => reset.push(socket),
            Ok(Ending::Gone) => {}
            Ok(Ending::Unable) => left.push(socket),
            Err(source) => return Err(EnrolError::End(EndError { socket: Box::new(socket), source })),
        }
    }
    Ok((reset, left))
}

/// The plan is in place already.
fn in_place(plan: &Plan) -> Result<Enrolled, EnrolError> {
    let applied = put(plan, None).map_err(EnrolError::Apply)?;
    let keeping = plan.keeping();
    let kept = elements(&keeping).map_err(EnrolError::Verify)?;
    let sockets = SockDiag::open().and_then(|mut sockets| sockets.tcp_sockets()).map_err(EnrolError::List)?;
    let is_kept = |socket: &TcpSocket| {
        let own = keeping.elements_for(connection(socket));
        !own.is_empty() && own.without(&kept).is_empty()
    };
    let kept = sockets.into_iter().filter(is_kept).collect();
    Ok(Enrolled { applied, kept, reset: Vec::new(), left: Vec::new() })
}
