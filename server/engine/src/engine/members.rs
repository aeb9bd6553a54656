//! What an update about a member does, wherever it came from.

use super::Engine;
use super::datagrams::Extra;
use super::naming::other_claimant;
use crate::api::Output;
use crate::broadcast::Topic;
use crate::history::Seen;
use crate::ident::{BOOT_MAX, Ident, NodeRef};
use crate::member::StatusReason;
use crate::record::{Record, RecordError, owner_of_delta};
use crate::suspicion::Evidence;
use crate::swim::{State, Update};
use crate::table::Word;
use crate::time::Now;
use crate::wire::{Accusation, RecordDelta};

impl Engine {
    /// Applies an update to the table, with everything that follows from it. Says
    /// whether it was news; foca is told by the next [`Engine::tell_swim`]. The record
    /// of its run must be at hand ([`Engine::have_record`]).
    pub(super) fn learn_update(&mut self, now: Now, update: &Update<Ident>, word: Word) -> bool {
        let id = *update.id();
        if id.hash == self.own.ident.hash || !self.table.is_news(update) {
            return false;
        }
        if update.state() != State::Alive && self.upkeep.is_pruned(id) {
            // News of its death still travel when it was told to be forgotten.
            return false;
        }
        let word = self.settle_word(update, word);
        let same_run = self.table.run(id.node()).is_some();
        if same_run {
            self.table.apply(now, update, word);
        } else {
            let Some(record) = self.parked.take_record(id.node()) else {
                return false;
            };
            if let Some(old) = self.table.get(id.hash) {
                let run = old.ident.node();
                self.events.member_down(now, run);
            }
            if !self.table.insert(now, update, record, word) {
                return false;
            }
            if update.state() != State::Down {
                self.events.member_up(now, id.node());
            }
            self.forget_coordinate(id.hash);
            self.broadcasts.push(Topic::Record(id.hash));
            self.note_conflict_won(id.hash);
        }
        self.news.push(update.clone());
        self.after_change(now, id);
        true
    }

    /// Tells foca what the table learnt, and nothing else: this is how the two stay
    /// in step. `spread` lets foca pass it on.
    pub(super) fn tell_swim(&mut self, now: Now, spread: bool) {
        if !self.news.is_empty() {
            let news = std::mem::take(&mut self.news);
            self.swim.apply(now.at, news, spread);
        }
    }

    /// What every change of a member's state brings with it.
    fn after_change(&mut self, now: Now, id: Ident) {
        self.touch(now, id.hash);
        self.swim.resize(self.table.active().len());
        self.upkeep.gossip_soon(now.at);
        self.health_follows(id.hash);
        let Some(peer) = self.table.get(id.hash) else {
            return;
        };
        match peer.state {
            State::Suspect => {
                // Accusers are named by accusations, not by whoever passes them on.
                let nobody = Evidence::default();
                self.suspicions
                    .accuse(now.at, id, peer.incarnation, 0, nobody);
            }
            State::Alive => {
                self.suspicions.close(id.hash);
                if self.history.knows(id.hash) {
                    let reason = peer.why();
                    self.saw(now, id.hash, Seen::Back(reason));
                }
            }
            State::Down => {
                let (addr, left) = (peer.record.parsed().addr, peer.left);
                let (by, reason) = (peer.by, peer.why());
                self.history.note(now, id.hash, by, Seen::Dead(reason));
                if left {
                    // Whoever hears of the end must not miss that it was a leave.
                    self.broadcasts.push(Topic::Record(id.hash));
                }
                self.suspicions.close(id.hash);
                self.events.member_down(now, id.node());
                if left {
                    self.joining.let_go(addr);
                } else {
                    self.joining.remember(now.at, addr);
                    self.upkeep.gossip_at_once(now.at);
                }
            }
        }
    }

    /// Who and why, as people shall read it. That somebody is alive, leaves or has
    /// left is its own word, whoever passes it on; that somebody is dead is the word
    /// of the first accuser.
    fn settle_word(&self, update: &Update<Ident>, word: Word) -> Word {
        let hearsay = word.reason == StatusReason::Learnt;
        let reason = self.reason(update, word);
        let by = match update.state() {
            State::Alive => 0,
            State::Suspect if hearsay => 0,
            State::Suspect => word.by,
            State::Down => {
                let known = self.table.get(update.id().hash);
                let said_so = known.is_some_and(|peer| peer.record.parsed().leaving);
                let accuser = self.suspicions.first_accuser(*update.id());
                match accuser.filter(|_| hearsay) {
                    _ if said_so => 0,
                    Some(accuser) => accuser,
                    None => word.by,
                }
            }
        };
        Word { by, reason }
    }

