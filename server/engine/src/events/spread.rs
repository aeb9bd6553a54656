//! Eager push and announcements: what leaves in datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::wire::{
    BATCH_OVERHEAD, Batch, CALL_BYTES_MAX, Call, Entry, MARK_BYTES_MAX, Mark, SECTION_BYTES_MAX,
    Section, entry_bytes,
};
use super::{Events, EventsOutput, Peers};
use crate::ident::NodeRef;
use crate::time::{Now, Time};
use crate::tuning;

/// At most one packet per peer leaves in this time.
const PACKET_EVERY: Duration = Duration::from_millis(5);

/// Members that one packet goes to.
const FANOUT: usize = 4;

/// Waves of one packet are this far apart.
const WAVE_EVERY: Duration = Duration::from_millis(15);

/// Events that wait for their first packet. At the bound all of them are dropped
/// from the queue and announced by position instead.
const FRESH_MAX: usize = 64;

/// Packets that wait for their next wave. At the bound the oldest is dropped: its
/// events were sent once and are announced.
const AGAIN_MAX: usize = 64;

/// After an overflow events are only announced for this long, and longer while
/// [`BULK_EVENTS`] or more come in each such time.
const BULK: Duration = Duration::from_millis(50);
const BULK_EVENTS: u32 = 32;

/// Announcements of moving positions are this far apart.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(20);

/// Positions that moved are repeated after this time, then after twice as long and
/// so on, to this many members each time, for this long: so a lost last packet is
/// noticed.
const RECENT_FIRST: Duration = Duration::from_millis(200);
const RECENT_FANOUT: usize = 2;
const RECENT_FOR: Duration = Duration::from_secs(3);

/// Marks in one section.
const MARKS_MAX: usize = (SECTION_BYTES_MAX - CALL_BYTES_MAX) / MARK_BYTES_MAX;

/// Marks that ride on a datagram that leaves anyway.
const PIGGYBACK_MAX: usize = 8;

/// One packet that is sent again.
#[derive(Debug)]
struct Again {
    due: Time,
    left: usize,
    section: Bytes,
}

/// Queues of what is to leave.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Members in random order; each is taken once per round.
    cycle: Vec<NodeRef>,
    cursor: usize,
    /// Packets per event: 4 * ceil(log10(members + 1)), as serf has it.
    limit: usize,
    fresh: VecDeque<(NodeRef, u64)>,
    again: VecDeque<Again>,
    /// Positions to announce, with the packets left for each.
    marks: BTreeMap<NodeRef, usize>,
    /// The last one announced: the next section begins after it.
    mark_cursor: Option<NodeRef>,
    gate: Time,
    mark_gate: Time,
    bulk: Option<(Time, u32)>,
    recent: Vec<NodeRef>,
    recent_at: Option<Time>,
    recent_wait: Duration,
}

impl Spread {
    /// Queues one event for a packet. False if it is to be announced instead.
    pub(super) fn queue(&mut self, now: Time, key: NodeRef, sequence: u64) -> bool {
        if let Some((until, seen)) = &mut self.bulk {
            if now < *until {
                *seen += 1;
                return false;
            }
            if *seen >= BULK_EVENTS {
                self.bulk = Some((now + BULK, 1));
                return false;
            }
            self.bulk = None;
        }
        if self.fresh.len() < FRESH_MAX {
            self.fresh.push_back((key, sequence));
            return true;
        }
        self.bulk = Some((now + BULK, BULK_EVENTS));
        for (key, _) in self.fresh.drain(..) {
            self.marks.insert(key, self.limit.max(FANOUT));
        }
        self.again.clear();
        false
    }

    pub(super) fn add_recent(&mut self, now: Time, key: NodeRef) {
        self.recent.push(key);
        self.repeat_soon(now);
    }

