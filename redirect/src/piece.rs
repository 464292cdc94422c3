//! Piece: one thing that a plan puts into the kernel, or that was found there.

use std::fmt;

use crate::elements::Element;
use crate::routing::{PolicyRule, Route};
use crate::rule::Rule;
use crate::set::Set;
use crate::tcp_timeouts::TcpTimeouts;

/// One thing that a plan puts into the kernel, or that was found there, to be named in a difference or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// The transaction as a whole that changes the table of this name.
    Transaction(&'static str),
    /// The table of this name.
    Table(&'static str),
    /// How long conntrack remembers captured connections.
    Timeouts(TcpTimeouts),
    /// A named object of the table that no plan has.
    ForeignObject(String),
    /// A set of the table.
    Set(Set),
    /// A set of the table that no plan has.
    ForeignSet(String),
    /// What is in a set.
    Element {
        /// The set.
        set: Set,
        /// What is in it.
        element: Element,
    },
    /// Something in one of our sets that is not what the set is for.
    ForeignElement {
        /// The set.
        set: Set,
        /// By which it is found.
        key: Vec<u8>,
    },
    /// A chain of the table.
    Chain(String),
    /// A rule of a chain.
    Rule {
        /// The chain.
        chain: String,
        /// The rule, which says why it is there.
        rule: Rule,
    },
    /// A rule in one of our chains that says something which no plan says.
    ForeignRule {
        /// The chain.
        chain: String,
        /// The rule's comment.
        why: Option<String>,
        /// The kinds of the rule's expressions, in order.
        expressions: Vec<String>,
    },
    /// A rule that picks a routing table.
    PolicyRule(PolicyRule),
    /// A rule that picks our routing table and that no plan has.
    ForeignPolicyRule {
        /// Its priority.
        priority: u32,
        /// The table that it picks.
        table: u32,
    },
    /// A route.
    Route(Route),
    /// A route in our routing table that no plan has.
    ForeignRoute {
        /// The table.
        table: u32,
        /// How many bits of an address the route looks at.
        prefix: u8,
    },
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction(table) => write!(f, "the transaction that changes table {table}"),
            Self::Table(table) => write!(f, "table {table}"),
            Self::Timeouts(_) => f.write_str("the timeouts of captured connections"),
            Self::ForeignObject(name) => write!(f, "foreign object {name}"),
            Self::Set(set) => write!(f, "set {} of {}", set.name(), set.kind()),
            Self::ForeignSet(name) => write!(f, "foreign set {name}"),
            Self::Element { set, element } => write!(f, "{element} in set {}", set.name()),
            Self::ForeignElement { set, key } => {
                write!(f, "foreign element {key:02x?} in set {}", set.name())
            }
            Self::Chain(chain) => write!(f, "chain {chain}"),
            Self::Rule { chain, rule } => {
                write!(f, "rule \"{rule}\" of chain {chain}")?;
                because(f, rule.why())
            }
            Self::ForeignRule { chain, why, expressions } => {
                write!(f, "foreign rule [{}] of chain {chain}", expressions.join(" "))?;
                because(f, why.as_deref().unwrap_or_default())
            }
            Self::PolicyRule(rule) => write!(f, "policy rule \"{rule}\""),
            Self::ForeignPolicyRule { priority, table } => {
                write!(f, "foreign policy rule of priority {priority} to table {table}")
            }
            Self::Route(route) => write!(f, "route \"{route}\""),
            Self::ForeignRoute { table, prefix } => {
                write!(f, "foreign route of prefix length {prefix} in table {table}")
            }
        }
    }
}

fn because(f: &mut fmt::Formatter<'_>, why: &str) -> fmt::Result {
    if why.is_empty() { Ok(()) } else { write!(f, " ({why})") }
}
