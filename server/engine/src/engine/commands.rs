//! What operators and clients ask of this node.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Engine;
use rand::seq::IndexedRandom as _;

use crate::api::{EngineError, Output};
use crate::event::{Accepted, EventDraft, EventError};
use crate::health::SCORE_MAX;
use crate::history::{self, Explanation, Observation};
use crate::ident::name_hash;
use crate::member::Status;
use crate::own::OwnUpdate;
use crate::time::Now;

impl Engine {
    /// Contacts addresses once, also after a leave that is finished; one
    /// [`Output::JoinResult`] comes for each.
    pub fn join(&mut self, now: Now, attempt: u64, addrs: &[SocketAddr]) {
        self.come_back(now);
        for addr in addrs {
            if self.leaving.is_some() {
                let result = Err(EngineError::Leaving.to_string());
                let addr = *addr;
                self.outputs.push_back(Output::JoinResult {
                    attempt,
                    addr,
                    result,
                });
                continue;
            }
            self.compare(now, *addr, true, Some(attempt));
        }
        self.finish(now);
    }

    /// Turns a failed member into a left one, everywhere; `prune` forgets it at once.
    ///
    /// # Errors
    /// Unknown members, and live ones: they would come back at once (serf leaves
    /// them `leaving` for good).
    pub fn force_leave(&mut self, now: Now, name: &str, prune: bool) -> Result<(), EngineError> {
        if name == &**self.own.shown().display_name() {
            return Err(EngineError::MemberLive(name.to_owned(), self.own.status));
        }
        let subject = match self.table.find(name) {
            Some(peer) if peer.is_active() => {
                return Err(EngineError::MemberLive(name.to_owned(), peer.status()));
            }
            Some(peer) => peer.ident,
            None => self
                .find_remembered(name)
                .ok_or_else(|| EngineError::UnknownMember(name.to_owned()))?,
        };
        let by = self.own.ident.hash;
        self.force_out(now, subject, prune, by);
        // Digests leave dead members out: an exchange makes up for lost gossip.
        if let Some(node) = self.table.active().choose(&mut self.rng).copied() {
            self.sync_with(now, node);
        }
        self.finish(now);
        Ok(())
    }

    /// Sets and removes tags of this node.
    ///
    /// # Errors
    /// Bad tags, or more of them than a record may hold.
    pub fn update_tags(
        &mut self,
        now: Now,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), EngineError> {
        let before = self.own.record.version();
        self.own.update_tags(now, set, remove)?;
        self.spread_own(now, before, false);
        self.finish(now);
        Ok(())
    }

    /// Changes what this node says of itself at run time: roles of containers, published
    /// ports, published values. All of it at once, or nothing.
    ///
    /// # Errors
    /// What cannot be, or is more than a record may hold.
    pub fn update_own(&mut self, now: Now, update: OwnUpdate) -> Result<(), EngineError> {
        let urgent = update.roles.is_some();
        let before = self.own.record.version();
        if self.own.update(now, update)? {
            self.spread_own(now, before, urgent);
            self.finish(now);
        }
        Ok(())
    }

    fn spread_own(&mut self, now: Now, before: u64, urgent: bool) {
        self.settle_own(now);
        self.broadcasts.push_since(self.own.ident.hash, before);
        self.spread_soon(now, urgent);
    }

    /// Sends an event from this node.
    ///
    /// # Errors
    /// Bad drafts, a leaving node, or [`EventError::Full`] while the window of
    /// unacknowledged events is full.
    pub fn send_event(&mut self, now: Now, draft: EventDraft) -> Result<Accepted, EventError> {
        if matches!(self.own.status, Status::Leaving | Status::Left) {
            return Err(EventError::Leaving);
        }
        let accepted = self.events.publish(now, draft, &self.table)?;
        self.finish(now);
        Ok(accepted)
    }

    /// Protocol version spoken now: the highest that every live member understands,
    /// as far as this node does.
    #[must_use]
    pub fn protocol(&self) -> u32 {
        let live = self.table.iter().filter(|peer| peer.is_active());
        let lowest = live.map(|peer| peer.record.parsed().protocol.1).min();
        let (min, max) = self.own.config().limits.protocol;
        lowest.unwrap_or(max).clamp(min, max)
    }

