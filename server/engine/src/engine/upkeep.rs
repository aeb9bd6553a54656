//! Rounds: gossip when there is something to spread, housekeeping each second.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::Engine;
use super::datagrams::Extra;
use super::watching::{SUCCESSORS, successors};
use crate::ident::{Ident, NodeRef};
use crate::swim::FANOUT;
use crate::time::{Now, Time};
use crate::tuning;

/// Pause between gossip rounds while there is something to spread (memberlist's).
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);

/// Pause before the first round: news of the same moment travel together.
const GOSSIP_PROMPT: Duration = Duration::from_millis(20);

/// Pause before a round that tells of what everybody acts on, such as a death.
const URGENT_PROMPT: Duration = Duration::from_millis(5);

/// Pause between the first [`URGENT_ROUNDS`] such rounds.
const URGENT_INTERVAL: Duration = Duration::from_millis(20);

/// Rounds at this pace: each reaches [`FANOUT`] members, so that
/// after three rounds of everybody hardly anybody is left out.
const URGENT_ROUNDS: u32 = 3;

/// Such rounds in any second, however many deaths there are; then the usual pace.
const URGENT_PER_SECOND: u32 = 24;

/// Above this many waiting items gossip cannot keep up and exchanges take over.
pub(super) const BULK_ABOVE: usize = 32;

/// Pause between exchanges while they bring much.
const HURRY_INTERVAL: Duration = Duration::from_millis(100);

/// Exchanges in a row without much news after which there is no hurry any more.
const HURRY_ROUNDS: u32 = 3;

/// Exchanges of one hurry: a minute of them fills any cluster (measured: 4,096 nodes
/// in 20 s). Who still tells of more then has to wait.
const HURRIES_MAX: u32 = 600;

/// How long they wait.
const HURRY_REST: Duration = Duration::from_secs(30);

/// A node that wakes up later than this stood still: it heard nobody meanwhile.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How often the rest is looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// It waits so long for something else to wake the process up.
const HOUSEKEEPING_WAITS: Duration = Duration::from_millis(500);

/// And while something waits for an answer that may have got lost.
const HOUSEKEEPING_BUSY: Duration = Duration::from_millis(250);

/// How often deleted keys of records are looked through: they are kept for an hour.
const PURGE: Duration = Duration::from_secs(60);

/// Pruned members kept in mind, so that no peer brings them back.
const PRUNED_MAX: usize = 1_024;

/// The first exchange that comes whatever digests say, spread by half: whoever was joined
/// by the others and asked nobody itself learns by it how long they have been there.
const FIRST_BACKSTOP: Duration = Duration::from_secs(20);

/// When the next rounds are due.
#[derive(Debug)]
pub(super) struct Upkeep {
    gossip: Option<Time>,
    last_gossip: Time,
    /// Which of the successors the next round reaches.
    turn: usize,
    /// Rounds still to be had at the urgent pace.
    urgent: u32,
    /// Urgent rounds since then.
    urgent_since: (Time, u32),
    hurry: Time,
    hurried: u32,
    /// Exchanges since the hurry began.
    in_a_row: u32,
    /// No hurry before.
    rest: Time,
    /// From then on.
    housekeeping: Time,
    /// And by then.
    housekeep_by: Time,
    purge: Time,
    backstop: Time,
    pruned: BTreeMap<Ident, Time>,
}

