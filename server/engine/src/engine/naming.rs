//! Whose a name is: boots, lives, and two live nodes under one name.
//!
//! The higher (boot, instance) keeps a name. Whoever is told of a higher boot of its
//! own name asks itself whether that is an earlier self (it has this node's address,
//! or is dead): then it raises its boot above it. Otherwise it is a live process that
//! has taken the name, and this node goes on under a hash of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Engine;
use crate::api::Note;
use crate::broadcast::Topic;
use crate::ident::{BOOT_MAX, Ident, NodeRef};
use crate::member::Status;
use crate::record::{Record, owner_of_delta};
use crate::swim::{State, Update};
use crate::table::{Peer, Word};
use crate::time::Now;
use crate::wire::RecordDelta;

/// Raises of the boot in one run of the process. An earlier self needs one; a live
/// process at the same address would go on for ever, and gets the name at the bound.
const RAISES_MAX: u32 = 8;

/// Who else claims a name under a boot that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant {
    instance: u64,
    addr: SocketAddr,
}

impl Engine {
    /// Somebody speaks of this node's name under another run.
    pub(super) fn on_own_name(&mut self, now: Now, claim: Ident) {
        let me = self.own.ident;
        if claim.boot > BOOT_MAX || !claim.beats(me) || self.own.status == Status::Left {
            return self.count("own_name_claims_outdated");
        }
        if claim.boot == me.boot {
            // A later life of this run, from before somebody forgot it.
            return self.take_life(now, claim);
        }
        // A newer boot: its record decides, and comes first or by the next exchange.
        self.count("own_name_claims_unproven");
    }

    /// A record under this node's name that is not its own; `live` unless it came
    /// with the word that its owner is dead.
    pub(super) fn on_own_record(&mut self, now: Now, delta: &RecordDelta, live: bool) {
        let Ok(record) = Record::new(now.at, delta) else {
            return self.count("records_refused_malformed");
        };
        let theirs = (record.owner().boot, record.parsed().instance);
        let ours = (self.own.ident.boot, self.own.instance);
        if theirs <= ours || self.own.status == Status::Left {
            return;
        }
        let addr = record.parsed().addr;
        let earlier_self = !live || addr == self.own.config().advertise;
        if earlier_self && self.own.raises < RAISES_MAX {
            return self.raise_boot(now, theirs.0.saturating_add(1));
        }
        self.lose_name(now, addr);
        self.parked.keep_record(now.at, record);
    }

    /// A member that was asked to take this node in has seen its name under
    /// `floor`. Only a node that nobody knows yet starts anew above it: one that is
    /// known learns from the record whether an earlier self or a live process is
    /// meant. Says whether the boot was raised.
    pub(super) fn on_boot_floor(&mut self, now: Now, floor: u64) -> bool {
        if self.table.len() > 0 || self.own.raises >= RAISES_MAX {
            self.count("boot_floors_ignored");
            return false;
        }
        let before = self.own.ident.boot;
        self.raise_boot(now, floor.saturating_add(1));
        self.own.ident.boot > before
    }

    /// Starts anew above every boot that peers have seen of this name.
    pub(super) fn raise_boot(&mut self, now: Now, boot: u64) {
        if boot <= self.own.ident.boot || boot > BOOT_MAX {
            return self.count("own_name_claims_outdated");
        }
        self.own.raises += 1;
        self.restart_as(now, boot, self.own.in_conflict());
        self.note(Note::BootRaised { boot });
    }

    /// Goes on in the life after `last`, or under the next boot once lives are used up.
    pub(super) fn take_life(&mut self, now: Now, last: Ident) {
        let Some(next) = last.next_life() else {
            return self.raise_boot(now, last.boot + 1);
        };
        self.own.ident = next;
        self.own.incarnation = 0;
        self.swim.become_ident(now.at, next);
        self.settle_own(now);
        self.upkeep.gossip_soon(now.at);
    }

