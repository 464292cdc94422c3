//! Explanation: the messages of [`Extensions::EXPLAIN`](super::Extensions::EXPLAIN). Fields are added and never change their
//! meaning; so there is no version.

#[cfg(test)]
mod tests;
pub(super) mod wire;

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use identity::SpiffeId;

use crate::address::{ClientAddr, HopAddr, OriginalDst};
use crate::explain::{
    Account, Addressee, Applied, Beyond, Cause, Connections, Fate, Going, Inbound, Judged, Outbound, Party,
    Query, Refusal, Tunnel, Way,
};
use crate::policy::{Action, Mode, Scope};
use crate::workload::{PodName, Protocol};

/// Longest answer that explains, in bytes. 16 KiB: some two hundred policies with names of usual length.
pub const MAX_EXPLANATION: usize = 16 << 10;

/// A field of an explanation that says nothing, or nothing that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an explanation with a bad {field}")]
pub struct ExplanationError {
    /// Which.
    pub field: &'static str,
}

type Read<T> = Result<T, ExplanationError>;

fn bad(field: &'static str) -> ExplanationError {
    ExplanationError { field }
}

fn some<T>(value: Option<T>, field: &'static str) -> Read<T> {
    value.ok_or_else(|| bad(field))
}

fn parse<T: std::str::FromStr>(text: &str, field: &'static str) -> Read<T> {
    text.parse().map_err(|_| bad(field))
}

fn all<A, B>(values: Vec<A>, read: impl FnMut(A) -> Read<B>) -> Read<Vec<B>> {
    values.into_iter().map(read).collect()
}

fn ids(ids: Vec<String>, field: &'static str) -> Read<Vec<SpiffeId>> {
    all(ids, |id| parse(&id, field))
}

impl From<&Query> for wire::Explain {
    fn from(query: &Query) -> Self {
        let (way, peer) = match &query.way {
            Way::Out => (wire::Way::Out, None),
            Way::In { peer } => (wire::Way::In, peer.as_ref().map(ToString::to_string)),
        };
        Self {
            uid: query.uid.clone(),
            way: way.into(),
            client: query.client.to_string(),
            destination: query.destination.to_string(),
            peer,
        }
    }
}

impl TryFrom<wire::Explain> for Query {
    type Error = ExplanationError;

    fn try_from(wire: wire::Explain) -> Read<Self> {
        let peer = wire.peer.as_deref().map(|id| parse(id, "peer")).transpose()?;
        let way = match wire::Way::try_from(wire.way) {
            Ok(wire::Way::Out) => Way::Out,
            Ok(wire::Way::In) => Way::In { peer },
            Ok(wire::Way::Unsaid) | Err(_) => return Err(bad("way")),
        };
        let uid = some(Some(wire.uid).filter(|uid| !uid.is_empty()), "uid")?;
        let client = ClientAddr::new(parse(&wire.client, "client")?);
        let destination = OriginalDst::new(parse::<SocketAddr>(&wire.destination, "destination")?);
        Ok(Self { uid, way, client, destination })
    }
}

impl From<&Account> for wire::Account {
    fn from(account: &Account) -> Self {
        let PodName { namespace, name, service_account } = account.name.clone();
        let since = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            namespace,
            name,
            service_account,
            identity: account.identity.to_string(),
            expires: account.expires.map(|time| since(time).as_secs()),
            facts: account.facts.as_ref().map(Into::into),
            namesake: account.namesake.as_ref().map(Into::into),
            fate: Some(match &account.fate {
                Fate::Outbound(outbound) => wire::Fate::Outbound(outbound.into()),
                Fate::Inbound(inbound) => wire::Fate::Inbound(inbound.into()),
            }),
        }
    }
}

impl TryFrom<wire::Account> for Account {
    type Error = ExplanationError;