impl Upkeep {
    pub(super) fn new(now: Time, rng: &mut StdRng) -> Self {
        Self {
            gossip: None,
            last_gossip: now,
            turn: 0,
            urgent: 0,
            urgent_since: (now, 0),
            hurry: now,
            hurried: 0,
            in_a_row: 0,
            rest: now,
            housekeeping: now + HOUSEKEEPING,
            housekeep_by: now + HOUSEKEEPING,
            purge: now + PURGE,
            backstop: now + FIRST_BACKSTOP.mul_f64(rng.random_range(0.5..1.5)),
            pruned: BTreeMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Time {
        let hurry = (self.hurried > 0).then_some(self.hurry);
        let prompt = [self.gossip, hurry].into_iter().flatten();
        prompt.fold(self.housekeep_by, Time::min)
    }

    /// Exchanges follow each other, unless they did for too long. Says whether.
    fn hurry(&mut self, now: Time) -> bool {
        if now < self.rest {
            return false;
        }
        if self.in_a_row >= HURRIES_MAX {
            (self.hurried, self.in_a_row, self.rest) = (0, 0, now + HURRY_REST);
            return false;
        }
        if self.hurried == 0 {
            self.hurry = self.hurry.max(now);
        }
        self.hurried = HURRY_ROUNDS;
        true
    }

    /// The next exchange will hardly find two equal views.
    pub(super) fn expects_news(&self) -> bool {
        self.hurried + 1 >= HURRY_ROUNDS
    }

    /// There is something to spread.
    pub(super) fn gossip_soon(&mut self, now: Time) {
        let earliest = (self.last_gossip + GOSSIP_INTERVAL).max(now + GOSSIP_PROMPT);
        let quiet = now.since(self.last_gossip) >= GOSSIP_INTERVAL;
        let at = if quiet { now + GOSSIP_PROMPT } else { earliest };
        self.gossip = Some(self.gossip.map_or(at, |planned| planned.min(at)));
    }

    /// There is something to spread that everybody acts on: a death, a role given up.
    pub(super) fn gossip_at_once(&mut self, now: Time) {
        self.urgent = URGENT_ROUNDS;
        self.gossip_after(now, URGENT_PROMPT);
    }

    /// The next round while there is something to spread.
    fn gossip_on(&mut self, now: Time) {
        if self.urgent > 0 {
            self.urgent -= 1;
            self.gossip_after(now, URGENT_INTERVAL);
        }
        self.gossip_soon(now);
    }

    /// An urgent round, unless there were too many.
    fn gossip_after(&mut self, now: Time, pause: Duration) {
        let (since, rounds) = &mut self.urgent_since;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *rounds) = (now, 0);
        }
        let at = now + pause;
        if *rounds < URGENT_PER_SECOND && self.gossip.is_none_or(|planned| planned > at) {
            *rounds += 1;
            self.gossip = Some(at);
        }
    }

    /// All was looked after: next time with whatever wakes the process up by then.
    fn housekept(&mut self, now: Time) {
        self.housekeeping = now + HOUSEKEEPING;
        self.housekeep_by = self.housekeeping + HOUSEKEEPING_WAITS;
    }

    /// Something waits: it is looked after soon.
    pub(super) fn housekeep_soon(&mut self, now: Time) {
        let soon = now + HOUSEKEEPING_BUSY;
        self.housekeeping = self.housekeeping.min(soon);
        self.housekeep_by = self.housekeep_by.min(soon);
    }

    pub(super) fn remember_pruned(&mut self, now: Time, ident: Ident) {
        if self.pruned.len() >= PRUNED_MAX {
            let oldest = self
                .pruned
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(ident, _)| *ident);
            oldest.and_then(|ident| self.pruned.remove(&ident));
        }
        self.pruned.insert(ident, now);
    }

    pub(super) fn is_pruned(&self, ident: Ident) -> bool {
        self.pruned.contains_key(&ident)
    }
}

impl Engine {
    /// Comes before everything else: whoever stood still judges nobody by what it
    /// did not hear.
    pub(super) fn notice_pause(&mut self, now: Now) {
        if now.at.since(self.upkeep.next_deadline()) > STOOD_STILL {
            self.count("pauses_noticed");
            self.feel_worse();
            self.suspicions.begin_anew(now.at);
            self.upkeep.housekeeping = now.at;
            self.upkeep.gossip = self.upkeep.gossip.map(|_| now.at);
            self.upkeep.hurry = self.upkeep.hurry.max(now.at);
        }
    }

    /// Asks those that were suspected for long whether they live.
    pub(super) fn ask_suspects(&mut self, now: Now) {
        let members = self.table.active().len() + 1;
        for (subject, incarnation) in self.suspicions.questions(now.at, members) {
            self.count("suspects_asked");
            let extra = Extra {
                suspected: Some(incarnation),
                ask_digest: true,
                ..Extra::default()
            };
            self.transmit(now, subject.node(), extra);
        }
    }

    pub(super) fn tick_upkeep(&mut self, now: Now) {
        if self.upkeep.gossip.is_some_and(|at| at <= now.at) {
            self.upkeep.gossip = None;
            self.gossip(now);
            if self.swim.backlog() + self.broadcasts.len() > BULK_ABOVE {
                self.hurry(now);
            }
        }
        self.hurry_on(now);
        if self.upkeep.housekeeping <= now.at {
            self.upkeep.housekept(now.at);
            let others = !self.table.active().is_empty();
            self.joining.in_company(now.at, others);
            self.reap(now);
            self.recheck_digests(now);
            for addr in self.parked.expire(now.at) {
                if self.exchanges.has_room() && !self.exchanges.is_joining(addr) {
                    self.compare(now, addr, false, None);
                }
            }
            self.backstop(now);
        }
    }

