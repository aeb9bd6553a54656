//! What waits for a record: nothing is applied before it is known who is meant.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::ident::{Ident, NodeRef};
use crate::record::Record;
use crate::swim::Update;
use crate::table::Word;
use crate::time::Time;
use crate::wire::Packet;

/// Datagrams and updates that wait for a record; the oldest go first.
const PARKED_MAX: usize = 1_024;

/// Bytes of records that wait for a word on their owner; more find no room.
const PARKED_BYTES_MAX: usize = 8 << 20;

/// How long they wait: a state exchange brings what did not come by then.
const PARKED_FOR: Duration = Duration::from_secs(2);

/// How long to wait for a record that was asked for by datagram before asking by
/// exchange.
const WANT_PATIENCE: Duration = Duration::from_millis(300);

/// What waits for a record.
#[derive(Debug, Default)]
pub(in crate::engine) struct Parked {
    pub(super) waiting: BTreeMap<NodeRef, Waiting>,
    pub(super) records: BTreeMap<NodeRef, (Time, Record)>,
}

/// Everything that waits for one run's record.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Time,
    from: SocketAddr,
    asked_by_exchange: bool,
    pub(super) update: Option<(Update<Ident>, Word)>,
    pub(super) datagram: Option<(SocketAddr, Packet)>,
}

impl Parked {
    /// Records and datagrams held.
    pub(in crate::engine) fn len(&self) -> usize {
        self.waiting.len() + self.records.len()
    }

    pub(super) fn wait(
        &mut self,
        now: Time,
        node: NodeRef,
        from: SocketAddr,
    ) -> (&mut Waiting, bool) {
        let new = !self.waiting.contains_key(&node);
        if new && self.waiting.len() >= PARKED_MAX {
            let oldest = self
                .waiting
                .iter()
                .min_by_key(|(_, w)| w.since)
                .map(|(node, _)| *node);
            oldest.and_then(|node| self.waiting.remove(&node));
        }
        let fresh = || Waiting {
            since: now,
            from,
            asked_by_exchange: false,
            update: None,
            datagram: None,
        };
        (self.waiting.entry(node).or_insert_with(fresh), new)
    }

    /// A record that came before anybody said that its owner is alive.
    pub(in crate::engine) fn keep_record(&mut self, now: Time, record: Record) {
        let held: usize = self.records.values().map(|(_, r)| r.bytes()).sum();
        if self.records.len() < PARKED_MAX && held + record.bytes() <= PARKED_BYTES_MAX {
            self.records.insert(record.owner(), (now, record));
        }
    }

    pub(in crate::engine) fn take_record(&mut self, node: NodeRef) -> Option<Record> {
        self.records.remove(&node).map(|(_, record)| record)
    }

    /// Drops what waited too long; names those to be asked by exchange.
    pub(in crate::engine) fn expire(&mut self, now: Time) -> Vec<SocketAddr> {
        self.records
            .retain(|_, (since, _)| now.since(*since) < PARKED_FOR);
        self.waiting
            .retain(|_, waiting| now.since(waiting.since) < PARKED_FOR);
        let late = self.waiting.values_mut().filter(|waiting| {
            !waiting.asked_by_exchange && now.since(waiting.since) >= WANT_PATIENCE
        });
        let mut ask: Vec<_> = late
            .map(|waiting| {
                waiting.asked_by_exchange = true;
                waiting.from
            })
            .collect();
        ask.sort_unstable();
        ask.dedup();
        ask
    }
}
