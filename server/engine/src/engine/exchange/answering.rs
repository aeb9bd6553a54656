//! Answering a peer's comparison: what it lacks, and what this node wants of it.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use rand::Rng as _;

use super::asking::OWN_RECORD_BYTES;
use super::millis;
use crate::engine::Engine;
use crate::engine::datagrams::ident_bytes;
use crate::engine::views::{Mask, Summaries, is_ahead, lags, state_number};
use crate::ident::Ident;
use crate::record::owner_of_delta;
use crate::swim::{State, Update};
use crate::table::Peer;
use crate::time::Now;
use crate::wire::{Compare, CompareAnswer, MemberState, Summary, SyncRequest, sync_request};

impl Engine {
    pub(super) fn on_sync_request(&mut self, now: Now, body: Bytes) -> Option<Bytes> {
        let request = SyncRequest::decode(body).ok()?;
        self.count("syncs_served");
        let answer = match request.kind? {
            sync_request::Kind::Compare(compare) => self.answer_compare(now, compare)?,
            sync_request::Kind::Push(push) => {
                let from = Ident::get(&push.own.as_ref()?.ident[..])?;
                self.learn_states(now, from, push.own.iter().chain(&push.members));
                CompareAnswer::default()
            }
        };
        Some(Bytes::from(answer.encode_to_vec()))
    }

    fn answer_compare(&mut self, now: Now, compare: Compare) -> Option<CompareAnswer> {
        let own = compare.own.as_ref()?;
        let from = Ident::get(&own.ident[..])?;
        let boot_floor = self.boot_floor(from, own);
        let is_self = from.node() == self.me_ref() && boot_floor == 0;
        if !is_self && boot_floor == 0 {
            self.learn_states(now, from, std::iter::once(own));
        }
        let theirs = Summaries::parse(&compare.summaries);
        if let Some(mine) = theirs.get(self.own.ident.hash)
            && mine.ident == self.own.ident
            && mine.state >= 2
            && !self.has_left()
        {
            // The requester holds this very identity for dead: take a new life first.
            self.swim.apply(
                now.at,
                vec![Update::new(self.own.ident, 0, State::Down)],
                true,
            );
            self.own.ident = self.swim.me();
            self.own.incarnation = 0;
            self.settle_own(now);
        }
        let mut answer = CompareAnswer {
            own: Some(self.own_answer(now, &theirs)),
            boot_floor,
            ..CompareAnswer::default()
        };
        if !compare.digests.is_empty() {
            answer.differing = self.differing(&compare.digests).0;
            answer.events_differ = self.events.digest(now) != compare.events_digest;
            return Some(answer);
        }
        if compare.groups == 0 || !compare.positions.is_empty() {
            answer.positions = self.events.positions();
        }
        let groups = Mask(compare.groups);
        self.fill_answer(now, from, groups, &theirs, &mut answer);
        let latest = own.record.as_ref().map_or(0, |record| record.latest);
        let known = self.table.run(from.node());
        if known.is_some_and(|peer| peer.record.version() < latest) {
            // What came with the request was not all.
            let mut wants = BytesMut::from(&answer.wants[..]);
            from.put(&mut wants);
            answer.wants = wants.freeze();
        }
        if !compare.join && self.table.run(from.node()).is_some() {
            self.events
                .on_positions(now, from.node(), &compare.positions, false, &self.table);
        }
        Some(answer)
    }

    /// This node for somebody who may hold some of its record.
    fn own_answer(&mut self, now: Now, theirs: &Summaries) -> MemberState {
        let held = theirs.get(self.own.ident.hash);
        let held = held.filter(|held| held.ident.node() == self.own.ident.node());
        let room = match held {
            Some(_) => self.exchanges.budget.room(now.at).max(OWN_RECORD_BYTES),
            None => OWN_RECORD_BYTES,
        };
        let state = self.own_state(now, held.map_or(0, |held| held.record_version), room);
        self.exchanges.budget.take(state.encoded_len());
        state
    }

