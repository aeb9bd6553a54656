//! What is missing here, and whom to ask for it.
//!
//! A hunt lasts as long as a log is behind: something is held beyond a hole, or a
//! member claims to hold more. It asks the member that claimed, then in rounds,
//! one a second, the origin and three random members.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;

use super::wire::{Mark, Range};
use super::{Events, Peers};
use crate::ident::NodeRef;
use crate::time::{Now, Time};

/// An event out of order is asked for after this time: it may be just behind.
const PATIENCE: Duration = Duration::from_millis(20);

/// After a member that claimed more did not answer, others are asked after this.
const RETRY: Duration = Duration::from_millis(50);

/// Rounds are this far apart.
const ROUND_EVERY: Duration = Duration::from_secs(1);

/// Members asked in a round, besides the origin.
const ROUND_MEMBERS: usize = 3;

/// Answered rounds without progress after which a hole is given up.
const ROUNDS_MAX: u32 = 10;

/// A boot is over when this long nothing more of it was found.
const BOOT_QUIET: Duration = Duration::from_secs(1);

/// Members other than the origin that must have found nothing, if there are as
/// many: one of them may have joined after that boot.
const BOOT_ANSWERS: usize = 2;

/// Logs hunted for at once. Above it claims are dropped: they are repeated.
const HUNTS_MAX: usize = 1_024;

/// The search for what one log misses.
#[derive(Debug)]
pub(super) struct Hunt {
    /// When to go on.
    next: Time,
    /// A pull is under way.
    pub(super) pulling: bool,
    /// A member that claims to hold more, and how far.
    pub(super) source: Option<(NodeRef, u64)>,
    /// The highest claim of anybody.
    rumour: u64,
    /// Still to be asked in this round.
    round: Vec<NodeRef>,
    round_began: Option<Time>,
    /// Somebody answered in this round.
    answered: bool,
    /// Answered rounds without progress.
    rounds: u32,
    /// The lowest floor among those who no longer hold the next event.
    low_floor: Option<u64>,
    /// The next boot waits for the end of this one, since then.
    holds: Option<Time>,
    /// Answers since then, other than the origin's.
    holds_answers: usize,
}

impl Hunt {
    const fn new(next: Time) -> Self {
        Self {
            next,
            pulling: false,
            source: None,
            rumour: 0,
            round: Vec::new(),
            round_began: None,
            answered: false,
            rounds: 0,
            low_floor: None,
            holds: None,
            holds_answers: 0,
        }
    }
}

/// All searches.
#[derive(Debug, Default)]
pub(super) struct Hunts {
    pub(super) by_log: BTreeMap<NodeRef, Hunt>,
    pub(super) pulls: super::pull::Pulls,
}

impl Hunts {
    pub(super) fn deadline(&self) -> Option<Time> {
        // With all pulls under way the next answer goes on.
        if self.pulls.full() {
            return None;
        }
        let idle = self.by_log.values().filter(|hunt| !hunt.pulling);
        idle.map(|hunt| hunt.next).min()
    }

    fn entry(&mut self, key: NodeRef, next: Time) -> Option<&mut Hunt> {
        if self.by_log.len() >= HUNTS_MAX && !self.by_log.contains_key(&key) {
            return None;
        }
        Some(self.by_log.entry(key).or_insert_with(|| Hunt::new(next)))
    }
}

impl Events {
    /// A member says that it holds a log up to a position.
    pub(super) fn on_mark(&mut self, now: Now, from: NodeRef, mark: Mark, _peers: &dyn Peers) {
        let key = NodeRef {
            hash: mark.hash,
            boot: mark.boot,
        };
        if key == self.me {
            self.on_report(now.at, from, mark.position);
            return;
        }
        #[cfg(test)]
        if self.bug == Some(super::tests::Bug::NoHunt) {
            return;
        }
        let log = self.logs.get(&key);
        let over = log.is_some_and(|log| log.closed);
        if key.hash == self.me.hash || over || mark.position <= self.position_of(key) {
            return;
        }
        self.claim(now.at, from, key, mark.position);
    }

    /// `from` holds more than this node.
    pub(super) fn claim(&mut self, now: Time, from: NodeRef, key: NodeRef, position: u64) {
        let Some(hunt) = self.hunts.entry(key, now) else {
            self.count.claims_dropped += 1;
            return;
        };
        hunt.rumour = hunt.rumour.max(position);
        if hunt.source.is_none_or(|(_, claimed)| claimed <= position) {
            hunt.source = Some((from, position));
            hunt.next = now;
        }
    }

    /// Something is held beyond a hole.
    pub(super) fn hunt(&mut self, now: Time, key: NodeRef) {
        let _: Option<&mut Hunt> = self.hunts.entry(key, now + PATIENCE);
    }

    /// The next boot waits until nothing more of this one is found.
    pub(super) fn hold(&mut self, now: Time, key: NodeRef) {
        // A hold is never refused: the number of boots bounds them.
        let hunt = self.hunts.by_log.entry(key);
        let hunt = hunt.or_insert_with(|| Hunt::new(now));
        hunt.holds = Some(now);
        hunt.next = now;
    }

    /// A log moved on: rounds count anew.
    pub(super) fn progress(&mut self, now: Time, key: NodeRef) {
        if let Some(hunt) = self.hunts.by_log.get_mut(&key) {
            hunt.rounds = 0;
            hunt.low_floor = None;
            if hunt.holds.is_some() {
                hunt.holds = Some(now);
                hunt.holds_answers = 0;
            }
        }
    }

    pub(super) fn drop_hunt(&mut self, key: NodeRef) {
        self.hunts.by_log.remove(&key);
    }

    pub(super) fn position_of(&self, key: NodeRef) -> u64 {
        self.logs.get(&key).map_or(0, super::log::Log::position)
    }

