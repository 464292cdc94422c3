//! Forget: kept connections that are over are kept no more.

use crate::apply::{elements, set_elements};
use crate::netlink::SockDiag;
use crate::plan::Plan;

use super::error::ForgetError;
use super::existing::connection;
use super::look::look;

/// What [`forget`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// So many connections are kept still.
    pub kept: usize,
    /// So many are kept no more.
    pub forgotten: usize,
}

/// Forgets which connections were kept ([`Existing::Keep`](crate::Existing::Keep)) in the network namespace that the calling thread
/// is in, as far as they are over: when the same two ends meet anew, nothing of it goes past capture. To be called now and
/// then as long as any is kept.
///
/// # Errors
/// See [`ForgetError`]; nothing is changed then.
pub fn forget(plan: &Plan) -> Result<Forgotten, ForgetError> {
    let keeping = plan.keeping();
    let kept = elements(&keeping).map_err(ForgetError::Look)?;
    if kept.is_empty() {
        return Ok(Forgotten { kept: 0, forgotten: 0 });
    }
    let alive =
        SockDiag::open().and_then(|mut sockets| look(plan, &mut sockets)).map_err(ForgetError::List)?;
    let alive = keeping.elements_for(alive.iter().filter_map(connection));
    let over = kept.without(&alive);
    let still = kept.without(&over);
    set_elements(&keeping, &still).map_err(ForgetError::Apply)?;
    // Each connection is there in both directions.
    Ok(Forgotten { kept: still.iter().count() / 2, forgotten: over.iter().count() / 2 })
}
