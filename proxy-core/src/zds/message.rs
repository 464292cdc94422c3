//! Messages of ZDS, the protocol between a node agent and the proxy (package `istio.workload.zds`, version 1).
//!
//! One protobuf message is one packet of a `SOCK_SEQPACKET` socket. The private `wire` types have the field numbers;
//! the public ones are what the protocol means, always complete.

use prost::Message as _;

use super::explanation::{ExplanationError, MAX_EXPLANATION};
use super::extensions::Extensions;
use crate::explain::{Account, Query};
use crate::workload::{PodName, Uid};

/// Longest message that peers read (1024 bytes, istio-cni's and ztunnel's buffer).
pub const MAX_MESSAGE: usize = 1024;

/// What the agent asks of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Listen in the namespace whose descriptor came with the message.
    Add {
        /// The pod.
        uid: Uid,
        /// What its identity is derived from.
        name: PodName,
    },
    /// Keep a pod that an earlier connection added. Before [`Request::SnapshotSent`] only.
    Keep {
        /// The pod.
        uid: Uid,
    },
    /// Stop serving a pod.
    Del {
        /// The pod.
        uid: Uid,
    },
    /// All pods have been named; those that were not are to be stopped.
    SnapshotSent,
    /// Say what would become of a connection. Of a proxy with [`Extensions::EXPLAIN`] only.
    Explain(Query),
}

/// The proxy's answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// Done.
    Ack,
    /// Not done, and why.
    Nack(String),
    /// To [`Request::Explain`].
    Explained(Box<Account>),
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// They are not protobuf of the expected shape.
    #[error("not a protobuf message")]
    Protobuf(#[source] prost::DecodeError),
    /// The message names no request.
    #[error("a request with no payload")]
    NoPayload,
    /// An add without the workload's name.
    #[error("an add of {uid:?} without workload_info")]
    NoWorkloadInfo {
        /// The pod.
        uid: Uid,
    },
    /// A request without the pod's id.
    #[error("a request without uid")]
    NoUid,
    /// A question for an explanation, or the answer, that is not complete.
    #[error(transparent)]
    Explanation(#[from] ExplanationError),
}

impl Request {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = match self {
            Self::Add { uid, name } => wire::Payload::Add(wire::Add {
                uid: uid.clone(),
                workload_info: Some(wire::WorkloadInfo {
                    name: name.name.clone(),
                    namespace: name.namespace.clone(),
                    service_account: name.service_account.clone(),
                }),
            }),
            Self::Keep { uid } => wire::Payload::Keep(wire::Keep { uid: uid.clone() }),
            Self::Del { uid } => wire::Payload::Del(wire::Del { uid: uid.clone() }),
            Self::SnapshotSent => wire::Payload::SnapshotSent(wire::SnapshotSent {}),
            Self::Explain(query) => wire::Payload::Explain(query.into()),
        };
        wire::Request { payload: Some(payload) }.encode_to_vec()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`] when it is not one, or not complete.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request = wire::Request::decode(bytes).map_err(MessageError::Protobuf)?;
        let named = |uid: String| if uid.is_empty() { Err(MessageError::NoUid) } else { Ok(uid) };
        Ok(match request.payload.ok_or(MessageError::NoPayload)? {
            wire::Payload::Add(add) => {
                let uid = named(add.uid)?;
                let Some(info) = add.workload_info else { return Err(MessageError::NoWorkloadInfo { uid }) };
                let name = PodName {
                    namespace: info.namespace,
                    name: info.name,
                    service_account: info.service_account,
                };
                Self::Add { uid, name }
            }
            wire::Payload::Keep(keep) => Self::Keep { uid: named(keep.uid)? },
            wire::Payload::Del(del) => Self::Del { uid: named(del.uid)? },
            wire::Payload::SnapshotSent(wire::SnapshotSent {}) => Self::SnapshotSent,
            wire::Payload::Explain(explain) => Self::Explain(explain.try_into()?),
        })
    }
}

impl Response {
    /// The message's bytes. A reason that would not fit is cut; an explanation that would not becomes a refusal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = match self {
            Self::Ack => wire::ResponsePayload::Ack(wire::Ack { error: String::new() }),
            Self::Nack(reason) => nack(reason),
            Self::Explained(account) => wire::ResponsePayload::Explained(Box::new(account.as_ref().into())),
        };
        let bytes = wire::Response { payload: Some(payload) }.encode_to_vec();
        if bytes.len() <= MAX_EXPLANATION {
            return bytes;
        }
        let reason = format!("the explanation has {} bytes, more than {MAX_EXPLANATION}", bytes.len());
        wire::Response { payload: Some(nack(&reason)) }.encode_to_vec()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`] when it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let response = wire::Response::decode(bytes).map_err(MessageError::Protobuf)?;
        Ok(match response.payload.ok_or(MessageError::NoPayload)? {
            wire::ResponsePayload::Ack(ack) if ack.error.is_empty() => Self::Ack,
            wire::ResponsePayload::Ack(ack) => Self::Nack(ack.error),
            wire::ResponsePayload::Explained(account) => Self::Explained(Box::new((*account).try_into()?)),
        })
    }
}