    fn reason(&self, update: &Update<Ident>, word: Word) -> StatusReason {
        let known = self.table.get(update.id().hash);
        match update.state() {
            State::Alive => match known {
                None => StatusReason::Joined,
                Some(peer) if peer.ident.boot < update.id().boot => StatusReason::Restarted,
                Some(peer) if peer.left => StatusReason::Joined,
                Some(peer) if peer.state != State::Alive => StatusReason::Refuted,
                Some(_) => word.reason,
            },
            State::Suspect if word.reason == StatusReason::StreamLost => word.reason,
            State::Suspect => StatusReason::ProbeFailed,
            State::Down => match known {
                Some(peer) if peer.record.parsed().leaving => StatusReason::Left,
                _ if word.reason == StatusReason::Learnt => self.suspicions.reason(*update.id()),
                _ => word.reason,
            },
        }
    }

    /// Takes a record that came with a word on whether its owner lives.
    pub(super) fn merge_told_record(&mut self, now: Now, delta: &RecordDelta, live: bool) -> bool {
        if delta.hash != self.own.ident.hash {
            return self.merge_record(now, delta);
        }
        if delta.boot <= BOOT_MAX {
            self.on_own_record(now, delta, live);
        }
        false
    }

    /// Takes entries of a record: into the table if the run is known, else aside.
    pub(super) fn merge_record(&mut self, now: Now, delta: &RecordDelta) -> bool {
        let node = NodeRef {
            hash: delta.hash,
            boot: delta.boot,
        };
        if node.boot > BOOT_MAX {
            return false;
        }
        if node.hash == self.own.ident.hash {
            self.on_own_record(now, delta, true);
            return false;
        }
        let outcome = match self.table.get(node.hash) {
            Some(peer) if peer.ident.boot > node.boot => return false,
            Some(peer) if peer.ident.boot == node.boot => {
                if let Some(claimant) = other_claimant(delta, peer) {
                    return self.on_equal_claim(now, delta, claimant);
                }
                self.merge_known(now, node, delta)
            }
            _ if !delta.entries.is_empty() && owner_of_delta(delta).is_none() => {
                // What changed, of somebody who is not known: an exchange brings the rest.
                self.count("records_refused_partial");
                return false;
            }
            _ => Record::new(now.at, delta).map(|record| {
                self.parked.keep_record(now.at, record);
                true
            }),
        };
        outcome.unwrap_or_else(|error| {
            self.count(match error {
                RecordError::Malformed => "records_refused_malformed",
                RecordError::Grammar => "records_refused_grammar",
                RecordError::TooLarge => "records_refused_too_large",
            });
            false
        })
    }

    /// Takes entries of a run that the table has. Says whether there were news.
    fn merge_known(
        &mut self,
        now: Now,
        node: NodeRef,
        delta: &RecordDelta,
    ) -> Result<bool, RecordError> {
        let grows = delta.entries.iter().map(bytes::Bytes::len).sum();
        if !self.table.has_room_for(grows) {
            self.count("records_refused_no_room");
            return Ok(false);
        }
        let word = Word {
            by: 0,
            reason: StatusReason::LeaveIntent,
        };
        let merged = self.table.with_record(now, node.hash, word, |record| {
            let before = record.version();
            record.merge(now.at, delta).map(|merged| (before, merged))
        });
        let Some(merged) = merged else {
            return Ok(false);
        };
        let (before, merged) = merged?;
        if merged.entries {
            self.broadcasts.push_since(node.hash, before);
            self.spread_soon(now, merged.member);
        }
        if merged.is_news() {
            self.touch(now, node.hash);
        }
        Ok(merged.is_news())
    }

    /// Spreads changes of records: what everybody acts on does not wait long.
    pub(super) fn spread_soon(&mut self, now: Now, urgent: bool) {
        if urgent {
            self.upkeep.gossip_at_once(now.at);
        } else {
            self.upkeep.gossip_soon(now.at);
        }
    }

