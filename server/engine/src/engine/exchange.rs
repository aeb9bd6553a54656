//! State exchanges: two members compare what they hold and fill each other's holes.
//!
//! `Compare` carries one 27-byte summary per member; the answer brings what the
//! requester lacks and names what the responder lacks, which a `Push` then brings.
//! Where views are likely to agree it first carries digests alone, and summaries of
//! what differed next.
//! What a member is told this way it believes like gossip, with one exception: that
//! somebody it holds for alive is dead is only an accusation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use rand::Rng as _;

use super::Engine;
use super::datagrams::{Extra, ident_bytes};
use super::views::{DIGESTS_BYTES, Mask, Summaries, is_ahead, lags, state_number, summary};
use crate::api::{EXCHANGE_BYTES_MAX, ExchangeError, ExchangeId, ExchangeKind, Output};
use crate::broadcast::Topic;
use crate::ident::{IDENT_BYTES, Ident, NodeRef};
use crate::member::{Status, StatusReason};
use crate::swim::{State, Update};
use crate::table::{Peer, Word};
use crate::time::{Now, Time};
use crate::wire::{
    Compare, CompareAnswer, MEMBERS_PER_EXCHANGE_MAX, MemberState, Push, Summary, SyncRequest,
    sync_request,
};

/// How long one exchange may take, connecting included.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an exchange that another member can serve as well may take; twice as long
/// after each that was too slow, up to [`EXCHANGE_TIMEOUT`].
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Doublings of [`PATIENCE`].
const LATE_MAX: u32 = 2;

/// State exchanges that this node runs at once, joins not counted.
const COMPARES_MAX: usize = 2;

/// A difference of digests counts when it is seen again after this long.
const DIFFERENCE_CONFIRMED: Duration = Duration::from_secs(1);

/// Peers whose digests differ that are kept in mind.
const DIFFERENCES_MAX: usize = 64;

/// Room kept free in an answer for what comes after the members.
const ANSWER_SLACK: usize = 64 << 10;

/// News of one exchange are gossiped on up to this many; more spread by exchange.
const SPREAD_MAX: usize = 64;

/// Above this many news in one exchange more exchanges follow soon.
const MANY_NEWS: usize = 8;

/// Up to this many members summaries cost no more than digests.
const FEW: usize = DIGESTS_BYTES / Summary::BYTES;

/// What the answers of this node may take of its bandwidth, bytes per second: a
/// third of 100 Mbit/s. In a cold start a seed would otherwise send all to all.
const ANSWER_RATE: usize = 4 << 20;

/// Bytes of answers that may leave at once after a quiet time.
const ANSWER_BURST: usize = 2 << 20;

/// An answer takes this part of what may leave, the next one of what is left.
const ANSWER_SHARE: usize = 4;

/// But always this much, bytes: some 30 members, with whom the requester goes on.
const ANSWER_MIN: usize = 4 << 10;

#[derive(Debug, Clone, Copy)]
pub(super) enum Pending {
    Compare {
        to: SocketAddr,
        attempt: Option<u64>,
        join: bool,
    },
    Glance {
        to: SocketAddr,
    },
    Push,
    Pull {
        id: u64,
    },
}

/// Exchanges that this node asked for, and why it may soon ask for more.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    next: u64,
    pub(super) pending: BTreeMap<ExchangeId, Pending>,
    differences: BTreeMap<NodeRef, (Time, bool)>,
    budget: Budget,
    /// Grow with each exchange that timed out and fall with each that came back.
    late_compares: u32,
    late_pulls: u32,
}

/// What answers may still take: a token bucket.
#[derive(Debug)]
struct Budget {
    bytes: usize,
    at: Time,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: ANSWER_BURST,
            at: Time::default(),
        }
    }
}

