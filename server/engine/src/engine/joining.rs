//! Finding the cluster, and finding it again: seeds and past members are dialled
//! for ever, all at once while this node is alone, now and then afterwards.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::Engine;
use super::exchange::EXCHANGE_TIMEOUT;
use crate::api::{Note, Output};
use crate::member::Status;
use crate::time::{Now, Time};

/// First pause between tries while alone; doubles, with jitter, up to
/// [`crate::Config::retry_interval`].
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// How long the first try of a join may take; twice as long after each that was too
/// slow, up to [`EXCHANGE_TIMEOUT`]: a lost packet of a handshake is sent again only
/// after seconds, a new try is faster.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Pause between looks at lost members and seeds while there is company, as long as
/// the last loss is fresh.
const LOOK_SOON: Duration = Duration::from_secs(5);

/// The same later.
const LOOK_LATER: Duration = Duration::from_secs(30);

/// How long a loss is fresh.
const LOSS_FRESH: Duration = Duration::from_secs(600);

/// Addresses of seeds taken; more are ignored.
const SEEDS_MAX: usize = 256;

/// Addresses of past members kept, least recently seen out first.
const PAST_MAX: usize = 1_024;

/// Past members dialled at once while alone; the next ones follow [`PAST_PAUSE`] later,
/// until each had its turn.
const PAST_AT_ONCE: usize = 8;

/// Pause between past members that are dialled in turn.
const PAST_PAUSE: Duration = Duration::from_millis(500);

/// Who was among others for so long is a member, whether it asked them or they it. Its own
/// first try to join, if it has whom to ask, is over by then.
const MEMBER_AFTER: Duration = Duration::from_secs(2);

/// Whom to dial, and when.
#[derive(Debug)]
pub(super) struct Joining {
    seeds: Vec<SocketAddr>,
    past: VecDeque<SocketAddr>,
    /// Past members still to be dialled before the longer pauses.
    turn: Vec<SocketAddr>,
    changes: u64,
    next: Time,
    pause: Duration,
    joined: bool,
    /// Since when others are there.
    company: Option<Time>,
    alone: bool,
    last_loss: Option<Time>,
    patience: Duration,
}

impl Joining {
    pub(super) fn new(now: Time) -> Self {
        Self {
            seeds: Vec::new(),
            past: VecDeque::new(),
            turn: Vec::new(),
            changes: 0,
            next: now,
            pause: PAUSE_MIN,
            joined: false,
            company: None,
            alone: true,
            last_loss: None,
            patience: PATIENCE,
        }
    }

    /// How long a try may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn next_deadline(&self) -> Time {
        self.next
    }

    /// No join has succeeded yet: event positions and seniority are still open.
    pub(super) fn is_first(&self) -> bool {
        !self.joined
    }

    /// Tells whether others are there. A seed that everybody joined never asked anybody:
    /// when it does after a split, what was sent meanwhile is for it.
    pub(super) fn in_company(&mut self, now: Time, others: bool) {
        let since = *self.company.get_or_insert(now);
        self.joined |= others && now.since(since) >= MEMBER_AFTER;
        if !others {
            self.company = None;
        }
    }

    /// Keeps the address of a member that was lost.
    pub(super) fn remember(&mut self, now: Time, addr: SocketAddr) {
        self.last_loss = Some(now);
        self.recall(addr);
        self.next = self.next.min(now + LOOK_SOON);
    }

    /// Keeps an address as the most recently seen one.
    pub(super) fn recall(&mut self, addr: SocketAddr) {
        self.past.retain(|known| *known != addr);
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(addr);
        self.changes += 1;
    }

    /// Others are known from an earlier run: they are looked for as if just lost.
    pub(super) fn expect_others(&mut self, now: Time) {
        self.last_loss = Some(now);
    }

    /// Drops the address of a member that left of its own will, or was met.
    pub(super) fn let_go(&mut self, addr: SocketAddr) {
        let before = self.past.len();
        self.past.retain(|known| *known != addr);
        self.changes += u64::from(self.past.len() != before);
    }

    /// Addresses of past members, least recently seen first.
    pub(super) fn past(&self) -> Vec<SocketAddr> {
        self.past.iter().copied().collect()
    }

    /// Changes of the past members.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The next past members to dial while alone: all of them in turn, in an order
    /// that is new each time. `usable` tells who is worth it.
    fn next_turn(
        &mut self,
        now: Time,
        rng: &mut StdRng,
        usable: impl Fn(&&SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        if self.turn.is_empty() {
            self.turn = self.past.iter().filter(usable).copied().collect();
            self.turn.shuffle(rng);
        }
        let rest = self.turn.len().saturating_sub(PAST_AT_ONCE);
        let targets = self.turn.split_off(rest);
        if rest > 0 {
            self.next = self.next.min(now + PAST_PAUSE);
        }
        targets
    }
}

