//! Values for the tests of the simulator's parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_engine::{Member, Status, StatusChange, StatusReason};

use crate::sim::setup::address;

/// A member with plain values.
pub(crate) fn member(name: &str, boot: u64, status: Status) -> Member {
    Member {
        name: Arc::from(name),
        alias: None,
        boot,
        instance: 1,
        incarnation: 0,
        addr: address(0),
        status,
        change: StatusChange {
            by: None,
            at_unix_ms: 0,
            reason: StatusReason::Joined,
        },
        transitions: 0,
        started_unix_ms: 0,
        tags: BTreeMap::new(),
        roles: Vec::new(),
        ports: BTreeMap::new(),
        version: String::new(),
        protocol: (1, 1),
        plaintext: true,
        by_tcp: false,
        is_self: false,
    }
}