    /// Live members that share no protocol version with this node.
    fn strangers(&self) -> impl Iterator<Item = (&str, (u32, u32))> {
        let live = self.table.iter().filter(|peer| peer.is_active());
        let (min, max) = self.own.config().limits.protocol;
        live.map(|peer| peer.record.parsed())
            .filter(move |said| said.protocol.0 > max || said.protocol.1 < min)
            .map(|said| (said.name.as_str(), said.protocol))
    }

    /// Every counter and gauge, sorted by name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let gauge = |n: usize| n as u64;
        let mut all: Vec<(&'static str, u64)> = self
            .counters
            .iter()
            .map(|(name, value)| (*name, *value))
            .collect();
        all.extend([
            ("members_known", gauge(self.table.len()) + 1),
            ("members_active", gauge(self.table.active().len()) + 1),
            ("members_refused", self.table.refused()),
            ("members_not_met", gauge(self.remembered.len())),
            ("protocol", u64::from(self.protocol())),
            ("suspicions_open", gauge(self.suspicions.len())),
            ("swim_backlog", gauge(self.swim.backlog())),
            ("swim_errors", self.swim.errors()),
            ("broadcast_backlog", gauge(self.broadcasts.len())),
            ("broadcast_overflows", self.broadcasts.overflows()),
            ("parked", gauge(self.parked.len())),
            ("coordinates_known", gauge(self.coordinates.known())),
            ("coordinates_reset", self.coordinates.resets()),
            ("exchanges_pending", gauge(self.exchanges.pending.len())),
            ("watch_streams_open", gauge(self.watching.open())),
            ("health_score", u64::from(self.probing.health.score())),
            ("members_by_tcp", gauge(self.members_by_tcp())),
            ("replay_senders", gauge(self.sealer.senders())),
        ]);
        self.events.counters(&mut all);
        all.sort_unstable();
        all
    }

    /// Why a member is shown as it is, by name or alias; `None` if nobody is called so.
    #[must_use]
    pub fn explain(&self, name: &str) -> Option<Explanation> {
        let member = self
            .members()
            .find(|member| **member.display_name() == *name)?;
        let hash = match self.table.find(name) {
            Some(peer) => peer.ident.hash,
            None => name_hash(name),
        };
        let (seen, omitted) = self.history.of(hash);
        let me = self.own.ident.hash;
        let observations = seen.map(|(at_unix_ms, by, seen)| Observation {
            at_unix_ms,
            by: (by != 0 && by != me)
                .then(|| self.table.name_of(by))
                .flatten(),
            text: seen.text(),
        });
        Some(Explanation {
            observations: observations.collect(),
            omitted,
            advice: history::advice(&member),
            member,
        })
    }

    /// What an operator should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.own.in_conflict() {
            let shown = self.own.shown();
            warnings.push(format!(
                "conflict: another live node is called {} and keeps the name; this one is shown \
                 as {}: rename and restart it",
                shown.name,
                shown.display_name(),
            ));
        }
        warnings.extend(self.losers_of_own_name().map(|loser| {
            format!(
                "conflict: another live node is called {} too and is shown as {loser}: rename it",
                self.own.config().name,
            )
        }));
        if self.has_left() {
            warnings.push("left: this node has left its cluster until it joins again".to_owned());
        }
        warnings.extend(self.plaintext_warning().map(str::to_owned));
        if self.probing.health.is_degraded() {
            warnings.push(format!(
                "degraded: this node hears others badly or stands still now and then (health \
                 score {} of {SCORE_MAX}): look at its network and its load",
                self.probing.health.score(),
            ));
        }
        if self.own.clock_is_off() {
            warnings
                .push("clock: this node's wall clock is behind that of older members".to_owned());
        }
        warnings.extend(self.strangers().map(|(name, (min, max))| {
            format!(
                "protocol: {name} speaks only versions {min} to {max}, which this node does not"
            )
        }));
        warnings
    }
}