    /// Positions moved: they are repeated soon, and then ever more slowly.
    pub(super) fn repeat_soon(&mut self, now: Time) {
        if self.recent_wait != RECENT_FIRST || self.recent_at.is_none() {
            self.recent_wait = RECENT_FIRST;
            self.recent_at = Some(now + RECENT_FIRST);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let fresh = (!self.fresh.is_empty()).then_some(self.gate);
        let again = self.again.front().map(|again| again.due.max(self.gate));
        let marks = (!self.marks.is_empty()).then(|| self.mark_gate.max(self.gate));
        [fresh, again, marks, self.recent_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Up to [`MARKS_MAX`] logs to announce, each in its turn.
    fn next_marks(&mut self) -> Vec<NodeRef> {
        let cursor = self.mark_cursor.unwrap_or(NodeRef { hash: 0, boot: 0 });
        let after = self
            .marks
            .range((Bound::Excluded(cursor), Bound::Unbounded));
        let until = self.marks.range(..=cursor);
        let keys = after.chain(until).map(|(key, _)| *key);
        let keys: Vec<NodeRef> = keys.take(MARKS_MAX).collect();
        self.mark_cursor = keys.last().copied();
        keys
    }

    /// Up to `count` live members that are not in `used`, and adds them there.
    fn pick(
        &mut self,
        rng: &mut StdRng,
        live: &[NodeRef],
        used: &mut Vec<NodeRef>,
        count: usize,
    ) -> Vec<NodeRef> {
        let mut picked = Vec::with_capacity(count);
        let mut tries = 2 * live.len() + self.cycle.len();
        while picked.len() < count && used.len() < live.len() && tries > 0 {
            tries -= 1;
            if self.cursor >= self.cycle.len() {
                self.cycle = live.to_vec();
                self.cycle.shuffle(rng);
                self.cursor = 0;
            }
            let node = self.cycle[self.cursor];
            self.cursor += 1;
            if live.binary_search(&node).is_ok() && !used.contains(&node) {
                used.push(node);
                picked.push(node);
            }
        }
        picked
    }
}

impl Events {
    /// Announces the position of a log, anew if it moved.
    pub(super) fn announce(&mut self, key: NodeRef) {
        let packets = self.spread.limit.max(FANOUT);
        self.spread.marks.insert(key, packets);
    }

    /// Sends what is due, if no packet left within the last 5 ms.
    pub(super) fn flush(&mut self, now: Time, peers: &dyn Peers) {
        if now < self.spread.gate {
            return;
        }
        let live = peers.live();
        if live.is_empty() {
            self.spread.fresh.clear();
            self.spread.again.clear();
            self.spread.marks.clear();
            return;
        }
        self.spread.limit = tuning::event_packets(live.len() + 1);
        let mut used = Vec::new();
        self.flush_fresh(now, live, &mut used);
        self.flush_again(now, live, &mut used);
        self.flush_marks(now, live, &mut used);
        if !used.is_empty() {
            self.spread.gate = now + PACKET_EVERY;
        }
    }

    /// One packet of new events to [`FANOUT`] members, replicas first if own ones
    /// are in it.
    fn flush_fresh(&mut self, now: Time, live: &[NodeRef], used: &mut Vec<NodeRef>) {
        let batches = self.pack_fresh();
        if batches.is_empty() {
            return;
        }
        let own = batches.iter().any(|b| b.hash == self.me.hash);
        let section = Section {
            batches,
            ..Section::default()
        };
        let section = Bytes::from(section.encode_to_vec());
        let sent = self.send_section(live, used, &section, own);
        let left = self.spread.limit.saturating_sub(sent);
        if left > 0 {
            if self.spread.again.len() >= AGAIN_MAX {
                self.spread.again.pop_front();
            }
            self.spread.again.push_back(Again {
                due: now + WAVE_EVERY,
                left,
                section,
            });
        }
    }

    fn pack_fresh(&mut self) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        let mut room = SECTION_BYTES_MAX - CALL_BYTES_MAX;
        while let Some((key, sequence)) = self.spread.fresh.front().copied() {
            let raw = self.logs.get(&key).and_then(|log| log.get(sequence));
            let Some(raw) = raw.cloned() else {
                // Evicted meanwhile.
                self.spread.fresh.pop_front();
                continue;
            };
            let batch = batches
                .iter()
                .position(|b| b.hash == key.hash && b.boot == key.boot);
            let overhead = if batch.is_some() { 0 } else { BATCH_OVERHEAD };
            let need = entry_bytes(raw.len()) + overhead;
            if need > room {
                break;
            }
            room -= need;
            self.spread.fresh.pop_front();
            let entry = Entry {
                sequence,
                envelope: raw,
            };
            match batch.and_then(|index| batches.get_mut(index)) {
                Some(batch) => batch.entries.push(entry),
                None => batches.push(Batch {
                    hash: key.hash,
                    boot: key.boot,
                    entries: vec![entry],
                }),
            }
        }
        batches
    }

    fn flush_again(&mut self, now: Time, live: &[NodeRef], used: &mut Vec<NodeRef>) {
        while used.len() < live.len() {
            match self.spread.again.front() {
                Some(again) if again.due <= now => {}
                Some(_) | None => return,
            }
            let Some(mut again) = self.spread.again.pop_front() else {
                return;
            };
            let count = FANOUT.min(again.left);
            let targets = self.spread.pick(&mut self.rng, live, used, count);
            for to in &targets {
                self.send(*to, again.section.clone());
            }
            again.left = again.left.saturating_sub(targets.len().max(1));
            if again.left > 0 {
                again.due = now + WAVE_EVERY;
                self.spread.again.push_back(again);
            }
        }
    }

    fn flush_marks(&mut self, now: Time, live: &[NodeRef], used: &mut Vec<NodeRef>) {
        if now < self.spread.mark_gate || self.spread.marks.is_empty() || used.len() >= live.len() {
            return;
        }
        let keys = self.spread.next_marks();
        let own = keys.contains(&self.me);
        let section = self.marks_section(&keys);
        let sent = self.send_section(live, used, &section, own).max(1);
        for key in keys {
            if let Some(left) = self.spread.marks.get_mut(&key) {
                *left = left.saturating_sub(sent);
                if *left == 0 {
                    self.spread.marks.remove(&key);
                }
            }
        }
        self.spread.mark_gate = now + ANNOUNCE_EVERY;
    }

    pub(super) fn marks_section(&self, keys: &[NodeRef]) -> Bytes {
        let marks = keys.iter().map(|key| self.mark(*key)).collect();
        let section = Section {
            marks,
            ..Section::default()
        };
        Bytes::from(section.encode_to_vec())
    }

    fn mark(&self, key: NodeRef) -> Mark {
        Mark {
            hash: key.hash,
            boot: key.boot,
            position: self.logs.get(&key).map_or(0, super::log::Log::position),
        }
    }

    /// Sends to [`FANOUT`] members: to the successor of this node, and to others at
    /// random. With `own`, the replicas come first and are named as those that shall
    /// acknowledge. Returns how many it went to.
    fn send_section(
        &mut self,
        live: &[NodeRef],
        used: &mut Vec<NodeRef>,
        section: &Bytes,
        own: bool,
    ) -> usize {
        let mut sent = 0;
        if own {
            let replicas = self.replicas(live);
            let call = self.call_bytes(&replicas);
            let mut called = BytesMut::with_capacity(section.len() + call.len());
            called.extend_from_slice(section);
            called.extend_from_slice(&call);
            let called = called.freeze();
            for node in replicas {
                if !used.contains(&node) {
                    used.push(node);
                    self.send(node, called.clone());
                    sent += 1;
                }
            }
        }
        let mut others = Vec::with_capacity(FANOUT);
        if sent < FANOUT
            && let Some(next) = successor(live, self.me).filter(|node| !used.contains(node))
        {
            used.push(next);
            others.push(next);
        }
        let rest = FANOUT.saturating_sub(sent + others.len());
        others.extend(self.spread.pick(&mut self.rng, live, used, rest));
        sent += others.len();
        for to in others {
            self.send(to, section.clone());
        }
        sent
    }

    /// A call, to be appended to a section: in protobuf that is a merge.
    pub(super) fn call_bytes(&self, who: &[NodeRef]) -> Bytes {
        let section = Section {
            call: Some(Call {
                who: who.iter().map(|node| node.hash).collect(),
                through: self.own.head,
            }),
            ..Section::default()
        };
        Bytes::from(section.encode_to_vec())
    }

    pub(super) fn send(&mut self, to: NodeRef, section: Bytes) {
        debug_assert!(section.len() <= SECTION_BYTES_MAX, "{}", section.len());
        self.count.sections_sent += 1;
        self.out.push_back(EventsOutput::Send { to, section });
    }

    /// Positions that moved lately, to a few members.
    pub(super) fn tick_recent(&mut self, now: Time, peers: &dyn Peers) {
        if self.spread.recent_at.is_none_or(|at| now < at) {
            return;
        }
        self.prune_recent(now);
        if self.spread.recent.is_empty() {
            self.spread.recent_at = None;
            self.spread.recent_wait = Duration::ZERO;
            return;
        }
        self.spread.recent_wait *= 2;
        self.spread.recent_at = Some(now + self.spread.recent_wait);
        let section = self.recent_section(MARKS_MAX);
        let targets = self
            .spread
            .pick(&mut self.rng, peers.live(), &mut Vec::new(), RECENT_FANOUT);
        for to in targets {
            self.send(to, section.clone());
        }
    }

    fn prune_recent(&mut self, now: Time) {
        let logs = &mut self.logs;
        self.spread.recent.retain(|key| match logs.get_mut(key) {
            Some(log) if now.since(log.changed) <= RECENT_FOR => true,
            Some(log) => {
                log.recent = false;
                false
            }
            None => false,
        });
    }

    fn recent_section(&mut self, most: usize) -> Bytes {
        let recent = &self.spread.recent;
        let start = self.rng.random_range(0..recent.len().max(1));
        let keys: Vec<NodeRef> = recent
            .iter()
            .cycle()
            .skip(start)
            .take(recent.len().min(most))
            .copied()
            .collect();
        self.marks_section(&keys)
    }

    /// A section of at most `room` bytes to ride on a datagram to `to` that leaves
    /// anyway: positions that moved lately.
    pub(crate) fn piggyback(&mut self, now: Now, _to: NodeRef, room: usize) -> Option<Bytes> {
        let most = (room / MARK_BYTES_MAX).min(PIGGYBACK_MAX);
        self.prune_recent(now.at);
        if self.spread.recent.is_empty() || most == 0 {
            return None;
        }
        Some(self.recent_section(most))
    }
}

/// Who comes next after this node in the order that all agree on. As everybody sends to
/// its successor, nobody is left out by chance: at random alone 4 packets of each of 64
/// members leave one out in two of three events.
fn successor(live: &[NodeRef], me: NodeRef) -> Option<NodeRef> {
    let next = live.partition_point(|node| *node <= me);
    live.get(next).or(live.first()).copied()
}
