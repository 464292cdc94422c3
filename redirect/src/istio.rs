//! Istio: what its node agent leaves in a pod that this crate takes over.
//!
//! Its rules and ours do the same, with the same ports and marks, so both can be in place at once: ours come first, and then
//! its go. Connections that it has captured live on.

use std::fmt;

use crate::apply::Kernel;
use crate::error::KernelError;
use crate::family::Family;
use crate::iptables::{IptablesError, Programs, Variant, Whose, remove_chains};
use crate::netlink::Rejected;
use crate::piece::Piece;

/// The tables of its nf_tables backend (`AmbientNatTable` and so on, `cni/pkg/nftables` of Istio 1.28).
const TABLES: [&str; 3] = ["istio-ambient-nat", "istio-ambient-mangle", "istio-ambient-raw"];

/// Something of Istio's that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IstioPiece {
    /// A table of nf_tables.
    Table(&'static str),
    /// A chain of iptables: its table and its name. Of Istio 1.21 to 1.23, which brings connections by TPROXY, and of later ones.
    Chain {
        /// By which programs it is seen.
        variant: Variant,
        /// For packets of which family.
        family: Family,
        /// The table, and the chain in it.
        chain: String,
    },
}

impl fmt::Display for IstioPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => write!(f, "table {name}"),
            Self::Chain { variant, family, chain } => {
                write!(f, "chain {chain} of iptables-{variant}, {family}")
            }
        }
    }
}

/// Why Istio's rules could not be taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IstioError {
    /// The kernel could not be asked about the namespace.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// The kernel did not let go of a table.
    #[error("the kernel did not let go of {piece}")]
    Refused {
        /// The table.
        piece: Box<Piece>,
        /// What the kernel said.
        #[source]
        source: KernelError,
    },
    /// A program of iptables failed.
    #[error("the rules of iptables")]
    Iptables(#[source] IptablesError),
}

/// Takes the rules of Istio's node agent out of the network namespace that the calling thread is in, and tells which there
/// were: tables of nf_tables, and chains of iptables where its programs are here. Others' rules, and the routes that Istio's
/// and our plans share, stay.
///
/// Apply a plan before: it is what captures from then on.
///
/// # Errors
/// When something of it may still be there.
pub fn remove_istio() -> Result<Vec<IstioPiece>, IstioError> {
    let mut removed = Vec::new();
    let mut kernel = Kernel::open().map_err(IstioError::Look)?;
    for name in TABLES {
        if kernel.tables.table(name).map_err(IstioError::Look)?.is_some() {
            let refused = |Rejected { piece, source }| IstioError::Refused { piece, source };
            kernel.tables.delete(name).map_err(refused)?;
            removed.push(IstioPiece::Table(name));
        }
    }
    for variant in [Variant::Nft, Variant::Legacy] {
        // Who has no such programs has no such rules that anybody here could see.
        let Ok(programs) = Programs::of(variant) else { continue };
        let chains = remove_chains(Whose::Istios, &programs).map_err(IstioError::Iptables)?;
        removed.extend(chains.into_iter().map(|(family, chain)| IstioPiece::Chain {
            variant,
            family,
            chain,
        }));
    }
    Ok(removed)
}
