//! What `--format json` prints: stable keys in snake case, every key always present,
//! times in RFC 3339, `null` for what is not known.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::cli::text::rfc3339;
use crate::{pb, status_name};

#[derive(Serialize)]
pub(super) struct Members<'a> {
    pub(super) members: Vec<Member<'a>>,
}

#[derive(Serialize)]
pub(super) struct Member<'a> {
    name: &'a str,
    alias: Option<&'a str>,
    status: &'static str,
    gossip_ip: &'a str,
    gossip_port: u32,
    roles: Vec<Role<'a>>,
    tags: &'a BTreeMap<String, String>,
    started_at: Option<String>,
    updated_at: Option<String>,
    changed_revision: u64,
    boot: u64,
    incarnation: u64,
    transitions: u64,
    version: &'a str,
    protocol: u32,
    status_change: Option<StatusChange<'a>>,
    plaintext: bool,
    by_tcp: bool,
    ports: BTreeMap<&'a str, &'a [String]>,
    #[serde(rename = "self")]
    is_self: bool,
}

#[derive(Serialize)]
struct Role<'a> {
    role: &'a str,
    service_ip: &'a str,
    service_port: u32,
    since: Option<String>,
    container: Option<&'a str>,
    healthy: bool,
}

#[derive(Serialize)]
struct StatusChange<'a> {
    by: Option<&'a str>,
    at: Option<String>,
    reason: &'a str,
}

#[derive(Serialize)]
pub(super) struct EndpointSet<'a> {
    role: &'a str,
    role_known: bool,
    degraded: bool,
    total: u32,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    member: &'a str,
    address: &'a str,
    port: u32,
    status: &'static str,
    since: Option<String>,
    tags: &'a BTreeMap<String, String>,
    container: Option<&'a str>,
    healthy: bool,
}

#[derive(Serialize)]
pub(super) struct Roles<'a> {
    pub(super) roles: Vec<RoleSummary<'a>>,
}

#[derive(Serialize)]
pub(super) struct RoleSummary<'a> {
    role: &'a str,
    alive: u32,
    suspect: u32,
    failed: u32,
    oldest_member: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    boot: u64,
    sequence: u64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    lamport_time: u64,
    received_at: Option<String>,
    child: Option<&'a str>,
    coalesce: bool,
    merged: u32,
    attributes: &'a BTreeMap<String, String>,
    target: Option<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    names: &'a [String],
    roles: &'a [String],
    statuses: Vec<&'static str>,
    tags: &'a BTreeMap<String, String>,
    name_regex: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Gap<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    boot: u64,
    first_sequence: u64,
    last_sequence: u64,
    reason: &'static str,
}

#[derive(Serialize)]
pub(super) struct Disconnected {
    #[serde(rename = "type")]
    kind: &'static str,
    error: String,
    retry_in_ms: u64,
    failures: u32,
}

impl<'a> Members<'a> {
    pub(super) fn of(members: &'a [pb::Member]) -> Self {
        Self {
            members: members.iter().map(Member::of).collect(),
        }
    }
}

impl<'a> Member<'a> {
    pub(super) fn of(member: &'a pb::Member) -> Self {
        let change = member.status_change.as_ref();
        Self {
            name: &member.name,
            alias: some(&member.alias),
            status: status_name(member.status()),
            gossip_ip: &member.gossip_ip,
            gossip_port: member.gossip_port,
            roles: member.roles.iter().map(Role::of).collect(),
            tags: &member.tags,
            started_at: rfc3339(member.started_at.as_ref()),
            updated_at: rfc3339(member.updated_at.as_ref()),
            changed_revision: member.changed_revision,
            boot: member.boot,
            incarnation: member.incarnation,
            transitions: member.transitions,
            version: &member.version,
            protocol: member.protocol,
            status_change: change.map(StatusChange::of),
            plaintext: member.plaintext,
            by_tcp: member.by_tcp,
            ports: member.ports.iter().map(published).collect(),
            is_self: member.self_,
        }
    }
}

/// As serfnode has it: `8000/tcp` to the ports of the host.
fn published<'a>(
    (port, published): (&'a String, &'a pb::PublishedPorts),
) -> (&'a str, &'a [String]) {
    (port, &published.host_ports)
}

