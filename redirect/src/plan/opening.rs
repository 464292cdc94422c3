//! Opening: what precedes a plan while it is found out which connections there are already.
//!
//! From its first moment on, each connection that opens is captured, so that whatever is found afterwards and is not captured was
//! there before. What does not open one goes on as it was: to the application, or to the proxy where conntrack knows it so.
//!
//! Where nothing was refused before, nothing is refused yet: conntrack may not know the connections that are there. Where a guard
//! was, it stays, and lets past what conntrack knows and what was kept: so nothing that escapes capture passes in between.

use crate::chain::Chain;
use crate::family::Family;
use crate::rule::{Action, Match, Protocol, Rule};
use crate::tcp_flags::TcpFlags;

use super::{Plan, capturing};

/// What was there before an opening plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing was refused.
    Open,
    /// A guard refused what would escape capture.
    Guarded,
}

impl Plan {
    /// The plan that precedes this one. None when this one captures what is sent packet by packet
    /// ([`Method::Tproxy`](crate::Method::Tproxy)): later packets of a connection then look like those of one that was there.
    pub(crate) fn opening(&self, before: Before) -> Option<Self> {
        if self.diverts() {
            return None;
        }
        Some(match before {
            Before::Open => {
                let chains = self.with_first(|_| self.later());
                Self {
                    chains: chains.into_iter().filter(|chain| !capturing::refuses(chain)).collect(),
                    ..self.clone()
                }
            }
            Before::Guarded => {
                let keeping = self.keeping();
                let first = |chain: &Chain| match capturing::refuses(chain) {
                    true => vec![established()],
                    false => self.later(),
                };
                let mut chains = keeping.with_first(first);
                for chain in &mut chains {
                    chain.rules = chain
                        .rules
                        .drain(..)
                        .flat_map(|rule| [hold_back(&rule), Some(rule)])
                        .flatten()
                        .collect();
                }
                Self { chains, ..keeping }
            }
        })
    }

    fn later(&self) -> Vec<Rule> {
        let rule = |family| {
            let later = [
                Match::Family(family),
                Match::Protocol(Protocol::Tcp),
                Match::TcpFlags(TcpFlags::Acknowledges),
            ];
            Rule::new(
                later,
                Action::Accept,
                "for now only what opens a connection is captured: others may be older",
            )
        };
        Family::ALL.into_iter().filter(|family| self.captures(*family)).map(rule).collect()
    }
}

/// A packet on its way while plans change may meet translation as it was before and the guard as it is now. One that opens a
/// connection is sent again.
fn hold_back(refusal: &Rule) -> Option<Rule> {
    let opens = [Match::Protocol(Protocol::Tcp), Match::TcpFlags(TcpFlags::Opens)];
    let matches = refusal.matches().iter().cloned().chain(opens);
    let why = "for now what opens a connection and is not captured is to be sent again";
    (refusal.action() == Action::Reset).then(|| Rule::new(matches, Action::Drop, why))
}

fn established() -> Rule {
    let why = "for now what conntrack knows goes on: it may have been excepted until now";
    Rule::new([Match::Established, Match::Protocol(Protocol::Tcp)], Action::Accept, why)
}
