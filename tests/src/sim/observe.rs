//! What engines say: carried out, written down and checked.

use std::sync::Arc;

use muster_engine::{Member, MemberKey, Note, Output, Published, Status};

use crate::sim::cluster::{Next, Sim};
use crate::sim::invariants;
use crate::sim::machine::Machine;
use crate::sim::node::State;
use crate::sim::record::Change;

/// How long a name lookup takes at most, microseconds.
const DNS_US: u64 = 5_000;

impl<M: Machine> Sim<M> {
    pub(crate) fn take_output(&mut self, slot: usize, output: Output) {
        match output {
            Output::Transmit { to, bytes } => {
                self.nodes[slot].run.sends += 1;
                self.transmit(slot, to, bytes);
            }
            Output::Carry { to, bytes } => {
                self.nodes[slot].run.sends += 1;
                self.carry_datagram(slot, to, bytes);
            }
            Output::Request {
                id,
                to,
                kind,
                body,
                timeout,
            } => {
                self.nodes[slot].run.sends += 1;
                self.begin_exchange(slot, id, to, kind, body, timeout);
            }
            Output::Respond { id, body } => self.respond(slot, id, body),
            Output::Watch {
                id,
                to,
                hello,
                within,
            } => {
                self.nodes[slot].run.sends += 1;
                self.begin_watch(slot, id, to, hello, within);
            }
            Output::Unwatch { id } => self.end_watch(slot, id),
            Output::ResolveSeeds => {
                let at = self.now + self.rng.below(DNS_US);
                let life = self.nodes[slot].life;
                self.queue.push(at, Next::Seeds { slot, life });
            }
            Output::MemberUpdated(member) => self.member_updated(slot, member),
            Output::MemberRemoved(key) => self.member_removed(slot, &key),
            Output::Published { member, published } => self.take_published(slot, member, published),
            Output::Event(event) => self.event_delivered(slot, &event),
            Output::Query(query) => self.query_handed_over(slot, &query),
            Output::EventPassed { origin, sequence } => self.event_passed(slot, &origin, sequence),
            Output::Gap(gap) => self.gap_told(slot, &gap),
            Output::EventBase { origin, sequence } => self.base_told(slot, &origin, sequence),
            Output::Replicated { sequence } => self.replicated(slot, sequence),
            // Read from the engine by whoever wants it.
            Output::Coordinate { .. } => {}
            Output::EventRoom => self.send_waiting(slot),
            Output::JoinResult {
                attempt, result, ..
            } => self.nodes[slot].run.joins.push((attempt, result)),
            Output::LeaveDone => self.leave_done(slot),
            Output::Note(note) => self.noted(slot, note),
        }
    }

    fn noted(&mut self, slot: usize, note: Note) {
        let node = &mut self.nodes[slot];
        if let Note::BootRaised { boot } = &note {
            node.run.boot = *boot;
            node.disk_boot = node.disk_boot.max(*boot);
        }
        node.run.notes.push(note);
    }

    fn member_updated(&mut self, slot: usize, member: Arc<Member>) {
        let id = self.names.id(&member.name);
        if member.is_self {
            let node = &mut self.nodes[slot];
            node.run.boot = member.boot;
            node.disk_boot = node.disk_boot.max(member.boot);
            let leaving = node.run.leaving_since.is_some();
            self.note_owner(slot);
            self.check(slot, "self_alive", invariants::self_alive(leaving, &member));
        } else {
            self.false_failures += u64::from(self.failed_alive(id, &member));
            let excused = self.failure_excused(slot, id, &member);
            let check = invariants::live_not_failed(excused, &member);
            self.check(slot, "live_not_failed", check);
        }
        let owner = self.owner_incarnation(id, &member);
        let check = invariants::owner_said_so(owner, &member);
        self.check(slot, "owner_said_so", check);
        let newest = self.nodes[slot].run.view.newest_boot(id);
        let check = invariants::boot_never_falls(newest, &member);
        self.check(slot, "boot_never_falls", check);
        if self.setup.keep_history {
            self.nodes[slot].run.history.push(Change {
                at_us: self.now,
                name: id,
                boot: member.boot,
                incarnation: member.incarnation,
                status: member.status,
                reason: member.change.reason,
            });
        }
        let after = Arc::clone(&member);
        let before = self.nodes[slot].run.view.update(id, member);
        let check = invariants::no_resurrection(before.as_deref(), &after);
        self.check(slot, "no_resurrection", check);
    }

    /// A false failure has an excuse: somebody was disturbed, leaves, is cut off
    /// or not who is meant.
    fn failure_excused(&self, slot: usize, id: u32, member: &Member) -> bool {
        let demands = &self.setup.demands;
        let subject = id as usize;
        let Some(node) = self.nodes.get(subject).filter(|_| !member.status.is_live()) else {
            return true;
        };
        !demands.no_false_failures
            || demands.shared_names
            || node.run.boot != member.boot
            || !node.calm(self.now)
            || !self.nodes[slot].calm(self.now)
            || node.realm != self.nodes[slot].realm
            || self.network.stalled(slot, subject)
    }

    /// It is called failed, but its process runs.
    fn failed_alive(&self, id: u32, member: &Member) -> bool {
        let node = self.nodes.get(id as usize);
        member.status == Status::Failed
            && node.is_some_and(|node| node.up() && node.run.boot == member.boot)
    }

    /// Writes down how far an engine's own incarnation got.
    pub(crate) fn note_owner(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if let Some(me) = node.machine.as_ref().map(M::me) {
            let highest = self.owners.entry((node.name_id, me.boot)).or_default();
            *highest = (*highest).max(me.incarnation);
        }
    }

    fn owner_incarnation(&mut self, id: u32, member: &Member) -> Option<u64> {
        let key = (id, member.boot);
        let known = self.owners.get(&key).copied();
        if known.is_some_and(|highest| highest >= member.incarnation) {
            return known;
        }
        // An owner may know better than it has told yet.
        for slot in 0..self.nodes.len() {
            if self.nodes[slot].name_id == id {
                self.note_owner(slot);
            }
        }
        self.owners.get(&key).copied()
    }

    fn take_published(&mut self, slot: usize, member: MemberKey, published: Published) {
        let held = self.nodes[slot].run.published.entry(member).or_default();
        if published.fresh {
            held.clear();
        }
        for (key, value) in published.changes {
            match value {
                Some(value) => held.insert(key, value),
                None => held.remove(&key),
            };
        }
    }

    fn member_removed(&mut self, slot: usize, key: &MemberKey) {
        self.nodes[slot].run.published.remove(key);
        let id = self.names.id(&key.name);
        self.nodes[slot].run.view.remove(id, key);
    }

    fn leave_done(&mut self, slot: usize) {
        if let Some(since) = self.nodes[slot].run.leaving_since {
            let (took, limit) = (self.now - since, self.setup.demands.leave_us);
            let check = (took <= limit)
                .then_some(())
                .ok_or_else(|| format!("took {took} us"));
            self.check(slot, "leave_in_time", check);
        }
        if self.nodes[slot].state != State::Down {
            if self.setup.snapshot_secs > 0 {
                self.save_snapshot(slot);
            }
            self.stop(slot, true);
        }
    }
}