    /// Goes on with every search whose time has come.
    pub(super) fn drive(&mut self, now: Now, peers: &dyn Peers) {
        let due = |hunt: &Hunt| !hunt.pulling && hunt.next <= now.at;
        let hunts = self.hunts.by_log.iter().filter(|(_, hunt)| due(hunt));
        let keys: Vec<NodeRef> = hunts.map(|(key, _)| *key).collect();
        for key in keys {
            if self.hunts.pulls.full() {
                return;
            }
            self.drive_one(now, key, peers);
        }
    }

    fn drive_one(&mut self, now: Now, key: NodeRef, peers: &dyn Peers) {
        let log = self.logs.get(&key);
        let (position, top) = log.map_or((0, 0), |log| (log.position(), log.top()));
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        if hunt.pulling || hunt.next > now.at {
            return;
        }
        if hunt.holds.is_none() && hunt.rumour.max(top) <= position {
            self.drop_hunt(key);
            return;
        }
        if hunt.source.is_some_and(|(_, claimed)| claimed <= position) {
            hunt.source = None;
        }
        if let Some((to, _)) = hunt.source {
            self.start_pull(to, key);
        } else if let Some(to) = hunt.round.pop() {
            self.start_pull(to, key);
        } else if hunt.round_began.is_some() {
            self.end_round(now, key, peers);
        } else {
            self.begin_round(now, key, peers);
        }
    }

    fn begin_round(&mut self, now: Now, key: NodeRef, peers: &dyn Peers) {
        let live = peers.live();
        let mut round: Vec<NodeRef> = Vec::with_capacity(ROUND_MEMBERS + 1);
        // Small numbers: a few tries find three different ones, if there are.
        for _ in 0..4 * ROUND_MEMBERS {
            if live.is_empty() || round.len() >= ROUND_MEMBERS {
                break;
            }
            let node = live[self.rng.random_range(0..live.len())];
            if !round.contains(&node) && node.hash != key.hash {
                round.push(node);
            }
        }
        // Taken from the end: the origin first, in whatever boot it runs now.
        let origin = live.iter().find(|node| node.hash == key.hash);
        round.extend(origin.copied());
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        hunt.answered = false;
        hunt.round_began = Some(now.at);
        hunt.round = round;
        self.drive_one(now, key, peers);
    }

    fn end_round(&mut self, now: Now, key: NodeRef, peers: &dyn Peers) {
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        let began = hunt.round_began.take().unwrap_or(now.at);
        hunt.next = (began + ROUND_EVERY).max(now.at + RETRY);
        // Rounds that nobody answered do not count: this node may be cut off.
        hunt.rounds += u32::from(hunt.answered);
        let rounds = hunt.rounds;
        if let Some(since) = hunt.holds {
            let others = peers.live().iter().filter(|n| n.hash != key.hash);
            let sure = hunt.holds_answers >= others.take(BOOT_ANSWERS).count();
            if sure && now.at.since(since) >= BOOT_QUIET {
                self.end_boot(now, key);
                return;
            }
        }
        if rounds >= ROUNDS_MAX {
            self.give_up(now, key);
        }
    }

    /// Nothing more of this boot was found: the next one may begin.
    fn end_boot(&mut self, now: Now, key: NodeRef) {
        let hunt = self.hunts.by_log.get(&key);
        let gone = hunt.and_then(|hunt| hunt.low_floor);
        self.drop_hunt(key);
        if let Some(floor) = gone {
            // There was more, and whoever answered holds it no longer.
            self.skip_to(now, key, floor);
        }
        let next = self.boots(key.hash).find(|boot| *boot > key.boot);
        if let Some(boot) = next {
            let hash = key.hash;
            self.open(now, NodeRef { hash, boot });
        }
    }

    /// Nobody has it: gives up the hole up to what is held or can be had, or the
    /// claim that there is more.
    fn give_up(&mut self, now: Now, key: NodeRef) {
        let position = self.position_of(key);
        let beyond = self.logs.get(&key).and_then(super::log::Log::first_beyond);
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        hunt.rounds = 0;
        let floor = hunt.low_floor.take().filter(|floor| *floor > position);
        match beyond.map(|first| first - 1).or(floor) {
            Some(upto) => {
                hunt.next = now.at;
                self.skip_to(now, key, upto);
            }
            None => {
                hunt.rumour = 0;
                self.count.claims_dropped += 1;
            }
        }
    }

    /// `from` answered a pull for this log; `before` was the position then.
    pub(super) fn after_range(&mut self, now: Now, from: NodeRef, key: NodeRef, range: &Range) {
        let position = self.position_of(key);
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        hunt.answered = true;
        hunt.holds_answers += usize::from(from.hash != key.hash);
        hunt.next = now.at;
        if range.floor > position {
            let low = hunt.low_floor.unwrap_or(u64::MAX);
            hunt.low_floor = Some(low.min(range.floor));
        }
        let useful = range.entries.iter().any(|e| e.sequence <= position);
        if useful && range.position > position {
            hunt.source = Some((from, range.position));
        } else if let Some((source, claimed)) = hunt.source
            && source == from
        {
            hunt.source = None;
            if range.position <= position && hunt.rumour <= claimed {
                hunt.rumour = 0;
            }
        }
    }

    /// `from` did not answer a pull, or made no sense.
    pub(super) fn after_failure(&mut self, now: Time, from: NodeRef, key: NodeRef) {
        let Some(hunt) = self.hunts.by_log.get_mut(&key) else {
            return;
        };
        hunt.next = now;
        if hunt.source.is_some_and(|(source, _)| source == from) {
            hunt.source = None;
            hunt.next = now + RETRY;
        }
    }
}
