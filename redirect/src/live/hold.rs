//! Hold: for as long as it lives, nobody but the proxy opens a TCP connection.

use crate::netlink::{NfTables, Rejected};
use crate::piece::Piece;
use crate::plan::Plan;

/// While it lives, what opens a TCP connection in the network namespace is dropped, to be sent again later. When it is dropped, or
/// the process ends in whatever way, the kernel takes it back.
pub(super) struct Hold {
    tables: NfTables,
    table: &'static str,
}

impl Hold {
    /// In the network namespace that the calling thread is in.
    pub(super) fn new(plan: &Plan) -> Result<Self, Rejected> {
        let holding = plan.holding();
        let table = holding.table();
        let unasked = |source| Rejected { piece: Box::new(Piece::Table(table)), source };
        let mut tables = NfTables::open().map_err(unasked)?;
        tables.own(&holding)?;
        Ok(Self { tables, table })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing its socket would delete it as well, a little later.
        let _ = self.tables.delete(self.table);
    }
}