    /// One round of gossip, and the next one if anything is left to spread.
    pub(super) fn gossip(&mut self, now: Now) {
        self.upkeep.last_gossip = now.at;
        let surely = self.told_surely();
        if self.swim.backlog() > 0 {
            let peer = surely.and_then(|node| self.table.run(node));
            self.swim.gossip(peer.map(|peer| peer.ident));
        } else if self.broadcasts.len() > 0 {
            let active = self.table.active();
            let mut to: Vec<_> = active.sample(&mut self.rng, FANOUT).copied().collect();
            let surely = surely.filter(|node| !to.contains(node));
            if let (Some(surely), Some(first)) = (surely, to.first_mut()) {
                *first = surely;
            }
            for node in to {
                self.transmit(now, node, Extra::default());
            }
        }
        if self.swim.backlog() > 0 || self.broadcasts.len() > 0 {
            self.upkeep.gossip_on(now.at);
        }
    }

    /// Whom a round reaches whatever chance picks: in turn those that follow this node
    /// on the ring. As everybody tells them, nobody is left out by chance, nor behind a
    /// member or two that died and are not known to be dead.
    pub(super) fn told_surely(&mut self) -> Option<NodeRef> {
        let turn = self.upkeep.turn;
        self.upkeep.turn = (turn + 1) % SUCCESSORS;
        successors(self.table.active(), self.own.ident.hash).nth(turn)
    }

    /// The next exchange of a hurry, with anybody.
    fn hurry_on(&mut self, now: Now) {
        if self.upkeep.hurried == 0 || now.at < self.upkeep.hurry {
            return;
        }
        self.upkeep.hurry = now.at + HURRY_INTERVAL.mul_f64(self.rng.random_range(0.75..1.25));
        if let Some(node) = self.table.active().choose(&mut self.rng).copied() {
            self.sync_with(now, node);
        }
        self.upkeep.hurried -= 1;
        self.upkeep.in_a_row += 1;
        if self.upkeep.hurried == 0 {
            self.upkeep.in_a_row = 0;
        }
    }

    /// Much is going on: exchanges follow each other until they bring little.
    pub(super) fn hurry(&mut self, now: Now) {
        if !self.upkeep.hurry(now.at) {
            self.count("hurries_refused");
        }
    }

    fn backstop(&mut self, now: Now) {
        if self.upkeep.backstop > now.at {
            return;
        }
        let pause = tuning::backstop(self.table.active().len() + 1);
        let spread = self.rng.random_range(0.5..1.5);
        self.upkeep.backstop = now.at + pause.mul_f64(spread);
        if let Some(node) = self.table.active().choose(&mut self.rng).copied() {
            self.sync_with(now, node);
        }
    }

    /// Forgets members that have been dead for long.
    fn reap(&mut self, now: Now) {
        let (left, failed) = (self.own.config().reap_left, self.own.config().reap_failed);
        let due = self.table.dead().filter(|peer| {
            let kept = if peer.left { left } else { failed };
            peer.state_since.age(now.at) >= kept
        });
        let due: Vec<_> = due.map(|peer| peer.ident.hash).collect();
        for hash in due {
            self.forget(now, hash);
            self.count("members_reaped");
        }
        self.upkeep
            .pruned
            .retain(|_, since| now.at.since(*since) < failed);
        if self.upkeep.purge <= now.at {
            self.upkeep.purge = now.at + PURGE;
            self.table.purge_records(now.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn housekeeping_waits_for_company_unless_something_waits_for_it() {
        let mut upkeep = Upkeep::new(Time::default(), &mut StdRng::seed_from_u64(1));
        let now = Time::default() + Duration::from_secs(10);
        upkeep.housekept(now);
        assert_eq!(upkeep.housekeeping, now + HOUSEKEEPING);
        let latest = now + HOUSEKEEPING + HOUSEKEEPING_WAITS;
        assert_eq!(upkeep.next_deadline(), latest);
        upkeep.housekeep_soon(now);
        assert_eq!(upkeep.next_deadline(), now + HOUSEKEEPING_BUSY);
        // It is due already, but nothing had woken the process up.
        upkeep.housekept(now);
        let late = now + HOUSEKEEPING + Duration::from_millis(100);
        upkeep.housekeep_soon(late);
        assert_eq!(upkeep.next_deadline(), late + HOUSEKEEPING_BUSY);
        assert_eq!(upkeep.housekeeping, now + HOUSEKEEPING);
    }
}
