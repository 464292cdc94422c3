//! Capturing: which chains and rules of a plan take or refuse packets, for the plans that are made of it.

use crate::chain::{Chain, Hook};
use crate::family::Family;
use crate::rule::{Action, Match, Rule};

use super::Plan;

impl Plan {
    /// Whether packets of this family are captured.
    pub(crate) fn captures(&self, family: Family) -> bool {
        let sees = |rule: &Rule| rule.family().is_none_or(|its| its == family);
        self.chains.iter().flat_map(|chain| &chain.rules).any(sees)
    }

    /// Whether what is sent is captured by routing each packet of it.
    pub(crate) fn diverts(&self) -> bool {
        self.chains.iter().any(|chain| chain.rules.iter().any(|rule| diverts(chain, rule)))
    }

    /// Whether what would escape capture is refused.
    pub(crate) fn refuses(&self) -> bool {
        self.chains.iter().any(refuses)
    }

    /// The plan with these rules right before those that take or refuse packets, in each chain that has any.
    pub(super) fn with_first(&self, first: impl Fn(&Chain) -> Vec<Rule>) -> Vec<Chain> {
        let with = |chain: &Chain| {
            let mut rules = chain.rules.clone();
            if rules.iter().any(|rule| takes(chain, rule)) {
                let decides = |rule: &Rule| takes(chain, rule) || rule.action() == Action::Accept;
                let place = rules.iter().position(decides).unwrap_or_default();
                rules.splice(place..place, first(chain));
            }
            Chain { rules, ..chain.clone() }
        };
        self.chains.iter().map(with).collect()
    }
}

/// Whether a chain refuses what would escape capture.
pub(super) fn refuses(chain: &Chain) -> bool {
    chain.rules.iter().any(|rule| rule.action() == Action::Reset)
}

fn takes(chain: &Chain, rule: &Rule) -> bool {
    match rule.action() {
        Action::Redirect(_) | Action::Intercept(..) | Action::Reset => true,
        _ => diverts(chain, rule),
    }
}

/// Whether a rule routes what is sent back, without asking whether that answers the proxy.
pub(crate) fn diverts(chain: &Chain, rule: &Rule) -> bool {
    let of_connection = |condition: &Match| matches!(condition, Match::ConnectionMark(_));
    chain.attachment.hook == Hook::Output
        && matches!(rule.action(), Action::SetPacketMark(_))
        && !rule.matches().iter().any(of_connection)
}