    /// What this node itself saw of a member.
    pub(super) fn accuse(
        &mut self,
        now: Now,
        subject: Ident,
        incarnation: u16,
        evidence: Evidence,
    ) {
        let accused = Update::new(subject, incarnation, State::Suspect);
        let word = Word {
            by: 0,
            reason: evidence.suspected(),
        };
        self.learn_update(now, &accused, word);
        let me = self.own.ident.hash;
        self.spread_accusation(now, subject, incarnation, (me, evidence));
    }

    /// Somebody else's word that a member does not answer.
    pub(super) fn on_accusation(&mut self, now: Now, accusation: &Accusation) {
        let (Some(subject), Ok(incarnation)) = (
            Ident::get(&accusation.subject[..]),
            u16::try_from(accusation.incarnation),
        ) else {
            return self.count("accusations_refused_malformed");
        };
        let accused = Update::new(subject, incarnation, State::Suspect);
        if subject == self.own.ident {
            return self.swim.apply(now.at, vec![accused], true);
        }
        let stale = self.table.get(subject.hash).is_none_or(|peer| {
            peer.ident != subject || !peer.is_active() || peer.incarnation > incarnation
        });
        if stale {
            return;
        }
        let evidence = Evidence::from_number(accusation.evidence);
        let word = Word {
            by: accusation.accuser,
            reason: evidence.suspected(),
        };
        self.learn_update(now, &accused, word);
        self.tell_swim(now, false);
        self.spread_accusation(now, subject, incarnation, (accusation.accuser, evidence));
    }

    fn spread_accusation(
        &mut self,
        now: Now,
        subject: Ident,
        incarnation: u16,
        (accuser, evidence): (u64, Evidence),
    ) {
        let suspected = self
            .table
            .get(subject.hash)
            .is_some_and(|peer| peer.state == State::Suspect && peer.ident == subject);
        let topic = Topic::Accusation(subject, incarnation, accuser, evidence);
        let news = self
            .suspicions
            .accuse(now.at, subject, incarnation, accuser, evidence);
        if news {
            let seen = Seen::Accused(evidence);
            self.history.note(now, subject.hash, accuser, seen);
        }
        let me = self.own.ident.hash;
        if news && accuser != me && self.suspicions.first_accuser(subject) == Some(accuser) {
            self.table.name_accuser(subject.hash, accuser);
            self.touch(now, subject.hash);
        }
        if suspected && (news || accuser == me) {
            self.broadcasts.push(topic);
            if evidence.is_word() {
                self.upkeep.gossip_at_once(now.at);
            } else {
                self.upkeep.gossip_soon(now.at);
            }
        }
    }

    /// Declares those dead that did not refute in time.
    pub(super) fn judge(&mut self, now: Now) {
        self.settle_forced(now);
        let members = self.table.active().len() + 1;
        for verdict in self.suspicions.due(now.at, members) {
            let dead = Update::new(verdict.subject, verdict.incarnation, State::Down);
            let suspected = self.table.get(verdict.subject.hash).is_some_and(|peer| {
                peer.ident == verdict.subject
                    && peer.state == State::Suspect
                    && peer.incarnation == verdict.incarnation
            });
            if !suspected {
                continue;
            }
            let word = Word {
                by: verdict.accuser,
                reason: verdict.reason,
            };
            self.tell_swim(now, true);
            if !self.learn_update(now, &dead, word) {
                continue;
            }
            if self.hears_nobody(now) {
                // In its own eyes alone: it may be this node that is cut off or deaf.
                self.tell_swim(now, false);
                self.count("members_declared_failed_quietly");
                self.saw(now, verdict.subject.hash, Seen::JudgedQuietly);
            } else {
                self.tell_swim(now, true);
                self.count("members_declared_failed");
                self.saw(now, verdict.subject.hash, Seen::Judged);
                self.tell_undead(now, verdict.subject);
            }
        }
    }

    /// A courtesy to a member that is held for dead here: if it lives it takes a
    /// new life.
    pub(super) fn tell_undead(&mut self, now: Now, subject: Ident) {
        let extra = Extra {
            undead: Some(subject),
            ..Extra::default()
        };
        self.transmit(now, subject.node(), extra);
    }

    /// Forgets a dead member.
    pub(super) fn forget(&mut self, now: Now, hash: u64) {
        self.tell_swim(now, true);
        self.forget_coordinate(hash);
        self.forget_way(hash);
        self.history.forget(hash);
        if let Some((peer, key)) = self.table.remove(hash) {
            self.swim.forget(peer.ident);
            self.touched.remove(&hash);
            self.outputs.extend(key.map(Output::MemberRemoved));
        }
    }
}
