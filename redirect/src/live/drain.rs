//! Drain: capture of new connections ends, and captured ones go on.

use crate::apply::{Kernel, possible};
use crate::compare::{Difference, Verdict, compare};
use crate::connection::Connection;
use crate::elements::Elements;
use crate::netlink::{Rejected, SockDiag};
use crate::piece::Piece;
use crate::plan::{Before, Plan};

use super::error::{DrainError, ListError};
use super::existing::connection;
use super::hold::Hold;
use super::look::LOOKS;
use super::proxy;
use super::tcp_socket::TcpSocket;

/// What [`drain`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// The proxy's ends of the captured connections that go on; see [`captured`].
    pub captured: Vec<TcpSocket>,
}

/// Ends the capture of new connections in the network namespace that the calling thread is in, which from now on are nobody's
/// business, and lets captured ones go on: the first phase of taking a plan away. [`remove`](crate::remove) is the second, for when
/// [`captured`] finds none any more or patience ends: those that are left then break.
///
/// First the guard goes, then the capture of new connections, each in one transaction. Where what is sent is captured packet by
/// packet ([`Method::Tproxy`](crate::Method::Tproxy)), both go at once, and what opens a connection meanwhile is dropped and sent
/// again by its sender, a second later. Can be repeated, and [`apply`](crate::apply) or [`enrol`](crate::enrol) take it back. Where
/// nothing is captured, nothing is done.
///
/// # Errors
/// See [`DrainError`]. When the kernel refuses, everything is captured as before, or without the guard.
pub fn drain(plan: &Plan) -> Result<Drained, DrainError> {
    let draining = plan.draining();
    let mut kernel = Kernel::open().map_err(DrainError::Look)?;
    let before = kernel.find(plan).map_err(DrainError::Look)?;
    let draining = possible(&draining, &before);
    if before.table.is_some() && compare(&draining, &before) != Verdict::Same {
        match plan.opening(Before::Open) {
            // The guard goes first: a packet that opens a connection is refused when it meets the one without capture and the
            // other still with it, as has been seen under load.
            Some(unguarded) => {
                put(&mut kernel, &unguarded, &Elements::new())?;
                put(&mut kernel, &draining, &Elements::new())?;
            }
            None => {
                let _hold = Hold::new(plan).map_err(refused)?;
                let looks = (0..LOOKS).map(|_| captured(plan)).collect::<Result<Vec<_>, ListError>>();
                let ends = looks.map_err(DrainError::Unlisted)?.concat();
                let going_on =
                    draining.going_on(ends.iter().filter_map(connection).map(Connection::reversed));
                put(&mut kernel, &draining, &going_on)?;
            }
        }
        let after = kernel.find(plan).map_err(DrainError::Unproven)?;
        if let Verdict::Differs(differences) = compare(&draining, &after) {
            // What routing had before, it still has.
            let of_table = |difference: &Difference| !of_routing(difference);
            let differences: Vec<Difference> = differences.into_iter().filter(of_table).collect();
            if !differences.is_empty() {
                return Err(DrainError::NotAsPlanned(differences));
            }
        }
    }
    captured(plan).map(|captured| Drained { captured }).map_err(DrainError::List)
}

fn put(kernel: &mut Kernel, stage: &Plan, elements: &Elements) -> Result<(), DrainError> {
    let there = kernel.find(stage).map_err(DrainError::Look)?;
    kernel.put_table(&possible(stage, &there), elements, &there).map_err(refused)
}

fn refused(Rejected { piece, source }: Rejected) -> DrainError {
    DrainError::Rejected { piece, source }
}

fn of_routing(difference: &Difference) -> bool {
    matches!(
        difference,
        Difference::Missing(Piece::Route(_) | Piece::PolicyRule(_))
            | Difference::Extra(
                Piece::Route(_)
                    | Piece::PolicyRule(_)
                    | Piece::ForeignRoute { .. }
                    | Piece::ForeignPolicyRule { .. }
            )
    )
}

/// The proxy's ends of captured connections, and of those that it has opened to the application, in the network namespace that the
/// calling thread is in: what is left to [`drain`].
///
/// # Errors
/// When the kernel cannot be asked.
pub fn captured(plan: &Plan) -> Result<Vec<TcpSocket>, ListError> {
    let sockets = SockDiag::open().and_then(|mut sockets| sockets.tcp_sockets()).map_err(ListError::Look)?;
    Ok(sockets.into_iter().filter(|socket| proxy::has(plan, socket)).collect())
}
