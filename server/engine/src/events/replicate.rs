//! Who holds what of this node's own events: REPLICATED and the window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::wire::Call;
use super::{Events, EventsOutput, LOGS_MAX, Peers};
use crate::api::Limits;
use crate::ident::NodeRef;
use crate::time::{Now, Time};

/// Members that must hold an event before it is replicated, if there are as many.
const HOLDERS: usize = 2;

/// Members asked to acknowledge.
const REPLICAS: usize = 3;

/// Acknowledgements leave in batches this far apart.
const ACK_EVERY: Duration = Duration::from_millis(5);

/// A replica that owes is asked again at this pace.
const POKE_EVERY: Duration = Duration::from_millis(100);

/// A replica that made no progress for this long is replaced.
const SILENT: Duration = Duration::from_millis(300);

/// The list of members is compared at this pace, and whenever its length changed.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

/// Members behind are asked for their position at this pace while room is short.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Members asked at once. At the bound a random choice is asked.
const ASKED_MAX: usize = 64;

/// A member that leaves no room for this long is let go.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What one member is known to hold of the own events.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// It said so.
    held: u64,
    /// What the window counts from: `held`, or the head when it was first seen.
    window: u64,
    /// It is waited for.
    counted: bool,
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
    through: VecDeque<u64>,
    members: BTreeMap<NodeRef, Standing>,
    /// Smallest `window` of counted members, if there are any.
    low: Option<u64>,
    replicas: Vec<Replica>,
    replicated: u64,
    followed: Time,
    full_since: Option<Time>,
    asked: Time,
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

    fn find_low(&mut self) {
        let counted = self.members.values().filter(|m| m.counted);
        self.low = counted.map(|m| m.window).min();
    }

    /// Bytes of the events above `sequence`.
    fn bytes_above(&self, sequence: u64) -> u64 {
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

/// What a member may have in flight to all others.
#[derive(Debug, Clone, Copy)]
struct Window {
    events: u64,
    bytes: u64,
}

impl Window {
    fn of(limits: &Limits, active: usize) -> Self {
        let share = limits.event_bytes_total / active.max(1);
        Self {
            events: limits.events_per_origin as u64,
            bytes: limits.event_bytes_per_origin.min(share) as u64,
        }
    }

    /// The part that must be free before waiting publishers go on, so that they
    /// do not wake for every single place.
    const fn eased(self) -> Self {
        let events = self.events / 16;
        Self {
            events: self.events - if events == 0 { 1 } else { events },
            bytes: self.bytes - self.bytes / 16,
        }
    }

    /// Whether `size` more bytes fit behind a member that holds up to `slowest`.
    /// One event always fits behind a member that holds everything.
    fn fits(self, own: &Own, slowest: u64, size: u64) -> bool {
        let behind = own.head - slowest;
        behind == 0 || (behind < self.events && own.bytes_above(slowest) + size <= self.bytes)
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
                self.see_boot(now, *node);
            }
            self.own.find_low();
        }
        self.note_replicated(now.at);
        self.note_room();
    }

    fn window(&self) -> Window {
        Window::of(&self.limits, self.active.1)
    }

    /// Whether the next own event has room. If not, the laggards are asked.
    pub(super) fn admit(&mut self, now: Time, size: usize, peers: &dyn Peers) -> bool {
        let window = self.window();
        let slowest = self.own.slowest();
        let fits = window.fits(&self.own, slowest, size as u64);
        if !fits {
            self.own.full_since.get_or_insert(now);
        }
        let behind = self.own.head - slowest;
        if !fits || behind >= window.events / 4 * 3 {
            self.ask_laggards(now, peers);
        }
        if fits && self.own.through.len() > self.limits.events_per_origin {
            self.own.through.pop_front();
        }
        fits
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
        let inside = self.own.head - position <= window.events / 4 * 3;
        let back = !standing.counted && inside;
        standing.counted |= back;
        if back || self.own.low == Some(was) {
            self.own.find_low();
        }
        if position > self.own.replicated || self.own.members.is_empty() {
            self.note_replicated(now);
        }
        self.note_room();
    }

    /// Tells how far the own events are replicated, if that grew.
    pub(super) fn note_replicated(&mut self, _now: Time) {
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

    /// Tells waiting publishers that there is room again.
    fn note_room(&mut self) {
        if self.own.full_since.is_none() {
            return;
        }
        let eased = self.window().eased();
        if eased.fits(&self.own, self.own.slowest(), 0) {
            self.own.full_since = None;
            self.out.push_back(EventsOutput::Room);
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

    /// Stops waiting for the members that leave no room.
    fn let_go(&mut self) {
        let eased = self.window().eased();
        let own = &mut self.own;
        let blocking: Vec<NodeRef> = own
            .members
            .iter()
            .filter(|(_, m)| m.counted && !eased.fits(own, m.window, 0))
            .map(|(node, _)| *node)
            .collect();
        for member in blocking {
            if let Some(standing) = own.members.get_mut(&member) {
                standing.counted = false;
                self.count.laggards += 1;
                self.out.push_back(EventsOutput::LaggardLetGo {
                    member,
                    behind: own.head - standing.window,
                });
            }
        }
        own.find_low();
        self.note_room();
    }

    /// Asks members that are far behind where they are.
    fn ask_laggards(&mut self, now: Time, peers: &dyn Peers) {
        if now.since(self.own.asked) < ASK_EVERY {
            return;
        }
        self.own.asked = now;
        let window = self.window();
        let half = Window {
            events: window.events / 2,
            bytes: window.bytes / 2,
        };
        let own = &self.own;
        let mut behind: Vec<NodeRef> = own
            .members
            .iter()
            .filter(|(node, m)| {
                let live = peers.live().binary_search(node).is_ok();
                live && m.counted && !half.fits(own, m.window, 0)
            })
            .map(|(node, _)| *node)
            .collect();
        if behind.len() > ASKED_MAX {
            behind.shuffle(&mut self.rng);
            behind.truncate(ASKED_MAX);
        }
        for node in behind {
            let section = self.asking(&[node]);
            self.send(node, section);
        }
    }

    /// Own position and a call.
    fn asking(&self, who: &[NodeRef]) -> Bytes {
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

/// Acknowledgements that this node owes to origins.
#[derive(Debug, Default)]
pub(super) struct Duties {
    owed: BTreeMap<NodeRef, Duty>,
    at: Option<Time>,
    gate: Time,
}

#[derive(Debug, Clone, Copy)]
struct Duty {
    /// Tell each move until here.
    through: u64,
    /// There is something to tell.
    pending: bool,
}

impl Duties {
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.at
    }

    pub(super) fn remove(&mut self, key: NodeRef) {
        self.owed.remove(&key);
    }

    fn owe(&mut self, now: Time, key: NodeRef, through: u64) {
        // One for each log at most; above that an origin has to ask again.
        if self.owed.len() >= LOGS_MAX && !self.owed.contains_key(&key) {
            return;
        }
        let duty = self.owed.entry(key).or_insert(Duty {
            through,
            pending: true,
        });
        duty.through = duty.through.max(through);
        duty.pending = true;
        let at = now.max(self.gate);
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Events {
    /// An origin wants to hear positions.
    pub(super) fn on_call(&mut self, now: Time, from: NodeRef, call: &Call) {
        if from.hash != self.me.hash && call.who.contains(&self.me.hash) {
            self.duties.owe(now, from, call.through);
        }
    }

    /// A log moved: tell its origin if it waits for that, or every quarter of the
    /// window.
    pub(super) fn owe_report(&mut self, now: Time, key: NodeRef) {
        let Some(log) = self.logs.get(&key) else {
            return;
        };
        let events = (self.limits.events_per_origin as u64 / 4).max(1);
        let bytes = self.window().bytes / 4;
        let quarter =
            log.position() - log.reported >= events || log.unreported_bytes as u64 >= bytes.max(1);
        if quarter || self.duties.owed.contains_key(&key) {
            self.duties.owe(now, key, 0);
        }
    }

    /// Tells origins what they wait for.
    pub(super) fn send_acks(&mut self, now: Time) {
        if self.duties.at.is_none_or(|at| now < at) {
            return;
        }
        self.duties.at = None;
        self.duties.gate = now + ACK_EVERY;
        let pending: Vec<NodeRef> = self
            .duties
            .owed
            .iter()
            .filter(|(_, duty)| duty.pending)
            .map(|(key, _)| *key)
            .collect();
        for key in pending {
            let section = self.marks_section(&[key]);
            self.send(key, section);
            let log = self.logs.get_mut(&key);
            let position = log.map_or(0, |log| {
                log.reported = log.position();
                log.unreported_bytes = 0;
                log.position()
            });
            if let Some(duty) = self.duties.owed.get_mut(&key) {
                duty.pending = false;
                if position >= duty.through {
                    self.duties.owed.remove(&key);
                }
            }
        }
    }
}
