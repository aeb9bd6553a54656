//! The streams of events: what was sent, what arrived, who is owed what.

use muster_engine::{Event, EventError, Gap, Origin};

use crate::sim::cluster::Sim;
use crate::sim::invariants;
use crate::sim::machine::Machine;
use crate::sim::record::{Cursor, Listener, Sent, Stream};
use crate::sim::trace::content_hash;

impl<M: Machine> Sim<M> {
    fn stream_of(&mut self, origin: &Origin) -> Option<usize> {
        let id = self.names.id(&origin.name);
        self.stream_ids.get(&(id, origin.boot)).copied()
    }

    pub(crate) fn event_delivered(&mut self, slot: usize, event: &Event) {
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

    /// A query counts as an event that reached the node; its position comes later.
    pub(crate) fn query_handed_over(&mut self, slot: usize, query: &Event) {
        let Some(stream) = self.stream_of(&query.origin) else {
            return self.check(slot, "query_once", Err(format!("of {}", query.origin)));
        };
        let at = usize::try_from(query.sequence.saturating_sub(1)).unwrap_or(usize::MAX);
        let content = content_hash(&query.name, &query.payload);
        let now = self.now;
        let sent = self.streams[stream].sent.get_mut(at);
        let untouched = invariants::event_untouched(sent.as_deref(), content);
        if let Some(sent) = sent {
            sent.reached += 1;
            sent.last_us = now;
        }
        let cursor = self.nodes[slot].cursor_slot(stream).clone();
        let fresh = self.nodes[slot]
            .run
            .queries
            .insert((stream, query.sequence));
        let once = invariants::query_once(cursor.as_ref(), fresh, query.sequence);
        let named = |text| format!("{}: {text}", query.origin);
        self.check(slot, "event_untouched", untouched.map_err(named));
        self.check(slot, "query_once", once.map_err(named));
    }

    pub(crate) fn event_passed(&mut self, slot: usize, origin: &Origin, sequence: u64) {
        let Some(stream) = self.stream_of(origin) else {
            return self.check(slot, "event_in_order", Err(format!("of {origin}")));
        };
        let handed_over = self.nodes[slot].run.queries.contains(&(stream, sequence));
        let cursor = self.nodes[slot].cursor_slot(stream);
        let order = invariants::event_in_order(cursor.as_ref(), sequence);
        let cursor = cursor.get_or_insert_default();
        cursor.last = cursor.last.max(sequence);
        cursor.delivered += 1;
        let query = invariants::query_before_passed(handed_over, sequence);
        let named = |text| format!("{origin}: {text}");
        self.check(slot, "event_in_order", order.map_err(named));
        self.check(slot, "query_before_passed", query.map_err(named));
    }

    pub(crate) fn gap_told(&mut self, slot: usize, gap: &Gap) {
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

    pub(crate) fn base_told(&mut self, slot: usize, origin: &Origin, sequence: u64) {
        let Some(stream) = self.stream_of(origin) else {
            // An origin without events yet: nothing to compare with.
            return;
        };
        let first = (stream, 0);
        let early = self.nodes[slot].run.queries.range(first..).next();
        let early = early.filter(|(of, query)| *of == stream && *query <= sequence);
        let early = invariants::query_not_before_base(early.map(|(_, query)| *query));
        let cursor = self.nodes[slot].cursor_slot(stream);
        let check = invariants::base_comes_first(cursor.as_ref(), sequence);
        let cursor = cursor.get_or_insert_with(|| Cursor {
            base: sequence,
            ..Cursor::default()
        });
        cursor.last = cursor.last.max(sequence);
        let named = |text| format!("{origin}: {text}");
        self.check(slot, "base_comes_first", check.map_err(named));
        self.check(slot, "query_not_before_base", early.map_err(named));
    }

    pub(crate) fn replicated(&mut self, slot: usize, sequence: u64) {
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
                Err(error) => {
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
}