impl<'a> Role<'a> {
    fn of(role: &'a pb::RoleInstance) -> Self {
        Self {
            role: &role.role,
            service_ip: &role.service_ip,
            service_port: role.service_port,
            since: rfc3339(role.since.as_ref()),
            container: some(&role.container),
            healthy: role.healthy,
        }
    }
}

impl<'a> StatusChange<'a> {
    fn of(change: &'a pb::StatusChange) -> Self {
        Self {
            by: some(&change.by),
            at: rfc3339(change.at.as_ref()),
            reason: &change.reason,
        }
    }
}

impl<'a> EndpointSet<'a> {
    pub(super) fn of(set: &'a pb::EndpointSet) -> Self {
        let endpoints = set.endpoints.iter().map(|endpoint| Endpoint {
            member: &endpoint.member,
            address: &endpoint.address,
            port: endpoint.port,
            status: status_name(endpoint.status()),
            since: rfc3339(endpoint.since.as_ref()),
            tags: &endpoint.tags,
            container: some(&endpoint.container),
            healthy: endpoint.healthy,
        });
        Self {
            role: &set.role,
            role_known: set.role_known,
            degraded: set.degraded,
            total: set.total,
            endpoints: endpoints.collect(),
        }
    }
}

impl<'a> Roles<'a> {
    pub(super) fn of(roles: &'a [pb::RoleSummary]) -> Self {
        let roles = roles.iter().map(|summary| RoleSummary {
            role: &summary.role,
            alive: summary.alive,
            suspect: summary.suspect,
            failed: summary.failed,
            oldest_member: some(&summary.oldest_member),
        });
        Self {
            roles: roles.collect(),
        }
    }
}

impl<'a> Event<'a> {
    pub(super) fn of(event: &'a pb::Event) -> Self {
        let id = event.id.as_ref();
        let payload = std::str::from_utf8(&event.payload).ok();
        Self {
            kind: "event",
            origin: id.map_or("", |id| &id.origin),
            boot: id.map_or(0, |id| id.boot),
            sequence: id.map_or(0, |id| id.sequence),
            name: &event.name,
            payload,
            payload_base64: payload.is_none().then(|| STANDARD.encode(&event.payload)),
            lamport_time: event.lamport_time,
            received_at: rfc3339(event.received_at.as_ref()),
            child: some(&event.child),
            coalesce: event.coalesce,
            merged: event.merged,
            attributes: &event.attributes,
            target: event.target.as_ref().map(Target::of),
        }
    }
}

impl<'a> Target<'a> {
    fn of(filter: &'a pb::MemberFilter) -> Self {
        Self {
            names: &filter.names,
            roles: &filter.roles,
            statuses: filter.statuses().map(status_name).collect(),
            tags: &filter.tags,
            name_regex: some(&filter.name_regex),
        }
    }
}

impl<'a> Gap<'a> {
    pub(super) fn of(gap: &'a pb::EventGap) -> Self {
        Self {
            kind: "gap",
            origin: &gap.origin,
            boot: gap.boot,
            first_sequence: gap.first_sequence,
            last_sequence: gap.last_sequence,
            reason: gap_reason(gap.reason()),
        }
    }
}

impl Disconnected {
    pub(super) fn of(lost: &crate::Lost) -> Self {
        Self {
            kind: "disconnected",
            error: lost.error.to_string(),
            retry_in_ms: u64::try_from(lost.retry_in.as_millis()).unwrap_or(u64::MAX),
            failures: lost.failures,
        }
    }
}

pub(super) const fn gap_reason(reason: pb::EventGapReason) -> &'static str {
    match reason {
        pb::EventGapReason::NotHeld => "not_held",
        pb::EventGapReason::FellBehind => "fell_behind",
        pb::EventGapReason::Unspecified => "unknown",
    }
}

pub(super) const fn snapshot_reason(reason: pb::SnapshotReason) -> &'static str {
    match reason {
        pb::SnapshotReason::Initial => "initial",
        pb::SnapshotReason::EpochChanged => "epoch_changed",
        pb::SnapshotReason::TokenExpired => "token_expired",
        pb::SnapshotReason::FilterChanged => "filter_changed",
        pb::SnapshotReason::FellBehind => "fell_behind",
        pb::SnapshotReason::Unspecified => "unknown",
    }
}

const fn some(text: &str) -> Option<&str> {
    if text.is_empty() { None } else { Some(text) }
}

#[cfg(test)]
mod tests;
