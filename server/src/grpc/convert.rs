//! From the engine's types to the messages of the API.

use muster_engine::{Event, Gap, Member, Status};
use muster_proto::v1 as pb;
use prost::Message as _;
use prost_types::Timestamp;

use crate::hub::store::Entry;

/// Milliseconds since the Unix epoch as a timestamp.
pub(crate) fn timestamp(unix_ms: u64) -> Timestamp {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(unix_ms % 1_000 * 1_000_000).unwrap_or(0);
    Timestamp { seconds, nanos }
}

/// A status for the outside.
pub(crate) fn status(status: Status) -> pb::MemberStatus {
    match status {
        Status::Alive => pb::MemberStatus::Alive,
        Status::Suspect => pb::MemberStatus::Suspect,
        Status::Leaving => pb::MemberStatus::Leaving,
        Status::Left => pb::MemberStatus::Left,
        Status::Failed => pb::MemberStatus::Failed,
    }
}

/// A member of the store.
pub(crate) fn member(entry: &Entry<Member>) -> pb::Member {
    pb::Member {
        updated_at: Some(timestamp(entry.changed_unix_ms)),
        changed_revision: entry.changed,
        ..bare_member(&entry.value)
    }
}

/// A member that is not in the store, or not yet.
pub(crate) fn bare_member(member: &Member) -> pb::Member {
    let role = |role: &muster_engine::Role| pb::RoleInstance {
        role: role.name.clone(),
        service_ip: role.service_ip.to_string(),
        service_port: role.service_port.into(),
        since: Some(timestamp(role.since_unix_ms)),
    };
    let change = &member.change;
    pb::Member {
        name: member.name.to_string(),
        status: status(member.status).into(),
        gossip_ip: member.addr.ip().to_string(),
        gossip_port: member.addr.port().into(),
        tags: member.tags.clone(),
        roles: member.roles.iter().map(role).collect(),
        incarnation: member.incarnation,
        started_at: Some(timestamp(member.started_unix_ms)),
        updated_at: Some(timestamp(change.at_unix_ms)),
        changed_revision: 0,
        transitions: member.transitions,
        version: member.version.clone(),
        protocol: member.protocol.1,
        boot: member.boot,
        status_change: Some(pb::StatusChange {
            by: change.by.as_deref().unwrap_or_default().to_owned(),
            at: Some(timestamp(change.at_unix_ms)),
            reason: change.reason.as_str().to_owned(),
        }),
        alias: member.alias.as_deref().unwrap_or_default().to_owned(),
        plaintext: member.plaintext,
        by_tcp: member.by_tcp,
        self_: member.is_self,
    }
}

/// The target of an event; none if it is for everybody.
fn target(target: &[u8]) -> Option<pb::MemberFilter> {
    // Whoever got the event has read its target already.
    let filter = (!target.is_empty()).then(|| pb::MemberFilter::decode(target));
    filter.and_then(Result::ok)
}

/// An event.
pub(crate) fn event(event: &Event) -> pb::Event {
    pb::Event {
        id: Some(pb::EventId {
            origin: event.origin.name.to_string(),
            boot: event.origin.boot,
            sequence: event.sequence,
        }),
        name: event.name.clone(),
        payload: event.payload.clone(),
        lamport_time: event.lamport,
        received_at: Some(timestamp(event.received_unix_ms)),
        target: target(&event.target),
        child: event.child.clone(),
        coalesce: event.coalesce,
        attributes: event.attributes.clone(),
        merged: 0,
    }
}

/// A gap.
pub(crate) fn gap(gap: &Gap, reason: pb::EventGapReason) -> pb::EventGap {
    pb::EventGap {
        origin: gap.origin.name.to_string(),
        boot: gap.origin.boot,
        first_sequence: gap.first,
        last_sequence: gap.last,
        reason: reason.into(),
    }
}
