//! Taking events in, handing them over, staying within bounds.

use bytes::Bytes;

use super::log::{Log, Place, Step};
use super::settle::{SETTLE, mix};
use super::wire::{BadEnvelope, EAGER_BYTES_MAX, Entry, Envelope, name_fits};
use super::{Events, EventsOutput, LAMPORT_MAX};
use crate::event::{EventKind, Gap, Origin};
use crate::ident::NodeRef;
use crate::time::{Now, Time};
use std::sync::Arc;

/// How an event came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In a datagram: pass it on the same way.
    Eager,
    /// In a pull answer: announce the position.
    Pulled,
}

impl Events {
    /// Stores an event that this node published.
    pub(super) fn store_own(&mut self, now: Now, sequence: u64, raw: Bytes, view: &Envelope) {
        let me = self.me;
        let name = Arc::clone(&self.my_name);
        self.own.push(raw.len());
        self.begin_owing(now.at);
        let log = self
            .logs
            .entry(me)
            .or_insert_with(|| Log::new(me, 0, now.at));
        log.set_name(&name);
        self.bytes += raw.len();
        let size = raw.len();
        log.insert(sequence, raw);
        self.ask_here(now, me, view);
        self.moved(now.at, me);
        self.hand_over(now, me, Some((sequence, view)));
        self.keep_bounds(me);
        self.queue_event(now.at, me, sequence, size);
    }

    /// Stores one event from elsewhere, if it is new and makes sense.
    pub(super) fn take_in(&mut self, now: Now, key: NodeRef, entry: Entry, way: Way) {
        let Entry { sequence, envelope } = entry;
        if !self.wanted(key, sequence) {
            return;
        }
        let size = envelope.len();
        let view = match Envelope::view(&envelope, key, sequence) {
            Ok(view) => view,
            Err(why) => return self.refuse(why),
        };
        if !self.fits_name(key, &view.origin) {
            return self.refuse(BadEnvelope::Foreign);
        }
        if !self.has_memory(key, sequence, size) {
            self.count.dropped_memory += 1;
            return;
        }
        // A copy of its own: a slice would keep the whole datagram or answer.
        let raw = Bytes::copy_from_slice(&envelope);
        self.witness(view.lamport);
        let Some(log) = self.log_for(now, key) else {
            return;
        };
        log.set_name(&view.origin);
        if log.closed {
            self.too_late(now, key, sequence);
            return;
        }
        let untouched = log.is_untouched();
        let moved = log.insert(sequence, raw);
        let waits = log.is_untouched();
        self.bytes += size;
        if untouched && !waits {
            self.ask_held(now, key);
        } else if !waits {
            self.ask_here(now, key, &view);
        }
        if moved {
            self.moved(now.at, key);
            self.progress(now.at, key);
            self.hand_over(now, key, Some((sequence, &view)));
            self.owe_report(now.at, key);
            self.open_if_full(now, key);
        } else {
            #[cfg(test)]
            if self.bug == Some(super::tests::Bug::NoHunt) {
                return;
            }
            self.hunt(now.at, key);
        }
        self.keep_bounds(key);
        match way {
            Way::Eager => self.queue_event(now.at, key, sequence, size),
            Way::Pulled if moved => self.announce(key),
            Way::Pulled => {}
        }
    }

    /// Whether an event is worth decoding.
    fn wanted(&mut self, key: NodeRef, sequence: u64) -> bool {
        if key.hash == self.me.hash {
            // Events of an earlier run are the business of those who saw it.
            if key.boot != self.me.boot || sequence > self.own.head {
                self.count.dropped_own += 1;
            } else {
                self.count.duplicates += 1;
            }
            return false;
        }
        if sequence == 0 {
            self.count.dropped_foreign += 1;
            return false;
        }
        let window = self.limits.events_per_origin as u64;
        let Some(log) = self.logs.get(&key) else {
            if sequence > window {
                self.count.dropped_ahead += 1;
                return false;
            }
            return true;
        };
        let place = log.place(sequence, window);
        match place {
            Place::Held => self.count.duplicates += 1,
            Place::GivenUp => self.count.dropped_late += 1,
            Place::Ahead => self.count.dropped_ahead += 1,
            Place::Free => return true,
        }
        false
    }

    fn refuse(&mut self, why: BadEnvelope) {
        match why {
            BadEnvelope::Undecodable => self.count.dropped_undecodable += 1,
            BadEnvelope::Oversized => self.count.dropped_oversized += 1,
            BadEnvelope::Foreign => self.count.dropped_foreign += 1,
            BadEnvelope::BadName => self.count.dropped_bad_name += 1,
        }
    }

    /// The name must be the one behind the hash; hashed once per log.
    pub(super) fn fits_name(&self, key: NodeRef, name: &str) -> bool {
        match self.logs.get(&key).and_then(|log| log.origin.as_ref()) {
            Some(origin) => origin.name.as_ref() == name,
            None => name_fits(name, key.hash),
        }
    }

    fn witness(&mut self, lamport: u64) {
        if lamport >= self.lamport && lamport < LAMPORT_MAX {
            self.lamport = lamport + 1;
        }
    }

    /// The position moved: the digest waits, and others hear of it.
    pub(super) fn moved(&mut self, now: Time, key: NodeRef) {
        self.unsettle(key);
        self.moves += 1;
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        log.changed = now;
        if !log.settling {
            log.settling = true;
            self.settle.wait(now + SETTLE, key);
        }
        self.spread.repeat_soon(now);
        if !log.recent {
            log.recent = true;
            // Shares the memory at once; counted exactly within a second.
            self.active.1 += 1;
            self.spread.add_recent(now, key);
        }
    }

