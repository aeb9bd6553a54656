//! Who holds what of this node's own events: REPLICATED and the window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;

use super::window::{ASK_EVERY, PATIENCE};
use super::{Events, EventsOutput, Peers};
use crate::ident::NodeRef;
use crate::time::{Now, Time};

/// Members that must hold an event before it is replicated, if there are as many.
pub(crate) const HOLDERS: usize = 2;

/// Members asked to acknowledge.
const REPLICAS: usize = 3;

/// A replica that owes is asked again at this pace.
const POKE_EVERY: Duration = Duration::from_millis(100);

/// A replica that made no progress for this long is replaced.
const SILENT: Duration = Duration::from_millis(300);

/// The list of members is compared at this pace, and whenever its length changed.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

/// What one member is known to hold of the own events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// It said so.
    pub(super) held: u64,
    /// What the window counts from: `held`, or the head when it was first seen.
    pub(super) window: u64,
    /// It is waited for.
    pub(super) counted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Replica {
    node: NodeRef,
    /// Last progress, or when it began to owe.
    since: Time,
}

/// The origin's side.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Last sequence published.
    pub(super) head: u64,
    /// Bytes published up to each of the last sequences, the newest last.
    pub(super) through: VecDeque<u64>,
    pub(super) members: BTreeMap<NodeRef, Standing>,
    /// Smallest `window` of counted members, if there are any.
    low: Option<u64>,
    replicas: Vec<Replica>,
    replicated: u64,
    followed: Time,
    pub(super) full_since: Option<Time>,
    pub(super) asked: Time,
    poke_at: Option<Time>,
    /// Something changed while no list of members was at hand.
    pub(super) recheck: Option<Time>,
}

impl Own {
    /// One more event of so many bytes.
    pub(super) fn push(&mut self, bytes: usize) {
        let before = self.through.back().copied().unwrap_or(0);
        self.through.push_back(before + bytes as u64);
        self.head += 1;
    }

    pub(super) fn forget(&mut self, node: NodeRef) {
        self.members.remove(&node);
        self.replicas.retain(|replica| replica.node != node);
        self.find_low();
    }

    /// Everything up to here is held by all counted members.
    pub(super) fn slowest(&self) -> u64 {
        self.low.unwrap_or(self.head)
    }

    pub(super) fn find_low(&mut self) {
        let counted = self.members.values().filter(|m| m.counted);
        self.low = counted.map(|m| m.window).min();
    }

