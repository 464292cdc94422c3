//! Routing: policy rules and routes in rtnetlink's words, and what the loopback interface is able to do.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::KernelError;
use crate::family::Family;
use crate::found::{FoundPolicyRule, FoundRoute, Ipv6, Loopback};
use crate::interface::InterfaceName;
use crate::mark::Mark;
use crate::routing::{PolicyRule, Route, Way};

use super::socket::{Conversation, Dump, Request};

/// How often to start again when routing changes while it is read.
const ATTEMPTS: u32 = 5;

/// The interfaces by which routes of a plan lead, with their numbers.
pub(crate) type Interfaces = Vec<(InterfaceName, u32)>;

/// A conversation with rtnetlink.
pub(crate) struct Routing(Conversation<RouteNetlinkMessage, RouteNetlinkMessage>);

impl Routing {
    /// Opens it, in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, KernelError> {
        let conversation = Conversation::open(NETLINK_ROUTE)?;
        // A node may have very many routes, in tables that are not asked for.
        conversation.ask_strictly();
        Ok(Self(conversation))
    }

    /// What the loopback interface is able to do.
    pub(crate) fn loopback(&mut self) -> Result<Loopback, KernelError> {
        self.link(&InterfaceName::loopback()).map(|link| loopback(&link))
    }

    /// The number of an interface; none when there is no such interface.
    pub(crate) fn index(&mut self, interface: &InterfaceName) -> Result<Option<u32>, KernelError> {
        match self.link(interface) {
            Err(error) if error.refusal() == Some(libc::ENODEV) => Ok(None),
            outcome => outcome.map(|link| Some(link.header.index)),
        }
    }

    fn link(&mut self, interface: &InterfaceName) -> Result<LinkMessage, KernelError> {
        let mut question = LinkMessage::default();
        question.attributes = vec![
            LinkAttribute::IfName(interface.to_string()),
            LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
        ];
        match self.0.ask(RouteNetlinkMessage::GetLink(question))? {
            RouteNetlinkMessage::NewLink(link) => Ok(link),
            _ => Err(KernelError::Incomplete),
        }
    }

    /// The policy rules that pick this table.
    pub(crate) fn policy_rules(
        &mut self,
        family: Family,
        table: u32,
    ) -> Result<Vec<FoundPolicyRule>, KernelError> {
        let mut question = RuleMessage::default();
        question.header.family = address_family(family);
        let rules = match self.dump(RouteNetlinkMessage::GetRule(question)) {
            // A kernel without such rules for this family has none.
            Err(error) if error.refusal() == Some(libc::EAFNOSUPPORT) => Vec::new(),
            outcome => outcome?,
        };
        let found = rules.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => found_policy_rule(rule, family, table),
            _ => None,
        });
        Ok(found.collect())
    }

    /// The routes of this table, as far as they are by one of these interfaces or another.
    pub(crate) fn routes(
        &mut self,
        family: Family,
        table: u32,
        interfaces: &Interfaces,
    ) -> Result<Vec<FoundRoute>, KernelError> {
        let mut question = RouteMessage::default();
        question.header.address_family = address_family(family);
        question.attributes = vec![RouteAttribute::Table(table)];
        let routes = match self.dump(RouteNetlinkMessage::GetRoute(question)) {
            // A table without routes is none.
            Err(error) if error.refusal() == Some(libc::ENOENT) => Vec::new(),
            outcome => outcome?,
        };
        let found = routes.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => found_route(route, family, table, interfaces),
            _ => None,
        });
        Ok(found.collect())
    }

    /// Adds a policy rule, if it is not there.
    pub(crate) fn add_policy_rule(&mut self, rule: PolicyRule) -> Result<(), KernelError> {
        let message = RouteNetlinkMessage::NewRule(policy_rule_message(rule));
        tolerate(self.0.command(Request { message, flags: NLM_F_CREATE | NLM_F_EXCL }), &[libc::EEXIST])
    }

    /// Deletes a policy rule, if it is there.
    pub(crate) fn delete_policy_rule(&mut self, rule: PolicyRule) -> Result<(), KernelError> {
        let message = RouteNetlinkMessage::DelRule(policy_rule_message(rule));
        tolerate(self.0.command(Request { message, flags: 0 }), &[libc::ENOENT])
    }

    /// Adds a route. One of another kind for the same addresses is not replaced: it is someone else's.
    pub(crate) fn add_route(&mut self, route: &Route, interface: u32) -> Result<(), KernelError> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route, interface));
        self.0.command(Request { message, flags: NLM_F_CREATE | NLM_F_EXCL })
    }

    /// Deletes a route, if it is there, whoever has added it.
    pub(crate) fn delete_route(&mut self, route: &Route, interface: u32) -> Result<(), KernelError> {
        let mut message = route_message(route, interface);
        message.header.protocol = RouteProtocol::Unspec;
        let message = RouteNetlinkMessage::DelRoute(message);
        // An empty table of IPv6 holds what stands for no route, which the kernel does not delete.
        tolerate(self.0.command(Request { message, flags: 0 }), &[libc::ESRCH, libc::ENOENT])
    }

    fn dump(&mut self, question: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        for _ in 0..ATTEMPTS {
            if let Dump::Settled(answers) = self.0.dump(question.clone())? {
                return Ok(answers);
            }
        }
        Err(KernelError::Unsettled { attempts: ATTEMPTS })
    }
}