    /// Goes on without the name.
    fn lose_name(&mut self, now: Now, other: SocketAddr) {
        if self.own.in_conflict() {
            return;
        }
        // A boot of its own: events of the two must not meet under (name, boot).
        let apart = 1 + self.own.instance % 1_024;
        let boot = self.own.ident.boot + apart;
        // Others may have spoken of the loser before it knew of its loss.
        let spoken_of = self.disown(now, self.own.conflict_hash());
        let boot = boot.max(spoken_of.map_or(0, |ident| ident.boot + 1));
        let boot = boot.min(BOOT_MAX);
        self.own.former = Some(self.own.ident);
        self.restart_as(now, boot, true);
        self.note(Note::ConflictLost { other });
    }

    /// Forgets the member under a hash that becomes this node's own.
    fn disown(&mut self, now: Now, hash: u64) -> Option<Ident> {
        let peer = self.table.get(hash)?;
        let (ident, incarnation) = (peer.ident, peer.incarnation);
        self.tell_swim(now, true);
        // foca forgets only the dead.
        let dead = Update::new(ident, incarnation, State::Down);
        self.swim.apply(now.at, vec![dead], false);
        self.suspicions.close(hash);
        self.events.member_down(now, ident.node());
        self.forget(now, hash);
        Some(ident)
    }

    fn restart_as(&mut self, now: Now, boot: u64, conflict: bool) {
        self.settle.set(now.at, self.own.ident.hash, None);
        self.own.restart_as(now, boot, conflict);
        self.swim.become_ident(now.at, self.own.ident);
        self.events.boot_raised(self.own.ident.node());
        self.broadcasts.push(Topic::Record(self.own.ident.hash));
        self.settle_own(now);
        self.upkeep.gossip_soon(now.at);
    }

    /// Two processes claim one name and one boot, and both are somebody else: the
    /// higher instance is believed, the other one is told so. Says whether the
    /// record was taken.
    pub(super) fn on_equal_claim(
        &mut self,
        now: Now,
        delta: &RecordDelta,
        claimant: Claimant,
    ) -> bool {
        let Some(peer) = self.table.get(delta.hash) else {
            return false;
        };
        let (ident, held) = (peer.ident, peer.record.parsed());
        let (held_addr, wins) = (held.addr, claimant.instance > held.instance);
        self.count("name_claims_of_equal_boot");
        if !wins {
            self.answer_outdated(now, claimant.addr, ident);
            return false;
        }
        let Ok(record) = Record::new(now.at, delta) else {
            self.count("records_refused_malformed");
            return false;
        };
        let word = Word {
            by: 0,
            reason: crate::member::StatusReason::Learnt,
        };
        self.table
            .with_record(now, ident.hash, word, |held| *held = record);
        self.broadcasts.push(Topic::Record(ident.hash));
        self.touch(now, ident.hash);
        self.upkeep.gossip_soon(now.at);
        self.answer_outdated(now, held_addr, ident);
        true
    }

    /// Live members that lost this node's name to it, by alias.
    pub(super) fn losers_of_own_name(&self) -> impl Iterator<Item = Arc<str>> {
        let name = self.own.config().name.as_str();
        let held = !self.own.in_conflict();
        let live = self.table.iter().filter(|peer| peer.is_active());
        live.map(|peer| peer.record.parsed())
            .filter(move |said| held && said.conflict && said.name == name)
            .map(crate::table::alias)
    }

    /// Says once per loser that somebody lost this node's name to it.
    pub(super) fn note_conflict_won(&mut self, hash: u64) {
        let Some(peer) = self.table.get(hash) else {
            return;
        };
        let said = peer.record.parsed();
        if said.conflict && said.name == self.own.config().name && !self.own.in_conflict() {
            let other = said.addr;
            self.note(Note::ConflictWon { other });
        }
    }
}

/// The process that a delta of a held run speaks of, if it is another one than the
/// table has.
pub(super) fn other_claimant(delta: &RecordDelta, peer: &Peer) -> Option<Claimant> {
    let owner = NodeRef {
        hash: delta.hash,
        boot: delta.boot,
    };
    let (instance, addr) = owner_of_delta(delta)?;
    let other = peer.ident.node() == owner && instance != peer.record.parsed().instance;
    other.then_some(Claimant { instance, addr })
}
