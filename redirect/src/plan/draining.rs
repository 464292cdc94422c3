//! Draining: what stays of a plan while captured connections go on to their end, and new ones are left alone.
//!
//! Where a connection goes is decided on its first packet, and conntrack knows it from then on. So what decides can go. What
//! stays is what each packet of a captured connection needs: the chains of translation themselves, empty, since the kernel
//! translates nothing where it has none; the marks by which replies find the proxy, and their routing; and the zone of the
//! proxy's own queries. Nothing that stays ends the way of a packet, but for a reply that would leave the pod.

use crate::chain::{Chain, ChainKind, Hook};
use crate::rule::{Action, Rule};

use super::Plan;

impl Plan {
    /// The plan that stays while what this one has captured goes on. None when this one captures what is sent packet by packet
    /// ([`Method::Tproxy`](crate::Method::Tproxy)): what it does for a captured connection it would then do for a new one.
    pub(crate) fn draining(&self) -> Option<Self> {
        if self.diverts() {
            return None;
        }
        let chains = self.chains.iter().filter_map(|chain| {
            let rules = chain.rules.iter().filter(|rule| stays(chain, rule)).cloned().collect();
            let chain = Chain { rules, ..chain.clone() };
            (chain.attachment.kind == ChainKind::Nat || !chain.rules.is_empty()).then_some(chain)
        });
        Some(Self { chains: chains.collect(), ..self.clone() })
    }
}

fn stays(chain: &Chain, rule: &Rule) -> bool {
    match rule.action() {
        Action::SetPacketMark(_)
        | Action::SetConnectionMark(_)
        | Action::SetZone(_)
        // Without it the timeouts would go, and be taken from the connections that have them.
        | Action::SetTimeouts => true,
        // A reply that has lost its way.
        Action::Drop => chain.attachment.hook == Hook::Postrouting,
        Action::Accept
        | Action::Reset
        | Action::Redirect(_)
        | Action::Intercept(..)
        | Action::SourceNat(_) => false,
    }
}
