//! Exceptions: what the intent leaves alone, at each place where it would be captured or refused.

use crate::exception::Exception;
use crate::intent::{Families, Intent};
use crate::rule::{Action, Match, Protocol, Rule};

use super::captured_families;

/// What the application sends.
pub(super) fn sent(intent: &Intent) -> Vec<Rule> {
    accept(intent, Exception::sent, "excepted: this may leave uncaptured")
}

/// What comes for the application.
pub(super) fn received(intent: &Intent) -> Vec<Rule> {
    accept(intent, Exception::received, "excepted: this may reach the application uncaptured")
}

/// What the application answers to what came for it.
pub(super) fn answered(intent: &Intent) -> Vec<Rule> {
    let why = "excepted: an answer to what may reach the application uncaptured";
    let mut rules = Vec::new();
    for exception in captured(intent) {
        rules.extend(exception.answered().map(|shown| rule(intent, exception, [shown, Match::Reply], why)));
    }
    rules
}

fn accept(intent: &Intent, shown: fn(&Exception) -> Option<Match>, why: &'static str) -> Vec<Rule> {
    let rule = |exception| Some(rule(intent, exception, [shown(exception)?], why));
    captured(intent).filter_map(rule).collect()
}

/// The exceptions from what is captured: packets of another family are not captured anyway.
fn captured(intent: &Intent) -> impl Iterator<Item = &Exception> {
    let families = intent.families().all();
    let is_captured =
        |exception: &&Exception| exception.family().is_none_or(|family| families.contains(&family));
    intent.exceptions().iter().filter(is_captured)
}

fn rule<const N: usize>(
    intent: &Intent,
    exception: &Exception,
    matches: [Match; N],
    why: &'static str,
) -> Rule {
    let family = match (exception.family(), intent.families()) {
        (None, Families::V4) => captured_families(intent),
        _ => None,
    };
    Rule::new(matches.into_iter().chain([Match::Protocol(Protocol::Tcp)]).chain(family), Action::Accept, why)
}
