//! An operator's word that a failed member is gone for good.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use crate::broadcast::Topic;
use crate::ident::Ident;
use crate::member::StatusReason;
use crate::table::Word;
use crate::time::{Now, Time};
use crate::wire::Forced;

/// Forced leaves kept for members that are not yet held for dead here; more are
/// ignored and counted (state exchanges bring them).
const AHEAD_MAX: usize = 256;

/// How long they are kept: until the slowest suspicion has ended.
const AHEAD_KEPT: Duration = Duration::from_secs(30);

/// Forced leaves that came before this node saw the member fail.
#[derive(Debug, Default)]
pub(super) struct Forcing {
    ahead: BTreeMap<Ident, Ahead>,
}

#[derive(Debug, Clone, Copy)]
struct Ahead {
    since: Time,
    prune: bool,
    by: u64,
}

impl Forcing {
    /// Forced leaves that wait.
    pub(super) fn len(&self) -> usize {
        self.ahead.len()
    }
}

impl Engine {
    /// Somebody tells of an operator's word.
    pub(super) fn on_forced(&mut self, now: Now, forced: &Forced) {
        let Some(subject) = Ident::get(&forced.subject[..]) else {
            return self.count("forced_leaves_refused_malformed");
        };
        self.force_out(now, subject, forced.prune, forced.by);
    }

    /// Marks a failed member as left, or forgets it. One that lives is left alone, as
    /// it would come back at once; the word is kept for a while in case that this
    /// node is the last to see it fail.
    pub(super) fn force_out(&mut self, now: Now, subject: Ident, prune: bool, by: u64) {
        let Some(peer) = self.table.get(subject.hash) else {
            if self.forget_remembered(subject.hash) {
                self.broadcasts.push(Topic::Forced(subject, prune, by));
                self.upkeep.gossip_soon(now.at);
            }
            if prune && subject.hash != self.own.ident.hash {
                self.upkeep.remember_pruned(now.at, subject);
            }
            return;
        };
        if peer.ident != subject {
            return self.count("forced_leaves_ignored");
        }
        if peer.is_active() {
            return self.force_out_later(now, subject, prune, by);
        }
        let word = Word {
            by,
            reason: StatusReason::ForcedOut,
        };
        let news = self.table.set_left(now, subject.hash, word);
        if prune {
            self.broadcasts.push(Topic::Forced(subject, prune, by));
            self.upkeep.remember_pruned(now.at, subject);
            self.forget(now, subject.hash);
        } else if news {
            self.broadcasts.push(Topic::Forced(subject, prune, by));
            self.touch(now, subject.hash);
        }
        self.upkeep.gossip_soon(now.at);
    }

    fn force_out_later(&mut self, now: Now, subject: Ident, prune: bool, by: u64) {
        if self.forcing.len() >= AHEAD_MAX {
            return self.count("forced_leaves_ignored");
        }
        let since = now.at;
        self.forcing
            .ahead
            .entry(subject)
            .or_insert(Ahead { since, prune, by })
            .prune |= prune;
    }

    /// Carries out what came too early.
    pub(super) fn settle_forced(&mut self, now: Now) {
        let table = &self.table;
        let due = |ident: &Ident| {
            let peer = table.get(ident.hash).filter(|peer| peer.ident == *ident);
            peer.is_some_and(|peer| !peer.is_active())
        };
        let ahead = &mut self.forcing.ahead;
        ahead.retain(|_, word| now.at.since(word.since) < AHEAD_KEPT);
        let due: Vec<_> = ahead
            .iter()
            .filter(|(ident, _)| due(ident))
            .map(|(ident, word)| (*ident, *word))
            .collect();
        for (subject, word) in due {
            self.forcing.ahead.remove(&subject);
            self.force_out(now, subject, word.prune, word.by);
        }
    }
}