fn tolerate(outcome: Result<(), KernelError>, errors: &[i32]) -> Result<(), KernelError> {
    match outcome {
        Err(error) if error.refusal().is_some_and(|number| errors.contains(&number)) => Ok(()),
        outcome => outcome,
    }
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn loopback(link: &LinkMessage) -> Loopback {
    let families = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    });
    let mut inet6 = families.flatten().filter_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    let is_off =
        |attribute: &AfSpecInet6| matches!(attribute, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 != 0);
    let ipv6 = match inet6.next() {
        None => Ipv6::Absent,
        Some(attributes) if attributes.iter().any(is_off) => Ipv6::OffOnLoopback,
        Some(_) => Ipv6::On,
    };
    Loopback { index: link.header.index, up: link.header.flags.contains(LinkFlags::Up), ipv6 }
}

fn policy_rule_message(rule: PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::FwMark(rule.mark.value()),
        RuleAttribute::FwMask(rule.mark.mask()),
        RuleAttribute::Table(rule.table),
    ];
    message
}

/// What `policy_rule_message` says, read back; nothing when the rule does not pick `table`.
fn found_policy_rule(message: &RuleMessage, family: Family, table: u32) -> Option<FoundPolicyRule> {
    let header = &message.header;
    let (mut priority, mut value, mut mask, mut picks) = (0, 0, 0, u32::from(header.table));
    let mut plain = header.action == RuleAction::ToTable
        && header.flags == RuleFlags::empty()
        && (header.src_len, header.dst_len, header.tos) == (0, 0, 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(found) => priority = *found,
            RuleAttribute::FwMark(found) => value = *found,
            RuleAttribute::FwMask(found) => mask = *found,
            RuleAttribute::Table(found) => picks = *found,
            // Who added the rule, and the value for "no suppression".
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => plain = false,
        }
    }
    if picks != table {
        return None;
    }
    let mark = Mark::new(value, mask).ok().filter(|_| plain);
    Some(match mark {
        Some(mark) => FoundPolicyRule::Ours(PolicyRule { family, mark, priority, table }),
        None => FoundPolicyRule::Foreign { priority, table },
    })
}

fn route_message(route: &Route, interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(route.family);
    message.header.protocol = RouteProtocol::Static;
    message.attributes = vec![RouteAttribute::Table(route.table), RouteAttribute::Oif(interface)];
    match &route.way {
        Way::Here => {
            message.header.scope = RouteScope::Host;
            message.header.kind = RouteType::Local;
        }
        Way::By { gateway, .. } => {
            message.header.scope = RouteScope::Universe;
            message.header.kind = RouteType::Unicast;
            message.header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway((*gateway).into()));
        }
    }
    message
}

/// What `route_message` says, read back; nothing when the route is not in `table`.
fn found_route(
    message: &RouteMessage,
    family: Family,
    table: u32,
    interfaces: &Interfaces,
) -> Option<FoundRoute> {
    let header = &message.header;
    let (mut holds, mut number, mut gateway) = (u32::from(header.table), None, None);
    let mut plain = (header.source_prefix_length, header.destination_prefix_length, header.tos) == (0, 0, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(found) => holds = *found,
            RouteAttribute::Oif(found) => number = Some(*found),
            RouteAttribute::Gateway(RouteAddress::Inet(found)) => gateway = Some((*found).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(found)) => gateway = Some((*found).into()),
            // What IPv6 adds to every route: a metric, a preference among routers, statistics.
            RouteAttribute::Priority(_) | RouteAttribute::Preference(_) | RouteAttribute::CacheInfo(_) => {}
            _ => plain = false,
        }
    }
    // What the interface does at the moment is not what the route says.
    let flags = header.flags - RouteFlags::Dead - RouteFlags::Linkdown;
    let name = |number| interfaces.iter().find(|(_, its)| *its == number).map(|(name, _)| name.clone());
    let way = match (header.kind, number.and_then(name), gateway) {
        (RouteType::Local, Some(name), None) if name == InterfaceName::loopback() && flags.is_empty() => {
            Some(Way::Here)
        }
        (RouteType::Unicast, Some(interface), Some(gateway)) if flags == RouteFlags::Onlink => {
            Some(Way::By { interface, gateway })
        }
        _ => None,
    };
    let prefix = header.destination_prefix_length;
    (holds == table).then_some(match way.filter(|_| plain) {
        Some(way) => FoundRoute::Ours(Route { family, table, way }),
        None => FoundRoute::Foreign { table, prefix },
    })
}
