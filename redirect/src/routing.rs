//! Routing: the routes and policy rules by which packets find the proxy.

use std::fmt;
use std::net::IpAddr;

use crate::family::Family;
use crate::interface::InterfaceName;
use crate::mark::Mark;

/// The routing table and the rule priority that capture takes for itself. Always valid.
///
/// The table is for capture alone: whatever else it holds also takes part in routing the replies, so
/// [`verify`](crate::verify) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyRouting {
    table: u32,
    priority: u32,
}

/// Why two numbers are not a [`ReplyRouting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyRoutingError {
    /// The table belongs to the kernel (`RT_TABLE_*` in `linux/rtnetlink.h`: 0 is none, 253 default, 254 main,
    /// 255 local).
    #[error("routing table {0} belongs to the kernel")]
    KernelTable(u32),
    /// The rule would never be asked: at 32766 stands the main table, which has a route for everything, and
    /// at 0 the local table, which must stay first.
    #[error("a rule at priority {0} is not between the local and the main table (1 to 32765)")]
    Priority(u32),
}

impl ReplyRouting {
    /// Istio's: table 100, priority 32764.
    pub const ISTIO: Self = Self { table: 100, priority: 32764 };

    /// This table, looked up by a rule of this priority.
    ///
    /// # Errors
    /// When the table belongs to the kernel, or when a rule of this priority could not work.
    pub const fn new(table: u32, priority: u32) -> Result<Self, ReplyRoutingError> {
        if matches!(table, 0 | 253..=255) {
            return Err(ReplyRoutingError::KernelTable(table));
        }
        if priority == 0 || priority > 32765 {
            return Err(ReplyRoutingError::Priority(priority));
        }
        Ok(Self { table, priority })
    }

    /// The routing table.
    pub const fn table(self) -> u32 {
        self.table
    }

    /// The priority of the rule that looks the table up: lower is asked earlier.
    pub const fn priority(self) -> u32 {
        self.priority
    }
}

/// A route for every address of a family, in a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Of which family's addresses.
    pub family: Family,
    /// In which table.
    pub table: u32,
    /// Where it leads.
    pub way: Way,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// To this namespace itself, by loopback.
    Here,
    /// By an interface to a neighbour, which is there whatever addresses the interface has (`onlink`).
    By {
        /// The interface.
        interface: InterfaceName,
        /// The neighbour.
        gateway: IpAddr,
    },
}

impl Way {
    /// The interface that packets take.
    pub fn interface(&self) -> InterfaceName {
        match self {
            Self::Here => InterfaceName::loopback(),
            Self::By { interface, .. } => interface.clone(),
        }
    }
}

impl fmt::Display for Route {
    /// As `ip route` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flag, everything) = match self.family {
            Family::V4 => ("-4", "0.0.0.0/0"),
            Family::V6 => ("-6", "::/0"),
        };
        match &self.way {
            Way::Here => write!(f, "ip {flag} route add local {everything} dev lo table {}", self.table),
            Way::By { interface, gateway } => {
                let table = self.table;
                write!(
                    f,
                    "ip {flag} route add {everything} via {gateway} dev {interface} onlink table {table}"
                )
            }
        }
    }
}

/// A rule that sends packets with a mark to a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyRule {
    /// Of which family's packets.
    pub family: Family,
    /// Packets with this mark.
    pub mark: Mark,
    /// Lower is asked earlier.
    pub priority: u32,
    /// The table looked up.
    pub table: u32,
}

impl fmt::Display for PolicyRule {
    /// As `ip rule` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = match self.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        write!(f, "ip {flag} rule add fwmark {} pref {} lookup {}", self.mark, self.priority, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_and_useless_priorities_are_refused() {
        assert_eq!(ReplyRouting::new(100, 32764), Ok(ReplyRouting::ISTIO));
        for table in [0, 253, 254, 255] {
            assert_eq!(ReplyRouting::new(table, 32764), Err(ReplyRoutingError::KernelTable(table)));
        }
        assert!(ReplyRouting::new(256, 1).is_ok());
        for priority in [0, 32766, u32::MAX] {
            assert_eq!(ReplyRouting::new(100, priority), Err(ReplyRoutingError::Priority(priority)));
        }
    }
}