    fn try_from(wire: wire::Account) -> Read<Self> {
        let wire::Account { namespace, name, service_account, identity, expires, facts, fate, namesake } =
            wire;
        let time = |seconds| some(UNIX_EPOCH.checked_add(Duration::from_secs(seconds)), "expires");
        Ok(Self {
            name: PodName { namespace, name, service_account },
            identity: parse(&identity, "identity")?,
            expires: expires.map(time).transpose()?,
            facts: facts.map(TryInto::try_into).transpose()?,
            namesake: namesake.map(TryInto::try_into).transpose()?,
            fate: match some(fate, "fate")? {
                wire::Fate::Outbound(outbound) => Fate::Outbound(outbound.try_into()?),
                wire::Fate::Inbound(inbound) => Fate::Inbound(inbound.try_into()?),
            },
        })
    }
}

impl From<&Party> for wire::Party {
    fn from(party: &Party) -> Self {
        Self {
            uid: party.uid.clone(),
            name: party.name.clone(),
            identity: party.identity.to_string(),
            addresses: party.addresses.iter().map(ToString::to_string).collect(),
            tunnels: party.protocol == Protocol::Hbone,
        }
    }
}

impl TryFrom<wire::Party> for Party {
    type Error = ExplanationError;

    fn try_from(wire: wire::Party) -> Read<Self> {
        Ok(Self {
            uid: wire.uid,
            name: wire.name,
            identity: parse(&wire.identity, "identity")?,
            addresses: all(wire.addresses, |address| parse(&address, "address"))?,
            protocol: if wire.tunnels { Protocol::Hbone } else { Protocol::Tcp },
        })
    }
}

impl From<&Refusal> for wire::Refusal {
    fn from(refusal: &Refusal) -> Self {
        Self { reason: refusal.reason.clone(), lacking: refusal.cause == Cause::Lacking }
    }
}

impl From<wire::Refusal> for Refusal {
    fn from(wire: wire::Refusal) -> Self {
        Self { reason: wire.reason, cause: if wire.lacking { Cause::Lacking } else { Cause::Meant } }
    }
}

impl From<&Outbound> for wire::Outbound {
    fn from(outbound: &Outbound) -> Self {
        let addressee = match &outbound.addressee {
            Addressee::Stranger => None,
            Addressee::Workload(party) => Some(wire::Addressee::Workload(party.into())),
            Addressee::Service(service) => Some(wire::Addressee::Service(service.clone())),
        };
        let going = match &outbound.going {
            Ok(going) => wire::Where::Going(Box::new(going.into())),
            Err(refusal) => wire::Where::Nowhere(refusal.into()),
        };
        Self { addressee, going: Some(going) }
    }
}

impl TryFrom<wire::Outbound> for Outbound {
    type Error = ExplanationError;

    fn try_from(wire: wire::Outbound) -> Read<Self> {
        Ok(Self {
            addressee: match wire.addressee {
                None => Addressee::Stranger,
                Some(wire::Addressee::Workload(party)) => Addressee::Workload(party.try_into()?),
                Some(wire::Addressee::Service(service)) => Addressee::Service(service),
            },
            going: match some(wire.going, "way")? {
                wire::Where::Going(going) => Ok((*going).try_into()?),
                wire::Where::Nowhere(refusal) => Err(refusal.into()),
            },
        })
    }
}