impl Engine {
    pub(super) fn tick_joining(&mut self, now: Now) {
        if now.at < self.joining.next {
            return;
        }
        let away = matches!(self.own.status, Status::Left | Status::Leaving);
        let alone = self.table.active().is_empty();
        let pause = if alone {
            self.joining.pause = (self.joining.pause * 2).min(self.own.config().retry_interval);
            self.joining.pause / 2
        } else {
            let fresh = self
                .joining
                .last_loss
                .is_some_and(|at| now.at.since(at) < LOSS_FRESH);
            if fresh { LOOK_SOON } else { LOOK_LATER }
        };
        self.joining.next = now.at + pause.mul_f64(self.rng.random_range(0.5..1.5));
        if !away {
            if alone && !self.joining.alone {
                self.joining.alone = true;
                self.joining.pause = PAUSE_MIN;
                self.note(Note::Alone);
            }
            self.outputs.push_back(Output::ResolveSeeds);
        }
    }

    /// Dials what the seeds resolve to, and some of those seen before.
    pub(super) fn on_seeds(&mut self, now: Now, addrs: &[SocketAddr]) {
        self.joining.seeds = addrs.iter().copied().take(SEEDS_MAX).collect();
        if matches!(self.own.status, Status::Left | Status::Leaving) {
            return;
        }
        let here = self.own.config().advertise;
        let live: Vec<_> = self
            .table
            .iter()
            .filter(|peer| peer.is_active())
            .map(|peer| peer.record.parsed().addr)
            .collect();
        let usable = |addr: &&SocketAddr| **addr != here && !live.contains(addr);
        let alone = live.is_empty();
        let seeds: Vec<_> = self.joining.seeds.iter().filter(usable).copied().collect();
        let targets: Vec<_> = if alone {
            let past = self.joining.next_turn(now.at, &mut self.rng, usable);
            seeds.into_iter().chain(past).collect()
        } else {
            let past: Vec<_> = self.joining.past.iter().filter(usable).copied().collect();
            let seed = seeds.choose(&mut self.rng).copied();
            seed.into_iter()
                .chain(past.choose(&mut self.rng).copied())
                .collect()
        };
        for addr in targets {
            if !self.exchanges.is_joining(addr) {
                self.compare(now, addr, true, None);
            }
        }
    }

    /// What a join try, or any state exchange, came to.
    pub(super) fn after_join_try(
        &mut self,
        now: Now,
        to: SocketAddr,
        (join, late): (bool, bool),
        outcome: Result<Arc<str>, String>,
    ) {
        let Ok(through) = outcome else {
            if join && late {
                self.joining.patience = (self.joining.patience * 2).min(EXCHANGE_TIMEOUT);
                if self.joining.alone {
                    self.joining.next = now.at;
                }
            }
            return;
        };
        self.joining.let_go(to);
        if !join {
            return;
        }
        self.joining.patience = PATIENCE;
        self.hurry(now);
        self.remembered.met_somebody(now.at);
        if self.joining.alone {
            self.joining.alone = false;
            self.joining.pause = PAUSE_MIN;
            self.joining.next = now.at + LOOK_SOON;
            self.note(Note::Joined { through });
        }
        self.joining.joined = true;
    }

    /// Sets this node's start time after those of members that have been up for
    /// longer, whatever its wall clock says: by the first state exchange, once.
    pub(super) fn take_seniority(&mut self, now: Now) {
        if std::mem::replace(&mut self.own.seniority_taken, true) {
            return;
        }
        let uptime = now.at.since(self.own.up_since);
        let active = self.table.iter().filter(|peer| peer.is_active());
        let newest = active
            .filter(|peer| peer.up_since.age(now.at) > uptime)
            .map(|peer| peer.record.parsed().started_unix_ms)
            .max();
        let said = self.own.started_unix_ms;
        let Some(newest) = newest.filter(|newest| *newest >= said) else {
            return;
        };
        // One above: the next joiner must not tie with this one.
        self.own.set_started(now, newest + 1);
        self.settle_own(now);
        self.broadcasts
            .push(crate::broadcast::Topic::Record(self.own.ident.hash));
        if self.own.clock_is_off() {
            self.note(Note::ClockDistrusted {
                said_unix_ms: said,
                used_unix_ms: self.own.started_unix_ms,
            });
        }
    }
}

/// The most recently seen addresses, each once, least recently seen first.
pub(super) fn newest(addrs: Vec<SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut seen = BTreeSet::new();
    let newest = addrs.into_iter().rev().filter(|addr| seen.insert(*addr));
    let newest: Vec<_> = newest.take(PAST_MAX).collect();
    newest.into_iter().rev()
}
