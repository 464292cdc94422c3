//! Istio: what its node agent leaves in a pod that this crate takes over.
//!
//! Its rules and ours do the same, with the same ports and marks, so both can be in place at once: ours come first, and then
//! its go. Connections that it has captured live on.
//!
//! In a pod with a sidecar, and on a node, there are other chains of Istio's, some of the same names. There nothing is touched.

use std::fmt;

use crate::apply::Kernel;
use crate::error::KernelError;
use crate::family::Family;
use crate::iptables::{self, IptablesError, Programs, Saved, Table, Variant, Whose, remove_chains};
use crate::netlink::{NfTables, Rejected};
use crate::piece::Piece;

/// The tables of its nf_tables backend (`AmbientNatTable` and so on, `cni/pkg/nftables` of Istio 1.28).
const TABLES: [&str; 3] = ["istio-ambient-nat", "istio-ambient-mangle", "istio-ambient-raw"];

/// The chains of these tables in a pod. On a node one of them has another.
const CHAINS: [&str; 4] = ["prerouting", "output", "istio-prerouting", "istio-output"];

/// Something that Istio's node agent puts into a pod.
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

/// Why it could not be told what there is of Istio's, or why it could not be taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IstioError {
    /// The kernel could not be asked about the namespace.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// There is something else of Istio's: a sidecar captures this pod, or this is a node. Nothing was changed.
    #[error("chain {chain} of table {table} is none that Istio makes in a pod in ambient mode")]
    Stranger {
        /// The table.
        table: String,
        /// The chain in it.
        chain: String,
    },
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

/// Tells what there is of Istio's node agent in the network namespace that the calling thread is in: tables of nf_tables, and
/// chains of iptables where its programs are here. Changes nothing.
///
/// # Errors
/// When the kernel or a program cannot be asked, and [`IstioError::Stranger`].
pub fn find_istio() -> Result<Vec<IstioPiece>, IstioError> {
    let mut kernel = Kernel::open().map_err(IstioError::Look)?;
    let mut found: Vec<IstioPiece> = tables(&mut kernel.tables)?.into_iter().map(IstioPiece::Table).collect();
    for programs in programs() {
        let variant = programs.variant();
        for (family, saved) in iptables::saved(&programs).map_err(IstioError::Iptables)? {
            let chains = chains(&saved)?.into_iter();
            found.extend(chains.map(|chain| IstioPiece::Chain { variant, family, chain }));
        }
    }
    Ok(found)
}

/// Takes the rules of Istio's node agent out of the network namespace that the calling thread is in, and tells which there
/// were. Others' rules, and the routes that Istio's and our plans share, stay.
///
/// Apply a plan before: it is what captures from then on.
///
/// # Errors
/// When something of it may still be there.
pub fn remove_istio() -> Result<Vec<IstioPiece>, IstioError> {
    let found = find_istio()?;
    let mut kernel = Kernel::open().map_err(IstioError::Look)?;
    for piece in &found {
        if let IstioPiece::Table(name) = piece {
            let refused = |Rejected { piece, source }| IstioError::Refused { piece, source };
            kernel.tables.delete(name).map_err(refused)?;
        }
    }
    for programs in programs() {
        remove_chains(Whose::Istios, &programs).map_err(IstioError::Iptables)?;
    }
    Ok(found)
}

/// Who has no programs of a variant has no rules of it that anybody here could see.
fn programs() -> impl Iterator<Item = Programs> {
    [Variant::Nft, Variant::Legacy].into_iter().filter_map(|variant| Programs::of(variant).ok())
}

fn tables(kernel: &mut NfTables) -> Result<Vec<&'static str>, IstioError> {
    let mut tables = Vec::new();
    for name in TABLES {
        let Some(found) = kernel.table(name).map_err(IstioError::Look)? else { continue };
        if let Some(chain) = found.chains.into_iter().find(|chain| !CHAINS.contains(&chain.name.as_str())) {
            return Err(IstioError::Stranger { table: name.into(), chain: chain.name });
        }
        tables.push(name);
    }
    Ok(tables)
}

fn chains(saved: &Saved) -> Result<Vec<String>, IstioError> {
    if let Some((table, chain)) = saved.stranger() {
        return Err(IstioError::Stranger { table: table.to_string(), chain: chain.into() });
    }
    let of_table = |table| saved.chains_of(Whose::Istios, table).map(move |chain| format!("{table} {chain}"));
    Ok(Table::ALL.into_iter().flat_map(of_table).collect())
}