impl From<&Going> for wire::Going {
    fn from(going: &Going) -> Self {
        Self {
            hop: going.hop.to_string(),
            at: going.at.as_ref().map(Into::into),
            waypoint: going.waypoint.clone(),
            tunnel: going.tunnel.as_ref().map(Into::into),
            beyond: going.beyond.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Going> for Going {
    type Error = ExplanationError;

    fn try_from(wire: wire::Going) -> Read<Self> {
        Ok(Self {
            hop: HopAddr::new(parse(&wire.hop, "hop")?),
            at: wire.at.map(TryInto::try_into).transpose()?,
            waypoint: wire.waypoint,
            tunnel: wire.tunnel.map(TryInto::try_into).transpose()?,
            beyond: wire.beyond.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&Tunnel> for wire::Tunnel {
    fn from(tunnel: &Tunnel) -> Self {
        Self {
            target: tunnel.target.clone(),
            expected: tunnel.expected.iter().map(ToString::to_string).collect(),
            connections: tunnel.connections.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Tunnel> for Tunnel {
    type Error = ExplanationError;

    fn try_from(wire: wire::Tunnel) -> Read<Self> {
        let connections = wire.connections.into_iter().map(Into::into).collect();
        Ok(Self { target: wire.target, expected: ids(wire.expected, "expected")?, connections })
    }
}

impl From<&Beyond> for wire::Beyond {
    fn from(beyond: &Beyond) -> Self {
        Self {
            network: beyond.network.clone(),
            gateway: beyond.gateway.clone(),
            expected: beyond.expected.iter().map(ToString::to_string).collect(),
            connections: beyond.connections.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Beyond> for Beyond {
    type Error = ExplanationError;

    fn try_from(wire: wire::Beyond) -> Read<Self> {
        let connections = wire.connections.into_iter().map(Into::into).collect();
        let expected = ids(wire.expected, "expected beyond")?;
        Ok(Self { network: wire.network, gateway: wire.gateway, expected, connections })
    }
}

impl From<&Connections> for wire::Connections {
    fn from(&Connections { worker, open, dialling, streams }: &Connections) -> Self {
        Self { worker, open, dialling, streams }
    }
}

impl From<wire::Connections> for Connections {
    fn from(wire::Connections { worker, open, dialling, streams }: wire::Connections) -> Self {
        Self { worker, open, dialling, streams }
    }
}

impl From<&Inbound> for wire::Inbound {
    fn from(inbound: &Inbound) -> Self {
        Self {
            client: inbound.client.as_ref().map(Into::into),
            tunnel: inbound.tunnel.as_ref().map(Into::into),
            plaintext: Some((&inbound.plaintext).into()),
            policies: inbound.policies.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Inbound> for Inbound {
    type Error = ExplanationError;

    fn try_from(wire: wire::Inbound) -> Read<Self> {
        Ok(Self {
            client: wire.client.map(TryInto::try_into).transpose()?,
            tunnel: wire.tunnel.map(TryInto::try_into).transpose()?,
            plaintext: some(wire.plaintext, "plaintext")?.try_into()?,
            policies: all(wire.policies, TryInto::try_into)?,
        })
    }
}

impl From<&Judged> for wire::Judged {
    fn from(judged: &Judged) -> Self {
        let (policy, refusal) = match &judged.verdict {
            Ok(policy) => (policy.clone(), None),
            Err(refusal) => (None, Some(refusal.into())),
        };
        Self { peer: judged.peer.as_ref().map(ToString::to_string), policy, refusal }
    }
}

impl TryFrom<wire::Judged> for Judged {
    type Error = ExplanationError;

    fn try_from(wire: wire::Judged) -> Read<Self> {
        let verdict = wire.refusal.map_or(Ok(wire.policy), |refusal| Err(refusal.into()));
        Ok(Self { peer: wire.peer.as_deref().map(|id| parse(id, "peer")).transpose()?, verdict })
    }
}

impl From<&Applied> for wire::Applied {
    fn from(applied: &Applied) -> Self {
        Self {
            name: applied.name.clone(),
            denies: applied.action == Action::Deny,
            scope: match applied.scope {
                Scope::Global => wire::Scope::Global,
                Scope::Namespace => wire::Scope::Namespace,
                Scope::WorkloadSelector => wire::Scope::Workload,
            }
            .into(),
            dry_run: applied.mode == Mode::DryRun,
            tunnel: applied.tunnel,
            plaintext: applied.plaintext,
        }
    }
}

impl TryFrom<wire::Applied> for Applied {
    type Error = ExplanationError;

    fn try_from(wire: wire::Applied) -> Read<Self> {
        Ok(Self {
            name: wire.name,
            action: if wire.denies { Action::Deny } else { Action::Allow },
            scope: match wire::Scope::try_from(wire.scope) {
                Ok(wire::Scope::Global) => Scope::Global,
                Ok(wire::Scope::Namespace) => Scope::Namespace,
                Ok(wire::Scope::Workload) => Scope::WorkloadSelector,
                Ok(wire::Scope::Unsaid) | Err(_) => return Err(bad("scope")),
            },
            mode: if wire.dry_run { Mode::DryRun } else { Mode::Enforced },
            tunnel: wire.tunnel,
            plaintext: wire.plaintext,
        })
    }
}
