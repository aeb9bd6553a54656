//! foca's messages: what they tell goes to the table first.

use std::net::SocketAddr;

use crate::engine::Engine;
use crate::ident::{Ident, NodeRef};
use crate::member::StatusReason;
use crate::swim::message::Parts;
use crate::swim::{State, Update};
use crate::table::{Peer, Word};
use crate::time::Now;

impl Engine {
    /// Whether updates about a run can be understood.
    pub(in crate::engine) fn have_record(&self, node: NodeRef) -> bool {
        let known = self
            .table
            .get(node.hash)
            .is_some_and(|peer| peer.ident.boot >= node.boot);
        known || self.parked.records.contains_key(&node)
    }

    /// Applies what a message of foca tells, then lets foca react to it. foca itself is
    /// handed what was news here, and the message without its updates: what it may
    /// believe is decided in one place.
    pub(super) fn on_swim_message(&mut self, now: Now, from: SocketAddr, mut parts: Parts) {
        let source = parts.source.clone();
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        self.learn_update(now, &source, word);
        let Some(held) = self.table.run(source.id().node()) else {
            // No room for another member: foca must not have it either.
            return self.count("datagrams_dropped_no_room");
        };
        // foca tells an outdated or dead sender so, and listens to nothing else.
        let heard = held.ident == *source.id() && held.is_active();
        let updates = std::mem::take(&mut parts.updates);
        if heard {
            self.learn_told(now, from, &source, updates);
        }
        self.tell_swim(now, true);
        let held = self.table.run(source.id().node());
        let leaves = heard && !held.is_some_and(Peer::is_active);
        if leaves || (self.has_left() && parts.is_turn_undead()) {
            return;
        }
        self.swim.handle(now.at, &parts);
    }

    /// Takes in what a message tells of members.
    fn learn_told(
        &mut self,
        now: Now,
        from: SocketAddr,
        source: &Update<Ident>,
        updates: Vec<Update<Ident>>,
    ) {
        let word = Word {
            by: source.id().hash,
            reason: StatusReason::Learnt,
        };
        let (mut own, mut wants) = (Vec::new(), Vec::new());
        for mut update in updates {
            let id = *update.id();
            if id == *source.id() && update.state() == State::Down {
                // Who leaves says so at incarnation 0, whatever it has refuted before.
                let incarnation = source.incarnation().max(update.incarnation());
                update = Update::new(id, incarnation, State::Down);
            }
            if id == self.own.ident {
                own.push(update);
            } else if id.hash == self.own.ident.hash {
                self.on_own_name(now, id);
            } else if id != *source.id() && self.doubts(now, &update) {
                self.doubt(now, id, word.by);
            } else if self.have_record(id.node()) {
                self.learn_update(now, &update, word);
            } else if update.state() != State::Down {
                let (waiting, new) = self.parked.wait(now.at, id.node(), from);
                waiting.update = Some((update, word));
                if new {
                    wants.push(id.node());
                }
            }
        }
        if !wants.is_empty() {
            self.ask_for_records(now, (from, source.id().node()), &wants);
        }
        self.tell_swim(now, true);
        // Who has left stays dead.
        if !own.is_empty() && !self.has_left() {
            self.swim.apply(now.at, own, true);
        }
    }

    /// A member that is known says at which incarnation it lives: this ends a
    /// suspicion of an earlier one.
    pub(in crate::engine) fn on_sign_of_life(&mut self, now: Now, sender: Ident, incarnation: u32) {
        let incarnation = u16::try_from(incarnation).unwrap_or(u16::MAX);
        let held = self.table.run(sender.node());
        let alive = Update::new(sender, incarnation, State::Alive);
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        if held.is_some_and(Peer::is_active) {
            self.table.hear(now.at, sender.node());
            self.learn_update(now, &alive, word);
            self.tell_swim(now, true);
        }
    }

    /// Somebody suspects this node: it refutes. What it sends from now on must say so,
    /// also what leaves before foca's next message.
    pub(super) fn refute(&mut self, now: Now, incarnation: u16) {
        let accused = Update::new(self.own.ident, incarnation, State::Suspect);
        self.swim.apply(now.at, vec![accused], true);
        if incarnation >= self.own.incarnation {
            self.feel_worse();
        }
        if incarnation >= self.own.incarnation && incarnation < u16::MAX {
            self.own.incarnation = incarnation + 1;
        }
    }
}
