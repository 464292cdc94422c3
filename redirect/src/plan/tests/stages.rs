//! The plans that are made of a plan, and that of the node, as text.

use std::path::PathBuf;

use super::intents::all_intents as intents;
use crate::chain::Chain;
use crate::plan::capturing::diverts;
use crate::plan::{Before, Plan};
use crate::rule::{Action, Match, Rule};
use crate::{Families, Family, Intent, Marks, Method, NodeLevel, Ports, ReplyRouting, render};

use proptest::prelude::*;

#[test]
fn each_stage_renders_as_its_golden_file() {
    let plan = Plan::new(&Intent::ambient());
    let tproxy = Plan::new(&Intent::ambient().with_outbound_method(Method::Tproxy));
    let links = ["fd00:7f::2".parse().unwrap(), "fd00:7e::2".parse().unwrap()];
    let level = NodeLevel::istio(Some(links)).unwrap();
    let here = NodeLevel::here(Ports::ISTIO, Marks::ISTIO, ReplyRouting::ISTIO, Families::V4AndV6);
    let stages = [
        ("keeping", plan.keeping()),
        ("opening", plan.opening(Before::Open).unwrap()),
        ("opening_guarded", plan.opening(Before::Guarded).unwrap()),
        ("draining", plan.draining()),
        ("draining_tproxy", tproxy.draining()),
        ("holding", plan.holding()),
        ("node_level", level.plan()),
        ("node_level_here", here.plan()),
    ];
    let bless = std::env::var_os("INPOD_BLESS").is_some_and(|value| value == "1");
    for (name, stage) in stages {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/stages/{name}.nft"));
        let text = render::nft(&stage);
        if bless {
            std::fs::write(&file, text).unwrap();
        } else {
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{name}: INPOD_BLESS=1 writes it anew");
        }
    }
}

proptest! {
    /// Kept connections go past all that captures or refuses, and nothing else is changed.
    #[test]
    fn keeping_adds_only_what_is_about_kept_connections(intent in intents()) {
        let plan = Plan::new(&intent);
        let mut keeping = plan.keeping();
        let is_kept = |condition: &Match| matches!(condition, Match::ConnectionIn(_));
        for chain in &mut keeping.chains {
            let takes = chain.rules.iter().position(|rule| {
                matches!(rule.action(), Action::Redirect(_) | Action::Intercept(..) | Action::Reset)
            });
            let kept = chain.rules.iter().position(|rule| rule.matches().iter().any(is_kept));
            prop_assert!(takes.is_none() || kept < takes && kept.is_some());
            chain.rules.retain(|rule| !rule.matches().iter().any(is_kept));
        }
        prop_assert_eq!(keeping.chains, plan.chains);
    }

    /// What drains refuses and captures nothing, but still translates.
    #[test]
    fn draining_captures_nothing(intent in intents()) {
        let plan = Plan::new(&intent);
        let draining = plan.draining();
        let takes = |action| matches!(action, Action::Redirect(_) | Action::Intercept(..) | Action::Reset);
        prop_assert!(!draining.chains.iter().flat_map(|chain| &chain.rules).any(|rule| takes(rule.action())));
        let nat = |plan: &Plan| plan.chains.iter().filter(|chain| chain.name.starts_with("nat-")).count();
        prop_assert_eq!(nat(&draining), nat(&plan));
        prop_assert_eq!(&draining.policy_rules, &plan.policy_rules);
        // What routes packets back does so for connections that go on, of each family.
        let is_its = |condition: &Match| matches!(condition, Match::ConnectionIn(_));
        let routes = |chain: &Chain| chain.rules.iter().filter(|rule| diverts(chain, rule)).cloned().collect();
        let routed: Vec<Rule> = draining.chains.iter().flat_map(|chain| -> Vec<Rule> { routes(chain) }).collect();
        prop_assert!(routed.iter().all(|rule| rule.matches().iter().any(is_its)));
        prop_assert_eq!(routed.is_empty(), !plan.diverts());
    }

    /// Each family that is captured has its set, and no other.
    #[test]
    fn captured_families_have_sets(intent in intents()) {
        let keeping = Plan::new(&intent).keeping();
        let families: Vec<Family> = keeping.kept().map(crate::Set::family).collect();
        prop_assert_eq!(families, intent.families().all());
    }
}