    /// Bytes of the events above `sequence`.
    pub(super) fn bytes_above(&self, sequence: u64) -> u64 {
        let above = usize::try_from(self.head - sequence).unwrap_or(usize::MAX);
        let total = self.through.back().copied().unwrap_or(0);
        let index = self.through.len().checked_sub(above + 1);
        let below = index.and_then(|index| self.through.get(index)).copied();
        total - below.unwrap_or(0)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let full = self.full_since.map(|since| {
            let ask = self.asked + ASK_EVERY;
            ask.min(since + PATIENCE)
        });
        [full, self.poke_at, self.recheck]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Events {
    /// Keeps the standings in step with the members. New ones count from now on.
    pub(super) fn follow_members(&mut self, now: Now, peers: &dyn Peers) {
        let live = peers.live();
        let own = &mut self.own;
        if own.recheck.take().is_none()
            && live.len() == own.members.len()
            && now.at.since(own.followed) < FOLLOW_EVERY
        {
            return;
        }
        own.followed = now.at;
        if !own.members.keys().eq(live.iter()) {
            own.members
                .retain(|node, _| live.binary_search(node).is_ok());
            own.replicas.retain(|r| live.binary_search(&r.node).is_ok());
            for node in live {
                if self.own.members.contains_key(node) {
                    continue;
                }
                let standing = Standing {
                    held: 0,
                    window: self.own.head,
                    counted: true,
                };
                self.own.members.insert(*node, standing);
            }
            self.own.find_low();
        }
        self.note_replicated();
        self.note_room();
    }

    /// A member says that it holds own events up to `position`.
    pub(super) fn on_report(&mut self, now: Time, from: NodeRef, position: u64) {
        if position > self.own.head {
            self.count.marks_false += 1;
            return;
        }
        let window = self.window();
        let Some(standing) = self.own.members.get_mut(&from) else {
            return;
        };
        if position > standing.held {
            standing.held = position;
            let replica = self.own.replicas.iter_mut().find(|r| r.node == from);
            if let Some(replica) = replica {
                replica.since = now;
            }
        }
        let was = standing.window;
        standing.window = was.max(position);
        // A quarter in at least, so that it is not let go again at once.
        let floor = self.logs.get(&self.me).map_or(0, super::log::Log::floor);
        let inside = position >= floor && self.own.head - position <= window.events / 4 * 3;
        let back = !standing.counted && inside;
        standing.counted |= back;
        if back || self.own.low == Some(was) {
            self.own.find_low();
        }
        if position > self.own.replicated || self.own.members.is_empty() {
            self.note_replicated();
        }
        self.note_room();
    }

    /// Tells how far the own events are replicated, if that grew.
    pub(super) fn note_replicated(&mut self) {
        let own = &mut self.own;
        let mut best = [0; HOLDERS];
        for standing in own.members.values() {
            let mut held = standing.held;
            for place in &mut best {
                if held > *place {
                    std::mem::swap(place, &mut held);
                }
            }
        }
        let replicated = match own.members.len().min(HOLDERS) {
            0 => own.head,
            needed => best[needed - 1],
        };
        #[cfg(test)]
        let replicated = match self.bug {
            Some(super::tests::Bug::EarlyReceipt) => own.head,
            Some(_) | None => replicated,
        };
        if replicated > own.replicated {
            own.replicated = replicated;
            self.out.push_back(EventsOutput::Replicated {
                sequence: replicated,
            });
        }
    }

    /// Members that shall acknowledge: the same ones as long as they do.
    pub(super) fn replicas(&mut self, live: &[NodeRef]) -> Vec<NodeRef> {
        let own = &mut self.own;
        own.replicas.retain(|r| live.binary_search(&r.node).is_ok());
        while own.replicas.len() < REPLICAS.min(live.len()) {
            let start = self.rng.random_range(0..live.len());
            let candidates = live.iter().cycle().skip(start).take(live.len());
            let free = candidates
                .copied()
                .find(|node| own.replicas.iter().all(|r| r.node != *node));
            let Some(node) = free else {
                break;
            };
            own.replicas.push(Replica {
                node,
                since: own.followed,
            });
        }
        own.replicas.iter().map(|r| r.node).collect()
    }

    /// An own event was published: replicas that held everything owe from now on.
    pub(super) fn begin_owing(&mut self, now: Time) {
        let own = &mut self.own;
        for replica in &mut own.replicas {
            let held = own.members.get(&replica.node).map_or(0, |m| m.held);
            if held + 1 >= own.head {
                replica.since = now;
            }
        }
        own.poke_at.get_or_insert(now + POKE_EVERY);
    }

    /// What time brings at the origin: let go, ask again, replace.
    pub(super) fn check_own(&mut self, now: Time, peers: &dyn Peers) {
        if let Some(since) = self.own.full_since {
            if now.since(since) >= PATIENCE {
                self.let_go();
            } else {
                self.ask_laggards(now, peers);
            }
        }
        if self.own.poke_at.is_some_and(|at| at <= now) {
            self.own.poke_at = None;
            if self.own.replicated < self.own.head {
                self.own.poke_at = Some(now + POKE_EVERY);
                self.poke(now, peers.live());
            }
        }
    }

    /// Own position and a call.
    pub(super) fn asking(&self, who: &[NodeRef]) -> Bytes {
        let mut section = BytesMut::new();
        section.extend_from_slice(&self.marks_section(&[self.me]));
        section.extend_from_slice(&self.call_bytes(who));
        section.freeze()
    }

    /// Asks replicas that owe again, and others in place of silent ones.
    fn poke(&mut self, now: Time, live: &[NodeRef]) {
        self.replace_silent(now, live);
        let owing: Vec<NodeRef> = self
            .own
            .replicas
            .iter()
            .filter(|r| {
                let held = self.own.members.get(&r.node).map_or(0, |m| m.held);
                held < self.own.head && (now == r.since || now.since(r.since) >= POKE_EVERY)
            })
            .map(|r| r.node)
            .collect();
        if owing.is_empty() {
            return;
        }
        let section = self.asking(&owing);
        for node in owing {
            self.send(node, section.clone());
        }
    }

    /// Puts others in the place of replicas that made no progress, as far as there
    /// are others.
    fn replace_silent(&mut self, now: Time, live: &[NodeRef]) {
        let own = &mut self.own;
        let mut spare = live.len().saturating_sub(own.replicas.len());
        let taken: Vec<NodeRef> = own.replicas.iter().map(|r| r.node).collect();
        let start = self.rng.random_range(0..live.len().max(1));
        let mut others = live.iter().cycle().skip(start).take(live.len());
        for replica in &mut own.replicas {
            let held = own.members.get(&replica.node).map_or(0, |m| m.held);
            if spare == 0 || held >= own.head || now.since(replica.since) < SILENT {
                continue;
            }
            if let Some(node) = others.find(|node| !taken.contains(node)) {
                spare -= 1;
                *replica = Replica {
                    node: *node,
                    since: now,
                };
            }
        }
    }
}
