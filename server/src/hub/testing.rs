//! Members and events for tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{Event, Gap, Member, Origin, Role, Status, StatusChange, StatusReason};

use super::{EventUpdate, MemberUpdate};

/// An alive member that started at `started` and serves `roles`.
pub(crate) fn member(name: &str, started: u64, roles: &[&str]) -> Member {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let role = |name: &&str| Role {
        name: (*name).to_owned(),
        service_ip: ip,
        service_port: 80,
        since_unix_ms: started,
        container: None,
        healthy: true,
    };
    Member {
        name: Arc::from(name),
        alias: None,
        boot: started,
        instance: 1,
        incarnation: 0,
        addr: SocketAddr::new(ip, 7946),
        status: Status::Alive,
        change: StatusChange {
            by: None,
            at_unix_ms: started,
            reason: StatusReason::Joined,
        },
        transitions: 0,
        started_unix_ms: started,
        tags: BTreeMap::new(),
        roles: roles.iter().map(role).collect(),
        ports: BTreeMap::new(),
        version: "0.1.0".to_owned(),
        protocol: (1, 1),
        plaintext: false,
        by_tcp: false,
        is_self: false,
    }
}

pub(crate) fn with_status(mut member: Member, status: Status) -> Member {
    member.status = status;
    member
}

pub(crate) fn with_tag(mut member: Member, key: &str, value: &str) -> Member {
    member.tags.insert(key.to_owned(), value.to_owned());
    member
}

pub(crate) fn updated(member: Member) -> MemberUpdate {
    MemberUpdate::Updated(Arc::new(member))
}

pub(crate) fn origin(name: &str, boot: u64) -> Origin {
    Origin {
        name: Arc::from(name),
        boot,
    }
}

pub(crate) fn event(origin: &Origin, sequence: u64, name: &str, payload: &[u8]) -> EventUpdate {
    EventUpdate::Event(Arc::new(Event {
        origin: origin.clone(),
        sequence,
        lamport: sequence,
        name: name.to_owned(),
        payload: Bytes::copy_from_slice(payload),
        received_unix_ms: 1_000 + sequence,
        ..Event::default()
    }))
}

pub(crate) fn gap(origin: &Origin, first: u64, last: u64) -> EventUpdate {
    EventUpdate::Gap(Gap {
        origin: origin.clone(),
        first,
        last,
    })
}