    pub(super) fn unsettle(&mut self, key: NodeRef) {
        if let Some(log) = self.logs.get_mut(&key)
            && log.settled != 0
        {
            self.settle.toggle(log.settled);
            log.settled = 0;
        }
    }

    pub(super) fn settle_log(&mut self, now: Time, key: NodeRef) {
        let newest = self.boots(key.hash).last() == Some(key.boot);
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        let due = log.changed + SETTLE;
        if due > now {
            self.settle.wait(due, key);
            return;
        }
        log.settling = false;
        if newest && log.settled == 0 && log.position() > 0 {
            log.settled = mix(key, log.position());
            self.settle.toggle(log.settled);
        }
    }

    /// Hands over what is in order. `fresh` is a view that need not be decoded
    /// again.
    pub(super) fn hand_over(&mut self, now: Now, key: NodeRef, fresh: Option<(u64, &Envelope)>) {
        while let Some(step) = self.logs.get_mut(&key).and_then(Log::next_step) {
            let view = match (&step, fresh) {
                (Step::Event(sequence, _), Some((this, view))) if *sequence == this => {
                    Some(view.clone())
                }
                (Step::Event(sequence, raw), _) => Envelope::view(raw, key, *sequence).ok(),
                (Step::Gap(..), _) => None,
            };
            self.push_step(now, key, &step, view);
        }
    }

    fn push_step(&mut self, now: Now, key: NodeRef, step: &Step, view: Option<Envelope>) {
        let origin = self.logs.get(&key).and_then(|log| log.origin.clone());
        let Some(origin) = origin else {
            return;
        };
        match (step, view) {
            (Step::Event(sequence, _), Some(view)) => match view.kind() {
                Some(EventKind::User) => self.deliver(now, origin, view),
                kind => {
                    self.count.unknown_kinds += u64::from(kind.is_none());
                    let sequence = *sequence;
                    self.out
                        .push_back(EventsOutput::Passed { origin, sequence });
                }
            },
            (Step::Gap(first, last), _) => self.push_gap(origin, *first, *last),
            // Checked before it was stored: cannot happen, and is covered if it does.
            (Step::Event(sequence, _), None) => self.push_gap(origin, *sequence, *sequence),
        }
    }

    fn deliver(&mut self, now: Now, origin: Origin, view: Envelope) {
        if let Some(event) = view.into_event(origin, now.unix_ms) {
            self.count.delivered += 1;
            self.out.push_back(EventsOutput::Deliver(Arc::new(event)));
        }
    }

    /// Hands over what was just stored, if it is a query.
    fn ask_here(&mut self, now: Now, key: NodeRef, view: &Envelope) {
        if view.kind() != Some(EventKind::Query) {
            return;
        }
        #[cfg(test)]
        match self.bug {
            Some(super::tests::Bug::QueryLost) => return,
            Some(super::tests::Bug::QueryTwice) => self.push_query(now, key, view),
            _ => {}
        }
        self.push_query(now, key, view);
    }

    fn push_query(&mut self, now: Now, key: NodeRef, view: &Envelope) {
        let origin = self.logs.get(&key).and_then(|log| log.origin.clone());
        if let Some(query) = origin.and_then(|o| view.clone().into_event(o, now.unix_ms)) {
            self.count.queries += 1;
            self.out.push_back(EventsOutput::Query(Arc::new(query)));
        }
    }

    /// Hands over the queries that waited for a log to begin: until its first
    /// position is known, what is held may be from before this node's time.
    pub(super) fn ask_held(&mut self, now: Now, key: NodeRef) {
        let Some(log) = self.logs.get(&key) else {
            return;
        };
        let queries: Vec<Envelope> = log
            .held_after(log.floor())
            .filter_map(|(sequence, raw)| Envelope::view(raw, key, sequence).ok())
            .filter(|view| view.kind() == Some(EventKind::Query))
            .collect();
        for view in queries {
            self.ask_here(now, key, &view);
        }
    }

    fn push_gap(&mut self, origin: Origin, first: u64, last: u64) {
        #[cfg(test)]
        if self.bug == Some(super::tests::Bug::SilentGap) {
            return;
        }
        self.count.gaps += 1;
        self.count.gap_events += last - first + 1;
        self.out.push_back(EventsOutput::Gap(Gap {
            origin,
            first,
            last,
        }));
    }

    /// Gives up all that is missing up to `upto`: one gap marker per hole.
    pub(super) fn skip_to(&mut self, now: Now, key: NodeRef, upto: u64) {
        self.open(now, key);
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        if upto <= log.position() || log.origin.is_none() {
            return;
        }
        let untouched = log.is_untouched();
        log.give_up(upto);
        if untouched {
            self.ask_held(now, key);
        }
        self.hand_over(now, key, None);
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        self.bytes -= log.bytes();
        let jump = log.jump(upto);
        self.bytes += log.bytes();
        if let Some(step) = jump {
            self.push_step(now, key, &step, None);
        }
        self.moved(now.at, key);
        self.progress(now.at, key);
        self.owe_report(now.at, key);
    }

    /// Spreads one event: by itself if it is small and there are few, else by its
    /// log's position.
    fn queue_event(&mut self, now: Time, key: NodeRef, sequence: u64, size: usize) {
        if size > EAGER_BYTES_MAX || !self.spread.queue(now, key, sequence) {
            self.announce(key);
        }
    }
}
