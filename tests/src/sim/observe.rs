//! What engines say: carried out, written down and checked.

use std::sync::Arc;

use muster_engine::{Event, EventError, Gap, Member, MemberKey, Note, Origin, Output};

use crate::sim::cluster::{Next, Sim};
use crate::sim::invariants;
use crate::sim::machine::Machine;
use crate::sim::node::State;
use crate::sim::record::{Change, Cursor, Listener, Sent, Stream};
use crate::sim::trace::content_hash;

/// How long a name lookup takes at most, microseconds.
const DNS_US: u64 = 5_000;

impl<M: Machine> Sim<M> {
    pub(crate) fn take_output(&mut self, slot: usize, output: Output) {
        match output {
            Output::Transmit { to, bytes } => {
                self.nodes[slot].run.sends += 1;
                self.transmit(slot, to, bytes);
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
            Output::ResolveSeeds => {
                let at = self.now + self.rng.below(DNS_US);
                let life = self.nodes[slot].life;
                self.queue.push(at, Next::Seeds { slot, life });
            }
            Output::MemberUpdated(member) => self.member_updated(slot, member),
            Output::MemberRemoved(key) => self.member_removed(slot, &key),
            Output::Event(event) => self.event_delivered(slot, &event),
            Output::Gap(gap) => self.gap_told(slot, &gap),
            Output::EventBase { origin, sequence } => self.base_told(slot, &origin, sequence),
            Output::Replicated { sequence } => self.replicated(slot, sequence),
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

    fn member_removed(&mut self, slot: usize, key: &MemberKey) {
        let id = self.names.id(&key.name);
        self.nodes[slot].run.view.remove(id, key);
    }

    fn stream_of(&mut self, origin: &Origin) -> Option<usize> {
        let id = self.names.id(&origin.name);
        self.stream_ids.get(&(id, origin.boot)).copied()
    }

    fn event_delivered(&mut self, slot: usize, event: &Event) {
        let now = self.now;
        let Some(stream) = self.stream_of(&event.origin) else {
            let check = invariants::event_untouched(None, 0);
            return self.check(slot, "event_untouched", check);
        };
        let at = usize::try_from(event.sequence.saturating_sub(1)).unwrap_or(usize::MAX);
        let content = content_hash(&event.name, &event.payload);
        let sent = self.streams[stream].sent.get_mut(at);
        let untouched = invariants::event_untouched(sent.as_deref(), content);
        if let Some(sent) = sent {
            sent.reached += 1;
            sent.last_us = now;
        }
        let name = self.streams[stream].name as usize;
        let newest = &mut self.nodes[slot].run.newest_event_boot;
        if newest.len() <= name {
            newest.resize(name + 1, 0);
        }
        let boots = invariants::event_boots_in_order(newest[name], event.origin.boot);
        newest[name] = newest[name].max(event.origin.boot);
        let cursor = self.nodes[slot].cursor_slot(stream);
        let order = invariants::event_in_order(cursor.as_ref(), event.sequence);
        let cursor = cursor.get_or_insert_default();
        cursor.last = cursor.last.max(event.sequence);
        cursor.delivered += 1;
        let named = |text| format!("{}: {text}", event.origin);
        self.check(slot, "event_untouched", untouched.map_err(named));
        self.check(slot, "event_boots_in_order", boots.map_err(named));
        self.check(slot, "event_in_order", order.map_err(named));
    }

    fn gap_told(&mut self, slot: usize, gap: &Gap) {
        let Some(stream) = self.stream_of(&gap.origin) else {
            return self.check(slot, "gap_in_order", Err(format!("of {}", gap.origin)));
        };
        let cursor = self.nodes[slot].cursor_slot(stream);
        let check = invariants::gap_in_order(cursor.as_ref(), gap);
        let cursor = cursor.get_or_insert_default();
        cursor.last = cursor.last.max(gap.last);
        cursor.gaps.push((gap.first, gap.last));
        let named = |text| format!("{}: {text}", gap.origin);
        self.check(slot, "gap_in_order", check.map_err(named));
    }

    fn base_told(&mut self, slot: usize, origin: &Origin, sequence: u64) {
        let Some(stream) = self.stream_of(origin) else {
            // An origin without events yet: nothing to compare with.
            return;
        };
        let cursor = self.nodes[slot].cursor_slot(stream);
        let check = invariants::base_comes_first(cursor.as_ref(), sequence);
        let cursor = cursor.get_or_insert_with(|| Cursor {
            base: sequence,
            ..Cursor::default()
        });
        cursor.last = cursor.last.max(sequence);
        let named = |text| format!("{origin}: {text}");
        self.check(slot, "base_comes_first", check.map_err(named));
    }

    fn replicated(&mut self, slot: usize, sequence: u64) {
        let node = &self.nodes[slot];
        let key = (node.name_id, node.run.boot);
        let (before, live) = (node.run.replicated, node.run.view.live());
        let accepted = self.stream_ids.get(&key).copied().map_or(0, |at| {
            let stream = &mut self.streams[at];
            stream.replicated = stream.replicated.max(sequence);
            stream.replicated_us = self.now;
            stream.copies_among = live.saturating_sub(1);
            stream.sent.len() as u64
        });
        self.nodes[slot].run.replicated = sequence;
        let check = invariants::replicated_grows(before, sequence, accepted);
        self.check(slot, "replicated_grows", check);
    }

    /// Hands the waiting events to an engine that has room again.
    pub(crate) fn send_waiting(&mut self, slot: usize) {
        while let Some(draft) = self.nodes[slot].run.drafts.pop_front() {
            let content = content_hash(&draft.name, &draft.payload);
            let node = &mut self.nodes[slot];
            let now = node.clock.read(self.now);
            let Some(machine) = node.machine.as_mut() else {
                return;
            };
            match machine.send_event(now, draft.clone()) {
                Ok(accepted) => {
                    self.accepted(slot, accepted.boot, accepted.sequence, content);
                }
                Err(EventError::Full) => {
                    node.run.drafts.push_front(draft);
                    node.run.waiting_since.get_or_insert(self.now);
                    return;
                }
                Err(EventError::Leaving) => node.run.drafts.clear(),
                Err(error @ (EventError::InvalidName(_) | EventError::TooLarge { .. })) => {
                    self.check(slot, "drafts_accepted", Err(error.to_string()));
                }
            }
        }
        let run = &mut self.nodes[slot].run;
        if let Some(since) = run.waiting_since.take() {
            run.waited_us += self.now - since;
        }
    }

    fn accepted(&mut self, slot: usize, boot: u64, sequence: u64, content: u64) {
        let stream = self.stream_for(slot, boot);
        let due = self.streams[stream].sent.len() as u64 + 1;
        let check = if sequence == due {
            Ok(())
        } else {
            Err(format!("got number {sequence} instead of {due}"))
        };
        self.check(slot, "accepted_in_order", check);
        self.streams[stream].sent.push(Sent {
            at_us: self.now,
            content,
            reached: 0,
            last_us: 0,
        });
        self.note_audience(slot, stream, sequence);
    }

    fn stream_for(&mut self, slot: usize, boot: u64) -> usize {
        let (name, life) = (self.nodes[slot].name_id, self.nodes[slot].life);
        if let Some(stream) = self.stream_ids.get(&(name, boot)) {
            return *stream;
        }
        self.streams.push(Stream {
            name,
            boot,
            slot,
            life,
            sent: Vec::new(),
            replicated: 0,
            replicated_us: 0,
            copies_among: 0,
            audience: vec![None; self.nodes.len()],
        });
        self.stream_ids.insert((name, boot), self.streams.len() - 1);
        self.streams.len() - 1
    }

    /// Who is a member now is owed this event and all after it.
    fn note_audience(&mut self, origin: usize, stream: usize, sequence: u64) {
        for slot in 0..self.nodes.len() {
            let node = &self.nodes[slot];
            let known = self.streams[stream].audience[slot];
            let known = known.filter(|listener| listener.life == node.life);
            if known.is_some_and(|listener| listener.calm_from != u64::MAX) {
                continue;
            }
            let calm = node.calm(self.now) && self.nodes[origin].calm(self.now);
            if !calm || (slot != origin && !self.mutual(origin, slot)) {
                continue;
            }
            self.streams[stream].audience[slot] = Some(Listener {
                life: node.life,
                from: known.map_or(sequence, |listener| listener.from),
                calm_from: sequence,
            });
        }
    }

    /// Both show each other as alive, in the boots that run.
    fn mutual(&self, a: usize, b: usize) -> bool {
        let shows = |viewer: usize, subject: usize| {
            let (viewer, subject) = (&self.nodes[viewer], &self.nodes[subject]);
            let shown = viewer.run.view.holder(subject.name_id);
            shown.is_some_and(|m| m.status.is_live() && m.boot == subject.run.boot)
        };
        !self.network.stalled(a, b) && shows(a, b) && shows(b, a)
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
            self.stop(slot);
        }
    }
}