impl Budget {
    /// How long the next answer may be.
    fn room(&mut self, now: Time) -> usize {
        let micros = now.since(self.at).min(Duration::from_secs(1)).as_micros();
        let grown = usize::try_from(micros).unwrap_or(0) * ANSWER_RATE / 1_000_000;
        (self.bytes, self.at) = ((self.bytes + grown).min(ANSWER_BURST), now);
        (self.bytes / ANSWER_SHARE).clamp(ANSWER_MIN, EXCHANGE_BYTES_MAX - ANSWER_SLACK)
    }

    fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Exchanges {
    /// Whether another state exchange may start.
    pub(super) fn has_room(&self) -> bool {
        let compares = self
            .pending
            .values()
            .filter(|p| matches!(p, Pending::Compare { .. } | Pending::Glance { .. }));
        compares.count() < COMPARES_MAX
    }

    /// Learns from how an exchange went how long the next ones may take.
    fn note_pace(&mut self, pending: Pending, result: &Result<Bytes, ExchangeError>) {
        let late = match pending {
            Pending::Pull { .. } => &mut self.late_pulls,
            Pending::Compare { .. } | Pending::Glance { .. } => &mut self.late_compares,
            Pending::Push => return,
        };
        if matches!(result, Err(ExchangeError::Timeout)) {
            *late = (*late + 1).min(LATE_MAX);
        } else if result.is_ok() {
            *late = late.saturating_sub(1);
        }
    }

    /// Whether an address is being joined right now.
    pub(super) fn is_joining(&self, addr: SocketAddr) -> bool {
        let same = |p: &Pending| matches!(p, Pending::Compare { to, .. } if *to == addr);
        self.pending.values().any(same)
    }
}

impl Engine {
    fn request(&mut self, to: SocketAddr, kind: ExchangeKind, body: Bytes, pending: Pending) {
        self.exchanges.next += 1;
        let id = ExchangeId(self.exchanges.next);
        self.exchanges.pending.insert(id, pending);
        let timeout = match pending {
            Pending::Compare {
                attempt: None,
                join: true,
                ..
            } => self.joining.patience(),
            Pending::Compare { attempt: None, .. } | Pending::Glance { .. } => {
                patience(self.exchanges.late_compares)
            }
            Pending::Pull { .. } => patience(self.exchanges.late_pulls),
            Pending::Compare { .. } | Pending::Push => EXCHANGE_TIMEOUT,
        };
        self.outputs.push_back(Output::Request {
            id,
            to,
            kind,
            body,
            timeout,
        });
    }

    /// Asks a member for a range of events.
    pub(super) fn pull(&mut self, now: Now, id: u64, to: NodeRef, body: Bytes) {
        match self.table.run(to).map(|peer| peer.record.parsed().addr) {
            Some(addr) => self.request(addr, ExchangeKind::Pull, body, Pending::Pull { id }),
            None => {
                let gone = Err(ExchangeError::Connect("the member is not known".to_owned()));
                self.events.on_pull_answer(now, id, gone, &self.table);
            }
        }
    }

    /// Starts a state exchange with whoever listens at an address.
    pub(super) fn compare(&mut self, now: Now, to: SocketAddr, join: bool, attempt: Option<u64>) {
        let positions = self.events.positions();
        let compare = Compare {
            join,
            positions,
            ..self.view_of(now, Mask::ALL)
        };
        self.send_compare(to, compare, Pending::Compare { to, attempt, join });
    }

    /// Starts a state exchange with a member that is likely to hold the same.
    fn glance(&mut self, now: Now, to: SocketAddr) {
        let compare = Compare {
            own: Some(self.own_state(now)),
            digests: Bytes::from(self.group_digests()),
            events_digest: self.events.digest(now),
            ..Compare::default()
        };
        self.send_compare(to, compare, Pending::Glance { to });
    }

    /// Summaries of some groups.
    fn view_of(&self, now: Now, groups: Mask) -> Compare {
        let mut summaries = Vec::with_capacity(self.table.len() * Summary::BYTES);
        let peers = self.table.iter();
        peers
            .filter(|peer| groups.has(peer.ident.hash))
            .for_each(|peer| summary(peer).put(&mut summaries));
        Compare {
            own: Some(self.own_state(now)),
            summaries: Bytes::from(summaries),
            groups: groups.0,
            ..Compare::default()
        }
    }

