//! Believing what a peer holds: like gossip, with one exception: that somebody who
//! is held for alive is dead is believed unless it answers.

use std::time::Duration;

use super::super::Engine;
use super::super::upkeep::BULK_ABOVE;
use crate::broadcast::Topic;
use crate::ident::Ident;
use crate::member::StatusReason;
use crate::swim::{State, Update};
use crate::table::Word;
use crate::time::Now;
use crate::wire::{MEMBERS_PER_EXCHANGE_MAX, MemberState};

/// News of one exchange are gossiped on up to this many, unless gossip is behind; others
/// spread by exchange. In a cold start each exchange brings a little, and together they
/// would be gossiped, and exchanges go on, for a minute after everybody has them.
const SPREAD_MAX: usize = 64;

/// Above this many news in one exchange more exchanges follow soon.
const MANY_NEWS: usize = 8;

impl Engine {
    /// Takes in what a peer holds. Says how much of it was news.
    pub(in crate::engine) fn learn_states<'a>(
        &mut self,
        now: Now,
        from: Ident,
        states: impl Iterator<Item = &'a MemberState>,
    ) -> usize {
        self.tell_swim(now, true);
        for state in states.take(MEMBERS_PER_EXCHANGE_MAX) {
            let Some(ident) = Ident::get(&state.ident[..]) else {
                self.count("states_refused_malformed");
                continue;
            };
            if let Some(record) = &state.record {
                self.merge_told_record(now, record, state.state < 2);
            }
            self.learn_state(now, from, ident, state);
        }
        let news = self.news.len();
        let spread = news <= SPREAD_MAX && self.swim.backlog() <= BULK_ABOVE;
        if !spread {
            let topics = self.news.iter();
            let topics = topics.map(|update| Topic::Record(update.id().hash));
            topics.for_each(|topic| self.broadcasts.remove(topic));
        }
        if news > MANY_NEWS {
            self.hurry(now);
        }
        self.tell_swim(now, spread);
        news
    }

    fn learn_state(&mut self, now: Now, from: Ident, ident: Ident, state: &MemberState) {
        let incarnation = u16::try_from(state.incarnation).unwrap_or(u16::MAX);
        let dead = state.state >= 2;
        if ident.hash == self.own.ident.hash {
            if ident == self.own.ident && dead && !self.has_left() {
                let down = Update::new(ident, incarnation, State::Down);
                self.swim.apply(now.at, vec![down], true);
            } else if ident.beats(self.own.ident) && !dead {
                self.on_own_name(now, ident);
            }
            return;
        }
        if !self.have_record(ident.node()) {
            return;
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
        self.learn_update(now, &update, word);
        self.table
            .backdate(now, ident.hash, Duration::from_millis(state.uptime_ms), age);
    }

    /// That somebody is dead: doubted of members that are held for alive.
    fn learn_dead(
        &mut self,
        now: Now,
        from: Ident,
        ident: Ident,
        state: &MemberState,
        age: Duration,
    ) {
        let left = state.state == 3;
        let reap = if left {
            self.own.config().reap_left
        } else {
            self.own.config().reap_failed
        };
        let held = self.table.get(ident.hash);
        let alive = held.is_some_and(|peer| peer.ident == ident && peer.is_active());
        let says_so = held.is_some_and(|peer| peer.record.parsed().leaving);
        if alive && !(left && says_so) && self.doubtful(ident).is_some() {
            return self.doubt(now, ident, from.hash);
        }
        if age >= reap || self.upkeep.is_pruned(ident) {
            return;
        }
        let incarnation = u16::try_from(state.incarnation).unwrap_or(u16::MAX);
        let update = Update::new(ident, incarnation, State::Down);
        let by = if state.by == 0 { from.hash } else { state.by };
        let reason = if left {
            StatusReason::Left
        } else {
            StatusReason::SuspicionExpired
        };
        self.learn_update(now, &update, Word { by, reason });
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
    }
}