fn nack(reason: &str) -> wire::ResponsePayload {
    // Room for the two length-delimited headers around the reason.
    const LONGEST_REASON: usize = MAX_MESSAGE - 16;
    let mut error = reason.to_owned();
    while error.len() > LONGEST_REASON {
        error.pop();
    }
    wire::ResponsePayload::Ack(wire::Ack { error })
}

/// The proxy's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The protocol's version. Agents go on with any as with 1, which is all that exists.
    pub version: i32,
    /// What the proxy understands beyond it.
    pub extensions: Extensions,
}

impl Hello {
    /// Version 1 as it is.
    pub const V1: Self = Self { version: 1, extensions: Extensions::NONE };

    /// The message's bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        wire::Hello { version: self.version, extensions: self.extensions.bits() }.encode_to_vec()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`] when it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire::Hello { version, extensions } =
            wire::Hello::decode(bytes).map_err(MessageError::Protobuf)?;
        Ok(Self { version, extensions: Extensions::from_bits(extensions) })
    }
}

/// Field numbers of `zds.proto`.
mod wire {
    use crate::zds::explanation::wire::{Account, Explain};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Hello {
        #[prost(int32, tag = "1")]
        pub(super) version: i32,
        // Not of zds.proto: far from the numbers that it may come to use.
        #[prost(uint64, tag = "1000")]
        pub(super) extensions: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkloadInfo {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) namespace: String,
        #[prost(string, tag = "3")]
        pub(super) service_account: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Add {
        #[prost(string, tag = "1")]
        pub(super) uid: String,
        #[prost(message, optional, tag = "2")]
        pub(super) workload_info: Option<WorkloadInfo>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Keep {
        #[prost(string, tag = "1")]
        pub(super) uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Del {
        // 2, not 1: as the protocol has it.
        #[prost(string, tag = "2")]
        pub(super) uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SnapshotSent {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        // Not of zds.proto: 1000.
        #[prost(oneof = "Payload", tags = "1, 2, 3, 5, 1000")]
        pub(super) payload: Option<Payload>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Payload {
        #[prost(message, tag = "1")]
        Add(Add),
        #[prost(message, tag = "2")]
        Del(Del),
        #[prost(message, tag = "3")]
        SnapshotSent(SnapshotSent),
        #[prost(message, tag = "5")]
        Keep(Keep),
        #[prost(message, tag = "1000")]
        Explain(Explain),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Ack {
        #[prost(string, tag = "1")]
        pub(super) error: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Response {
        // Not of zds.proto: 1000.
        #[prost(oneof = "ResponsePayload", tags = "1, 1000")]
        pub(super) payload: Option<ResponsePayload>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum ResponsePayload {
        #[prost(message, tag = "1")]
        Ack(Ack),
        #[prost(message, tag = "1000")]
        Explained(Box<Account>),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_protocol() {
        assert_eq!(Hello::V1.encode(), [0x08, 0x01]);
        let extended = Hello { extensions: Extensions::LISTENERS, ..Hello::V1 };
        assert_eq!(extended.encode(), [0x08, 0x01, 0xc0, 0x3e, 0x01]);
        assert_eq!(Hello::decode(&extended.encode()), Ok(extended));
        assert_eq!(Response::Ack.encode(), [0x0a, 0x00]);
        assert_eq!(Request::SnapshotSent.encode(), [0x1a, 0x00]);
        assert_eq!(Request::Del { uid: "u".into() }.encode(), [0x12, 0x03, 0x12, 0x01, b'u']);
        assert_eq!(Request::Keep { uid: "u".into() }.encode(), [0x2a, 0x03, 0x0a, 0x01, b'u']);
        let name = PodName { name: "n".into(), namespace: "s".into(), service_account: "a".into() };
        assert_eq!(
            Request::Add { uid: "u".into(), name }.encode(),
            [0x0a, 14, 0x0a, 1, b'u', 0x12, 9, 0x0a, 1, b'n', 0x12, 1, b's', 0x1a, 1, b'a']
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(Request::decode(&[]), Err(MessageError::NoPayload));
        assert_eq!(
            Request::decode(&[0x0a, 0x03, 0x0a, 0x01, b'u']),
            Err(MessageError::NoWorkloadInfo { uid: "u".into() })
        );
        assert_eq!(Request::decode(&[0x2a, 0x00]), Err(MessageError::NoUid));
        assert!(matches!(Request::decode(&[0xff; 9]), Err(MessageError::Protobuf(_))));
    }

    proptest! {
        #[test]
        fn requests_round_trip(uid in ".{1,40}", name in ".{0,40}", namespace in ".{0,40}", service_account in ".{0,40}") {
            let name = PodName { namespace, name, service_account };
            for request in [
                Request::Add { uid: uid.clone(), name },
                Request::Keep { uid: uid.clone() },
                Request::Del { uid },
                Request::SnapshotSent,
            ] {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::decode(&bytes);
            let _ = Response::decode(&bytes);
            let _ = Hello::decode(&bytes);
        }

        #[test]
        fn a_long_reason_is_cut_to_fit(reason in ".{0,2000}") {
            prop_assert!(Response::Nack(reason).encode().len() <= MAX_MESSAGE);
        }
    }
}