    fn send_compare(&mut self, to: SocketAddr, compare: Compare, pending: Pending) {
        let kind = Some(sync_request::Kind::Compare(compare));
        let body = Bytes::from(SyncRequest { kind }.encode_to_vec());
        self.count("syncs_started");
        self.request(to, ExchangeKind::Sync, body, pending);
    }

    fn own_state(&self, now: Now) -> MemberState {
        MemberState {
            ident: ident_bytes(self.own.ident),
            incarnation: u32::from(self.own.incarnation),
            state: if self.own.status == Status::Left {
                3
            } else {
                0
            },
            record: Some(self.own.record.since(0)),
            uptime_ms: millis(now.at.since(self.own.up_since)),
            state_age_ms: 0,
            by: 0,
        }
    }

    /// Somebody's digest, beside ours: a difference that lasts is looked into.
    pub(super) fn compare_digest(&mut self, now: Now, sender: NodeRef, theirs: u64) {
        if theirs == self.digest(now) {
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
    pub(super) fn recheck_digests(&mut self, now: Now) {
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
    pub(super) fn sync_with(&mut self, now: Now, node: NodeRef) {
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

    /// A peer asks.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        id: ExchangeId,
        _from: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
    ) {
        let body = match kind {
            ExchangeKind::Pull => self.events.on_pull_request(now, body, &self.table),
            ExchangeKind::Sync => self.on_sync_request(now, body),
        };
        if body.is_none() {
            self.count("exchanges_refused_malformed");
        }
        self.outputs.push_back(Output::Respond { id, body });
    }

    fn on_sync_request(&mut self, now: Now, body: Bytes) -> Option<Bytes> {
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
            own: Some(self.own_state(now)),
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
        if !compare.join && self.table.run(from.node()).is_some() {
            self.events
                .on_positions(now, from.node(), &compare.positions, false, &self.table);
        }
        Some(answer)
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
                let state = member_state(now, peer, held);
                match room.checked_sub(state.encoded_len() + 8) {
                    Some(left) => {
                        room = left;
                        answer.members.push(state);
                    }
                    None => answer.more = true,
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

    /// The answer to something that this node asked.
    pub(super) fn on_response(
        &mut self,
        now: Now,
        id: ExchangeId,
        result: Result<Bytes, ExchangeError>,
    ) {
        let Some(pending) = self.exchanges.pending.remove(&id) else {
            return self.count("exchanges_unexpected");
        };
        if result.is_err() {
            self.count("exchanges_failed");
        }
        self.exchanges.note_pace(pending, &result);
        match pending {
            Pending::Pull { id } => self.events.on_pull_answer(now, id, result, &self.table),
            Pending::Push => {}
            Pending::Glance { to } => {
                if let Ok(body) = result {
                    self.on_glance_answer(now, to, body);
                }
            }
            Pending::Compare { to, attempt, join } => {
                let late = matches!(result, Err(ExchangeError::Timeout));
                let outcome = match result {
                    Ok(body) => self.on_compare_answer(now, to, join, body),
                    Err(error) => Err(error.to_string()),
                };
                if let Some(attempt) = attempt {
                    let result = outcome.clone();
                    self.outputs.push_back(Output::JoinResult {
                        attempt,
                        addr: to,
                        result,
                    });
                }
                self.after_join_try(now, to, (join, late), outcome);
            }
        }
    }

    /// What differs is looked at; a member that agrees is heard all the same.
    fn on_glance_answer(&mut self, now: Now, to: SocketAddr, body: Bytes) {
        let Ok(answer) = CompareAnswer::decode(body) else {
            return self.count("exchanges_unexpected");
        };
        if answer.differing != 0 || answer.events_differ {
            let mut compare = self.view_of(now, Mask(answer.differing));
            if answer.events_differ {
                compare.positions = self.events.positions();
            }
            let (attempt, join) = (None, false);
            self.send_compare(to, compare, Pending::Compare { to, attempt, join });
        } else {
            self.count("syncs_without_difference");
        }
    }

    fn on_compare_answer(
        &mut self,
        now: Now,
        to: SocketAddr,
        join: bool,
        body: Bytes,
    ) -> Result<std::sync::Arc<str>, String> {
        const NONSENSE: &str = "the answer made no sense";
        let answer = CompareAnswer::decode(body).map_err(|_e| NONSENSE.to_owned())?;
        let own = answer.own.as_ref().ok_or(NONSENSE)?;
        let from = Ident::get(&own.ident[..]).ok_or(NONSENSE)?;
        if from.hash == self.own.ident.hash && instance_of(own) == self.own.instance {
            return Err("that is this node itself".to_owned());
        }
        if answer.boot_floor > 0 && self.on_boot_floor(now, answer.boot_floor) {
            self.compare(now, to, join, None);
        }
        if own.state == 3 {
            return Err("that node has left the cluster".to_owned());
        }
        self.learn_states(now, from, std::iter::once(own).chain(&answer.members));
        if self.table.run(from.node()).is_none() {
            return Err(NONSENSE.to_owned());
        }
        let first = join && self.joining.is_first();
        self.events
            .on_positions(now, from.node(), &answer.positions, first, &self.table);
        self.push_wanted(now, to, &answer.wants);
        if answer.more {
            // Another member may have more to give.
            self.upkeep.hurry(now.at);
        }
        if !answer.more {
            self.take_seniority(now);
        }
        self.table
            .name_of(from.hash)
            .ok_or_else(|| NONSENSE.to_owned())
    }

    fn push_wanted(&mut self, now: Now, to: SocketAddr, wants: &[u8]) {
        let idents = wants.chunks_exact(IDENT_BYTES).filter_map(Ident::get);
        let known = idents.filter_map(|ident| self.table.run(ident.node()));
        let mut room = EXCHANGE_BYTES_MAX - ANSWER_SLACK;
        let mut members = Vec::new();
        for peer in known {
            let state = member_state(now, peer, None);
            let Some(left) = room.checked_sub(state.encoded_len() + 8) else {
                break;
            };
            room = left;
            members.push(state);
        }
        if members.is_empty() {
            return;
        }
        let push = Push {
            own: Some(self.own_state(now)),
            members,
        };
        let kind = Some(sync_request::Kind::Push(push));
        let body = Bytes::from(SyncRequest { kind }.encode_to_vec());
        self.request(to, ExchangeKind::Sync, body, Pending::Push);
    }

    /// Takes in what a peer holds.
    fn learn_states<'a>(
        &mut self,
        now: Now,
        from: Ident,
        states: impl Iterator<Item = &'a MemberState>,
    ) {
        let mut updates = Vec::new();
        for state in states.take(MEMBERS_PER_EXCHANGE_MAX) {
            let Some(ident) = Ident::get(&state.ident[..]) else {
                self.count("states_refused_malformed");
                continue;
            };
            if let Some(record) = &state.record {
                self.merge_told_record(now, record, state.state < 2);
            }
            if let Some(update) = self.learn_state(now, from, ident, state) {
                updates.push(update);
            }
        }
        let spread = updates.len() <= SPREAD_MAX;
        if !spread {
            let topics = updates.iter().map(|update| Topic::Record(update.id().hash));
            topics.for_each(|topic| self.broadcasts.remove(topic));
        }
        if updates.len() > MANY_NEWS {
            self.upkeep.hurry(now.at);
        }
        self.swim.apply(now.at, updates, spread);
    }

    fn learn_state(
        &mut self,
        now: Now,
        from: Ident,
        ident: Ident,
        state: &MemberState,
    ) -> Option<Update<Ident>> {
        let incarnation = u16::try_from(state.incarnation).unwrap_or(u16::MAX);
        let dead = state.state >= 2;
        if ident.hash == self.own.ident.hash {
            if ident == self.own.ident && dead && !self.has_left() {
                return Some(Update::new(ident, incarnation, State::Down));
            }
            if ident.beats(self.own.ident) && !dead {
                self.on_own_name(now, ident);
            }
            return None;
        }
        if !self.have_record(ident.node()) {
            return None;
        }
        let age = Duration::from_millis(state.state_age_ms);
        if dead {
            return self.learn_dead(now, from, ident, state, age);
        }
        let said = if state.state == 1 {
            State::Suspect
        } else {
            State::Alive
        };
        let update = Update::new(ident, incarnation, said);
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        let news = self.learn_update(now, &update, word);
        self.table
            .backdate(now, ident.hash, Duration::from_millis(state.uptime_ms), age);
        news.then_some(update)
    }

    /// That somebody is dead: believed of members that are not held for alive.
    fn learn_dead(
        &mut self,
        now: Now,
        from: Ident,
        ident: Ident,
        state: &MemberState,
        age: Duration,
    ) -> Option<Update<Ident>> {
        let left = state.state == 3;
        let reap = if left {
            self.own.config().reap_left
        } else {
            self.own.config().reap_failed
        };
        let held = self.table.get(ident.hash);
        let alive = held.is_some_and(|peer| peer.ident == ident && peer.is_active());
        let says_so = held.is_some_and(|peer| peer.record.parsed().leaving);
        if alive && !(left && says_so) {
            let incarnation = held.map_or(0, |peer| peer.incarnation);
            self.tell_undead(now, ident);
            let accused = Update::new(ident, incarnation, State::Suspect);
            let word = Word {
                by: from.hash,
                reason: StatusReason::ProbeFailed,
            };
            let news = self.learn_update(now, &accused, word);
            if news {
                self.suspicions
                    .accuse(now.at, ident, incarnation, from.hash);
            }
            return news.then_some(accused);
        }
        if age >= reap || self.upkeep.is_pruned(ident) {
            return None;
        }
        let incarnation = u16::try_from(state.incarnation).unwrap_or(u16::MAX);
        let update = Update::new(ident, incarnation, State::Down);
        let by = if state.by == 0 { from.hash } else { state.by };
        let reason = if left {
            StatusReason::Left
        } else {
            StatusReason::SuspicionExpired
        };
        let news = self.learn_update(now, &update, Word { by, reason });
        if left
            && self.table.set_left(
                now,
                ident.hash,
                Word {
                    by,
                    reason: StatusReason::ForcedOut,
                },
            )
        {
            self.touch(now, ident.hash);
        }
        self.table.backdate(now, ident.hash, Duration::ZERO, age);
        news.then_some(update)
    }
}

fn patience(late: u32) -> Duration {
    (PATIENCE * (1 << late.min(LATE_MAX))).min(EXCHANGE_TIMEOUT)
}

fn floor(from: Ident, instance: u64, known: (u64, u64)) -> u64 {
    let (boot, known_instance) = known;
    let other = instance != known_instance;
    if other && boot >= from.boot { boot } else { 0 }
}

fn instance_of(state: &MemberState) -> u64 {
    let Some(delta) = &state.record else { return 0 };
    crate::record::Record::new(Time::default(), delta).map_or(0, |record| record.parsed().instance)
}

pub(super) fn member_state(now: Now, peer: &Peer, held: Option<Summary>) -> MemberState {
    let same_run = held.filter(|held| held.ident.node() == peer.ident.node());
    MemberState {
        ident: ident_bytes(peer.ident),
        incarnation: u32::from(peer.incarnation),
        state: u32::from(state_number(peer)),
        record: Some(
            peer.record
                .since(same_run.map_or(0, |held| held.record_version)),
        ),
        uptime_ms: millis(peer.up_since.age(now.at)),
        state_age_ms: millis(peer.state_since.age(now.at)),
        by: peer.by,
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