    /// The highest boot seen for the requester's name, if that is not its own run.
    fn boot_floor(&self, from: Ident, own: &MemberState) -> u64 {
        if from.hash == self.own.ident.hash {
            let known = (self.own.ident.boot, self.own.instance);
            return floor(from, instance_of(own), known);
        }
        let known = self.table.get(from.hash);
        known.map_or(0, |peer| {
            floor(
                from,
                instance_of(own),
                (peer.ident.boot, peer.record.parsed().instance),
            )
        })
    }

    /// Puts what the requester lacks into an answer, as far as there is room, from a
    /// random member on: where everybody asks at once each is told of others.
    fn fill_answer(
        &mut self,
        now: Now,
        from: Ident,
        groups: Mask,
        theirs: &Summaries,
        answer: &mut CompareAnswer,
    ) {
        let mut wants = BytesMut::new();
        let start = self.rng.next_u64();
        let all = self.exchanges.budget.room(now.at);
        let mut room = all;
        for peer in self.table.iter_from(start) {
            if !groups.has(peer.ident.hash) {
                continue;
            }
            let held = theirs.get(peer.ident.hash);
            let of_requester = peer.ident == from && peer.is_active();
            if !of_requester && !answer.more && is_ahead(peer, held) {
                let mut state = member_state(now, peer, held);
                if state.encoded_len() + 8 > room {
                    // As much of it as there is room for: the next one brings the rest.
                    answer.more = true;
                    state = part_of_state(now, peer, held, room);
                }
                let part = state.record.as_ref();
                let tells = !answer.more || part.is_some_and(|part| !part.entries.is_empty());
                if let Some(left) = room.checked_sub(state.encoded_len() + 8)
                    && tells
                {
                    room = left;
                    answer.members.push(state);
                }
            }
            if let Some(held) = held
                && lags(peer, &held)
                && held.ident.hash != from.hash
            {
                held.ident.put(&mut wants);
            }
        }
        for held in theirs.iter() {
            let unknown = self.table.get(held.ident.hash).is_none();
            let own = held.ident.hash == self.own.ident.hash || held.ident.hash == from.hash;
            if unknown && !own && !self.upkeep.is_pruned(held.ident) {
                held.ident.put(&mut wants);
            }
        }
        answer.wants = wants.freeze();
        self.exchanges.budget.take(all - room);
    }
}

fn floor(from: Ident, instance: u64, known: (u64, u64)) -> u64 {
    let (boot, known_instance) = known;
    let other = instance != known_instance;
    if other && boot >= from.boot { boot } else { 0 }
}

pub(super) fn instance_of(state: &MemberState) -> u64 {
    let owner = state.record.as_ref().and_then(owner_of_delta);
    owner.map_or(0, |(instance, _)| instance)
}

/// Bytes of a state beside its record, at most.
const STATE_OVERHEAD: usize = 80;

/// What fits of a member's state.
fn part_of_state(now: Now, peer: &Peer, held: Option<Summary>, room: usize) -> MemberState {
    let room = room.saturating_sub(STATE_OVERHEAD);
    let record = peer.record.within(held_version(peer, held), room);
    MemberState {
        record: Some(record),
        ..bare_state(now, peer)
    }
}

pub(in crate::engine) fn member_state(now: Now, peer: &Peer, held: Option<Summary>) -> MemberState {
    MemberState {
        record: Some(peer.record.since(held_version(peer, held))),
        ..bare_state(now, peer)
    }
}

/// A member for the next run of this node: without what it publishes, of which an old
/// word is worth nothing.
pub(in crate::engine) fn kept_state(now: Now, peer: &Peer) -> MemberState {
    MemberState {
        record: Some(peer.record.without_published()),
        ..bare_state(now, peer)
    }
}

/// Version of a member's record that the other side holds.
fn held_version(peer: &Peer, held: Option<Summary>) -> u64 {
    let same_run = held.filter(|held| held.ident.node() == peer.ident.node());
    same_run.map_or(0, |held| held.record_version)
}

fn bare_state(now: Now, peer: &Peer) -> MemberState {
    MemberState {
        ident: ident_bytes(peer.ident),
        incarnation: u32::from(peer.incarnation),
        state: u32::from(state_number(peer)),
        record: None,
        uptime_ms: millis(peer.up_since.age(now.at)),
        state_age_ms: millis(peer.state_since.age(now.at)),
        by: peer.by,
    }
}
