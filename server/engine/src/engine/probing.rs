//! What comes of a probe: the second path over TCP, and what an unanswered probe says
//! of this node itself.

use crate::api::{WatchFailure, WatchId};
use crate::health::Health;
use crate::history::Seen;
use crate::ident::Ident;
use crate::member::StatusReason;
use crate::suspicion::Evidence;
use crate::swim::{Ended, State, Update};
use crate::table::{Peer, Word};
use crate::time::{Now, Time};

use std::time::Duration;

use super::Engine;
use super::watching::Aim;

/// Who heard of nobody for this long judges nobody but in its own eyes: probes alone
/// bring an answer each second.
const HEARD_NOBODY: Duration = Duration::from_secs(3);

/// What this node's probes have shown.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) health: Health,
    /// When a member was last heard of, by whatever way.
    heard: Time,
    /// What connecting to the member said that did not answer the probe under way.
    missed: Option<(Ident, WatchFailure)>,
}

impl Probing {
    pub(super) fn new(now: Time) -> Self {
        Self {
            health: Health::default(),
            heard: now,
            missed: None,
        }
    }

    /// A member was heard of.
    pub(super) fn heard(&mut self, now: Time) {
        self.heard = now;
    }
}

impl Engine {
    /// A direct probe was not answered in time, or hardly will be: TCP may get through.
    pub(super) fn probe_by_tcp(&mut self, now: Now, subject: Ident, number: u8) {
        self.probing.missed = None;
        let Some(addr) = self
            .table
            .run(subject.node())
            .map(|peer| peer.record.parsed().addr)
        else {
            return;
        };
        self.count("probes_by_tcp");
        // Its outcome must be there when the probe ends.
        let within = self.swim.rest_of_probe() * 9 / 10;
        self.try_watch(now, addr, Aim::Probe(subject, number), within);
    }

    /// TCP got through: the member lives.
    pub(super) fn answered_by_tcp(
        &mut self,
        now: Now,
        id: WatchId,
        (subject, number): (Ident, u8),
        answer: &[u8],
    ) {
        self.unwatch(id);
        let Some((ident, hello)) = super::watching::understand(answer) else {
            return self.count("watch_answers_malformed");
        };
        if ident.node() != subject.node() {
            return;
        }
        self.count("probes_answered_by_tcp");
        self.saw(now, subject.hash, Seen::TcpAnswered);
        self.probing.heard(now.at);
        self.swim.answer_probe(now.at, subject, number);
        self.on_sign_of_life(now, ident, hello.incarnation);
        self.way_by_tcp(now, subject.hash);
        // Gossip may not have got through either.
        if hello.digest != self.digest(now) {
            self.sync_with(now, subject.node());
        }
    }

    /// TCP did not get through either; what that says is told with the accusation.
    pub(super) fn missed_by_tcp(&mut self, now: Now, subject: Ident, failure: WatchFailure) {
        self.saw(now, subject.hash, Seen::TcpFailed(failure));
        self.probing.missed = Some((subject, failure));
    }

    /// A probe is over.
    pub(super) fn probe_over(&mut self, now: Now, ended: &Ended) {
        // Members under suspicion are no witnesses.
        let missing = ended.missing.iter().copied();
        let missing: Vec<u64> = missing.filter(|helper| self.is_alive(*helper)).collect();
        if ended.answered {
            self.probing.health.better();
        } else if ended.blind {
            self.count("probes_blind");
            self.saw(now, ended.subject.hash, Seen::NothingHeard);
            match missing.first() {
                // Somebody else was heard meanwhile: it may be the helpers that are gone.
                Some(helper) if !self.hears_nobody(now) => self.probing.health.unheard(*helper),
                None if !ended.missing.is_empty() && !self.hears_nobody(now) => {}
                Some(_) | None => self.probing.health.worse(),
            }
            self.suspect_quietly(now, ended.subject);
        } else {
            let health = &mut self.probing.health;
            missing.iter().for_each(|helper| health.unheard(*helper));
        }
        self.adapt_to_health();
    }

    /// This node was accused, or stood still: it may be slow.
    pub(super) fn feel_worse(&mut self) {
        self.probing.health.worse();
        self.adapt_to_health();
    }

    /// A member's state changed: what speaks against this node may do so no longer, or
    /// again.
    pub(super) fn health_follows(&mut self, hash: u64) {
        if self.table.get(hash).is_some_and(|peer| !peer.is_active()) {
            self.probing.health.forgive(hash);
        }
        self.adapt_to_health();
    }

    fn is_alive(&self, hash: u64) -> bool {
        let held = self.table.get(hash);
        held.is_some_and(|peer| peer.state == State::Alive)
    }

    fn adapt_to_health(&mut self) {
        let table = &self.table;
        let alive = |peer: &Peer| peer.state == State::Alive;
        let health = &mut self.probing.health;
        health.settle(|hash| table.get(hash).is_some_and(alive));
        let score = health.score();
        self.swim.set_strain(score);
        self.suspicions.set_strain(score);
    }

    /// The evidence of this node's own probe that failed.
    pub(super) fn evidence_of_probe(&self, subject: Ident) -> Evidence {
        let missed = self.probing.missed.filter(|(of, _)| *of == subject);
        match missed.map(|(_, failure)| failure) {
            Some(WatchFailure::Refused | WatchFailure::Unreachable | WatchFailure::Silent) => {
                Evidence::NoHost
            }
            Some(
                WatchFailure::Unanswered
                | WatchFailure::Broken
                | WatchFailure::Rejected
                | WatchFailure::Local,
            )
            | None => Evidence::Probes,
        }
    }

    /// Whether this node heard nobody for a while: it may be deaf, and what it would
    /// say of others would be wrong.
    pub(super) fn hears_nobody(&self, now: Now) -> bool {
        now.at.since(self.probing.heard) > HEARD_NOBODY
    }

    /// Suspects a member in this node's own eyes alone.
    fn suspect_quietly(&mut self, now: Now, subject: Ident) {
        self.tell_swim(now, true);
        let held = self.table.get(subject.hash);
        let held = held.filter(|peer| peer.ident == subject && peer.state == State::Alive);
        let Some(incarnation) = held.map(|peer| peer.incarnation) else {
            return;
        };
        let word = Word {
            by: 0,
            reason: StatusReason::ProbeFailed,
        };
        let accused = Update::new(subject, incarnation, State::Suspect);
        self.learn_update(now, &accused, word);
        self.tell_swim(now, false);
        let me = self.own.ident.hash;
        self.suspicions
            .accuse(now.at, subject, incarnation, me, Evidence::Probes);
    }
}
