//! What clients are told: serf's messages, byte for byte.
//!
//! Keys stand in alphabetical order, numbers in the shortest form, text as string and
//! bytes as binary; an absent payload is nil. Maps of text are sorted, where serf's
//! order changes from answer to answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use muster_engine::{Member as Known, Status};
use serde::Serialize;
use serde::ser::Serializer;

/// The lowest and highest protocol of memberlist that serf 0.9 names, and the one that
/// it speaks. Peers here speak another one; clients only print these.
const PROTOCOL: (u8, u8, u8) = (1, 5, 2);

/// The same for serf's own protocol.
const DELEGATE: (u8, u8, u8) = (2, 5, 5);

/// Tag that holds the first role of a member that has no such tag of its own.
const ROLE_TAG: &str = "role";

/// Head of each answer and record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    error: &'a str,
    seq: u64,
}

/// Answer to `join`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Joined {
    pub(crate) num: u64,
}

/// Answer to `members` and `members-filtered`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Members {
    pub(crate) members: Vec<Member>,
}

/// Answer to a filter that is wrong.
///
/// serf's own client reads a body after an error, others do not and take it for the
/// head of the next answer. With the number of this request in it, it is one to which
/// nobody listens any more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NoMembers {
    pub(crate) members: [Member; 0],
    pub(crate) seq: u64,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Member {
    addr: Octets,
    delegate_cur: u8,
    delegate_max: u8,
    delegate_min: u8,
    name: String,
    port: u16,
    protocol_cur: u8,
    protocol_max: u8,
    protocol_min: u8,
    status: &'static str,
    tags: BTreeMap<String, String>,
}

/// Several members to whom the same happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MemberEvent {
    pub(crate) event: &'static str,
    pub(crate) members: Vec<Member>,
}

/// A user event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UserEvent<'a> {
    pub(crate) coalesce: bool,
    pub(crate) event: &'static str,
    #[serde(rename = "LTime")]
    pub(crate) lamport: u64,
    pub(crate) name: &'a str,
    pub(crate) payload: Payload,
}

/// A query for the client to answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueryEvent {
    pub(crate) event: &'static str,
    #[serde(rename = "ID")]
    pub(crate) id: u64,
    #[serde(rename = "LTime")]
    pub(crate) lamport: u64,
    pub(crate) name: String,
    pub(crate) payload: Payload,
}

/// What came back on a query of the client's.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueryRecord {
    pub(crate) from: String,
    pub(crate) payload: Payload,
    /// `ack`, `response` or `done`.
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
}

/// A line of the log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogRecord {
    pub(crate) log: String,
}

/// Answer to `get-coordinate`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Located {
    pub(crate) coord: Coordinate,
    pub(crate) ok: bool,
}

/// A network coordinate.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Coordinate {
    /// Seconds.
    pub adjustment: f64,
    /// Confidence, dimensionless.
    pub error: f64,
    /// Seconds.
    pub height: f64,
    /// Seconds in each dimension; nothing for an unknown coordinate.
    pub vec: Option<Vec<f64>>,
}

/// Answer to `stats`: groups of texts.
pub(crate) type Stats = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Binary, nil if empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            to.serialize_none()
        } else {
            to.serialize_bytes(&self.0)
        }
    }
}

/// An address as its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Octets(IpAddr);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            IpAddr::V4(ip) => to.serialize_bytes(&ip.octets()),
            IpAddr::V6(ip) => to.serialize_bytes(&ip.octets()),
        }
    }
}

impl From<&Known> for Member {
    fn from(member: &Known) -> Self {
        Self {
            addr: Octets(member.addr.ip()),
            delegate_cur: DELEGATE.2,
            delegate_max: DELEGATE.1,
            delegate_min: DELEGATE.0,
            name: member.display_name().to_string(),
            port: member.addr.port(),
            protocol_cur: PROTOCOL.2,
            protocol_max: PROTOCOL.1,
            protocol_min: PROTOCOL.0,
            status: status(member.status),
            tags: tags(member),
        }
    }
}

/// serf's word for a status: it shows no suspicions.
pub(crate) const fn status(status: Status) -> &'static str {
    match status {
        Status::Alive | Status::Suspect => "alive",
        Status::Leaving => "leaving",
        Status::Left => "left",
        Status::Failed => "failed",
    }
}

/// The tags, with the first role among them.
pub(crate) fn tags(member: &Known) -> BTreeMap<String, String> {
    let mut tags = member.tags.clone();
    if let Some(role) = member.roles.first() {
        let name = || role.name.clone();
        tags.entry(ROLE_TAG.to_owned()).or_insert_with(name);
    }
    tags
}

/// An answer without body, or the head of one.
pub(crate) fn head(seq: u64, error: &str) -> Vec<u8> {
    encode(&Header { error, seq })
}

/// An answer or record with its body.
pub(crate) fn with_body(seq: u64, error: &str, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = head(seq, error);
    bytes.extend(encode(body));
    bytes
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("these types always encode, and to memory")
}

#[cfg(test)]
mod tests;
