//! Whom to ask, and what: this node's own side of a comparison.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::{COMPARES_MAX, Pending, millis};
use crate::api::ExchangeKind;
use crate::engine::Engine;
use crate::engine::datagrams::{Extra, ident_bytes};
use crate::engine::views::{DIGESTS_BYTES, Mask, summary};
use crate::ident::NodeRef;
use crate::member::Status;
use crate::time::Now;
use crate::wire::{Compare, MemberState, Summary, SyncRequest, sync_request};

/// A difference of digests counts when it is seen again after this long.
const DIFFERENCE_CONFIRMED: Duration = Duration::from_secs(1);

/// Peers whose digests differ that are kept in mind.
const DIFFERENCES_MAX: usize = 64;

/// Bytes of the own record that go with every exchange: who this is, and what is left
/// of them for the rest, which the other side asks for by its version.
pub(super) const OWN_RECORD_BYTES: usize = 1 << 10;

/// Up to this many members summaries cost no more than digests.
const FEW: usize = DIGESTS_BYTES / Summary::BYTES;

impl Engine {
    /// Starts a state exchange with whoever listens at an address.
    pub(in crate::engine) fn compare(
        &mut self,
        now: Now,
        to: SocketAddr,
        join: bool,
        attempt: Option<u64>,
    ) {
        let positions = self.events.positions();
        let compare = Compare {
            join,
            positions,
            ..self.view_of(now, Mask::ALL)
        };
        self.send_compare(now, to, compare, Pending::Compare { to, attempt, join });
    }

    /// Starts a state exchange with a member that is likely to hold the same.
    fn glance(&mut self, now: Now, to: SocketAddr) {
        let compare = Compare {
            own: Some(self.own_state(now, 0, OWN_RECORD_BYTES)),
            digests: Bytes::from(self.group_digests()),
            events_digest: self.events.digest(now),
            ..Compare::default()
        };
        self.send_compare(now, to, compare, Pending::Glance { to });
    }

    /// Summaries of some groups.
    pub(super) fn view_of(&self, now: Now, groups: Mask) -> Compare {
        let mut summaries = Vec::with_capacity(self.table.len() * Summary::BYTES);
        let peers = self.table.iter();
        peers
            .filter(|peer| groups.has(peer.ident.hash))
            .for_each(|peer| summary(peer).put(&mut summaries));
        Compare {
            own: Some(self.own_state(now, 0, OWN_RECORD_BYTES)),
            summaries: Bytes::from(summaries),
            groups: groups.0,
            ..Compare::default()
        }
    }

    pub(super) fn send_compare(
        &mut self,
        now: Now,
        to: SocketAddr,
        compare: Compare,
        pending: Pending,
    ) {
        let kind = Some(sync_request::Kind::Compare(compare));
        let body = Bytes::from(SyncRequest { kind }.encode_to_vec());
        self.count("syncs_started");
        self.request(now, to, ExchangeKind::Sync, body, pending);
    }

    /// This node, with what fits of its record above a version.
    pub(super) fn own_state(&self, now: Now, since: u64, room: usize) -> MemberState {
        MemberState {
            ident: ident_bytes(self.own.ident),
            incarnation: u32::from(self.own.incarnation),
            state: if self.own.status == Status::Left {
                3
            } else {
                0
            },
            record: Some(self.own.record.within(since, room)),
            uptime_ms: millis(now.at.since(self.own.up_since)),
            state_age_ms: 0,
            by: 0,
        }
    }

    /// Somebody's digest, beside ours: a difference that lasts is looked into.
    pub(in crate::engine) fn compare_digest(&mut self, now: Now, sender: NodeRef, theirs: u32) {
        if theirs == self.short_digest(now) {
            self.exchanges.differences.remove(&sender);
            return;
        }
        let known = self.exchanges.differences.get(&sender).copied();
        match known {
            Some((since, _)) if now.at.since(since) >= DIFFERENCE_CONFIRMED => {
                self.exchanges.differences.remove(&sender);
                self.sync_with(now, sender);
            }
            Some(_) => {}
            None if self.exchanges.differences.len() < DIFFERENCES_MAX => {
                self.exchanges.differences.insert(sender, (now.at, false));
            }
            None => {}
        }
    }

    /// Asks those whose digests differed a second ago for another look: at random
    /// they would not be met again for long in a large cluster.
    pub(in crate::engine) fn recheck_digests(&mut self, now: Now) {
        let forgotten = DIFFERENCE_CONFIRMED * 4;
        self.exchanges
            .differences
            .retain(|_, (since, _)| now.at.since(*since) < forgotten);
        let due = self
            .exchanges
            .differences
            .iter_mut()
            .filter(|(_, (since, asked))| !*asked && now.at.since(*since) >= DIFFERENCE_CONFIRMED);
        let due: Vec<_> = due
            .take(COMPARES_MAX)
            .map(|(node, (_, asked))| {
                *asked = true;
                *node
            })
            .collect();
        for node in due {
            self.transmit(
                now,
                node,
                Extra {
                    ask_digest: true,
                    ..Extra::default()
                },
            );
        }
    }

    /// Starts a state exchange with a member, if there is room for one.
    pub(in crate::engine) fn sync_with(&mut self, now: Now, node: NodeRef) {
        let Some(addr) = self.table.run(node).map(|peer| peer.record.parsed().addr) else {
            return;
        };
        if !self.exchanges.has_room() || self.exchanges.is_joining(addr) {
            return;
        }
        if self.table.len() > FEW && !self.upkeep.expects_news() {
            self.glance(now, addr);
        } else {
            self.compare(now, addr, false, None);
        }
    }
}
