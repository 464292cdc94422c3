//! Field numbers of explanations. They are this crate's own.

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::zds) struct Explain {
    #[prost(string, tag = "1")]
    pub(super) uid: String,
    #[prost(enumeration = "Way", tag = "2")]
    pub(super) way: i32,
    #[prost(string, tag = "3")]
    pub(super) client: String,
    #[prost(string, tag = "4")]
    pub(super) destination: String,
    #[prost(string, optional, tag = "5")]
    pub(super) peer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Way {
    Unsaid = 0,
    Out = 1,
    In = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::zds) struct Account {
    #[prost(string, tag = "1")]
    pub(super) namespace: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) service_account: String,
    #[prost(string, tag = "4")]
    pub(super) identity: String,
    /// Seconds since 1970.
    #[prost(uint64, optional, tag = "5")]
    pub(super) expires: Option<u64>,
    #[prost(message, optional, tag = "6")]
    pub(super) facts: Option<Party>,
    #[prost(oneof = "Fate", tags = "7, 8")]
    pub(super) fate: Option<Fate>,
    #[prost(message, optional, tag = "9")]
    pub(super) namesake: Option<Party>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Fate {
    #[prost(message, tag = "7")]
    Outbound(Outbound),
    #[prost(message, tag = "8")]
    Inbound(Inbound),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Party {
    #[prost(string, tag = "1")]
    pub(super) uid: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) identity: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) addresses: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(super) tunnels: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Refusal {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(bool, tag = "2")]
    pub(super) lacking: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Outbound {
    #[prost(oneof = "Addressee", tags = "1, 2")]
    pub(super) addressee: Option<Addressee>,
    #[prost(oneof = "Where", tags = "3, 4")]
    pub(super) going: Option<Where>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Addressee {
    #[prost(message, tag = "1")]
    Workload(Party),
    #[prost(string, tag = "2")]
    Service(String),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Where {
    #[prost(message, boxed, tag = "3")]
    Going(Box<Going>),
    #[prost(message, tag = "4")]
    Nowhere(Refusal),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Going {
    #[prost(string, tag = "1")]
    pub(super) hop: String,
    #[prost(message, optional, tag = "2")]
    pub(super) at: Option<Party>,
    #[prost(string, optional, tag = "3")]
    pub(super) waypoint: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub(super) tunnel: Option<Tunnel>,
    #[prost(message, optional, tag = "5")]
    pub(super) beyond: Option<Beyond>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Beyond {
    #[prost(string, tag = "1")]
    pub(super) network: String,
    #[prost(string, tag = "2")]
    pub(super) gateway: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) expected: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) connections: Vec<Connections>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tunnel {
    #[prost(string, tag = "1")]
    pub(super) target: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) expected: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) connections: Vec<Connections>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Connections {
    #[prost(uint32, tag = "1")]
    pub(super) worker: u32,
    #[prost(uint32, tag = "2")]
    pub(super) open: u32,
    #[prost(uint32, tag = "3")]
    pub(super) dialling: u32,
    #[prost(uint32, tag = "4")]
    pub(super) streams: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Inbound {
    #[prost(message, optional, tag = "1")]
    pub(super) client: Option<Party>,
    #[prost(message, optional, tag = "2")]
    pub(super) tunnel: Option<Judged>,
    #[prost(message, optional, tag = "3")]
    pub(super) plaintext: Option<Judged>,
    #[prost(message, repeated, tag = "4")]
    pub(super) policies: Vec<Applied>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Judged {
    #[prost(string, optional, tag = "1")]
    pub(super) peer: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) policy: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) refusal: Option<Refusal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Applied {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bool, tag = "2")]
    pub(super) denies: bool,
    #[prost(enumeration = "Scope", tag = "3")]
    pub(super) scope: i32,
    #[prost(bool, tag = "4")]
    pub(super) dry_run: bool,
    #[prost(uint32, optional, tag = "5")]
    pub(super) tunnel: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub(super) plaintext: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Scope {
    Unsaid = 0,
    Global = 1,
    Namespace = 2,
    Workload = 3,
}
