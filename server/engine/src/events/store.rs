//! Taking events in, handing them over, staying within bounds.

use bytes::Bytes;

use super::log::{Log, Place, Step};
use super::settle::{SETTLE, mix};
use super::wire::{BadEnvelope, EAGER_BYTES_MAX, Entry, Envelope, name_fits};
use super::{BOOTS_MAX, Events, EventsOutput, LAMPORT_MAX, LOGS_MAX};
use crate::event::{Event, Gap, Origin};
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
        let moved = log.insert(sequence, raw);
        self.bytes += size;
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
            Way::Pulled if moved => self.announce(now.at, key),
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

    /// An event of a boot whose successor is open already: dropped, and covered
    /// by a gap marker if it was not.
    fn too_late(&mut self, now: Now, key: NodeRef, sequence: u64) {
        self.count.dropped_old_boot += 1;
        self.skip_to(now, key, sequence);
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
    fn fits_name(&self, key: NodeRef, name: &str) -> bool {
        match self.logs.get(&key).and_then(|log| log.origin.as_ref()) {
            Some(origin) => origin.name.as_ref() == name,
            None => name_fits(name, key.hash),
        }
    }

    /// Events out of order may not fill the memory: they cannot be evicted. The
    /// next one in order is always taken.
    fn has_memory(&self, key: NodeRef, sequence: u64, size: usize) -> bool {
        let log = self.logs.get(&key);
        let (position, held) = log.map_or((0, 0), |log| (log.position(), log.bytes()));
        sequence == position + 1
            || (held + size <= self.limits.event_bytes_per_origin
                && self.bytes + size <= self.limits.event_bytes_total)
    }

    fn witness(&mut self, lamport: u64) {
        if lamport >= self.lamport && lamport < LAMPORT_MAX {
            self.lamport = lamport + 1;
        }
    }

    /// The log of an origin and boot, made if there is none and it may be.
    pub(super) fn log_for(&mut self, now: Now, key: NodeRef) -> Option<&mut Log> {
        if !self.logs.contains_key(&key) {
            self.make_log(now, key, 0)?;
        }
        self.logs.get_mut(&key)
    }

    /// A log that begins after `base`. `None` for a boot older than those kept.
    pub(super) fn make_log(&mut self, now: Now, key: NodeRef, base: u64) -> Option<()> {
        let mut boots: Vec<u64> = self.boots(key.hash).collect();
        if base == 0
            && boots.is_empty()
            && let Some(before) = self.boots_seen.get(&key.hash).copied()
            && before < key.boot
        {
            let hash = key.hash;
            let before_key = NodeRef { hash, boot: before };
            self.logs
                .insert(before_key, Log::new(before_key, 0, now.at));
            boots.push(before);
        }
        if boots.len() >= BOOTS_MAX {
            let oldest = *boots.first()?;
            if key.boot < oldest {
                self.count.dropped_old_boot += 1;
                return None;
            }
            let hash = key.hash;
            self.forget_log(now, NodeRef { hash, boot: oldest });
        }
        if self.logs.len() >= LOGS_MAX {
            let quiet = self.logs.values().filter(|log| log.key != self.me);
            let quietest = quiet.min_by_key(|log| log.changed)?.key;
            self.forget_log(now, quietest);
        }
        let mut log = Log::new(key, base, now.at);
        log.closed = boots.last().is_some_and(|newest| *newest > key.boot);
        let older = boots.iter().rev().find(|boot| **boot < key.boot);
        if let Some(older) = older {
            let older = NodeRef {
                hash: key.hash,
                boot: *older,
            };
            self.unsettle(older);
            if base == 0 && !self.logs.get(&older).is_none_or(|log| log.closed) {
                log.open = false;
                self.hold(now.at, older);
            }
        }
        let open = log.open;
        self.logs.insert(key, log);
        if open {
            self.finish_before(now, key);
        }
        Some(())
    }

    /// A member came up. If an earlier boot of it was known, that one ends now and
    /// not only with the first event of the new one.
    pub(super) fn see_boot(&mut self, now: Now, node: NodeRef) {
        let before = self.boots_seen.get(&node.hash).copied();
        let earlier = self.boots(node.hash).next().or(before);
        if earlier.is_some_and(|boot| boot < node.boot) && !self.logs.contains_key(&node) {
            // Refused only if it is older than what is kept.
            let _: Option<()> = self.make_log(now, node, 0);
        }
        if before.is_some() || self.boots_seen.len() < LOGS_MAX {
            let seen = self.boots_seen.entry(node.hash).or_default();
            *seen = (*seen).max(node.boot);
        }
    }

    /// Boots of an origin that have a log, oldest first.
    pub(super) fn boots(&self, hash: u64) -> impl Iterator<Item = u64> {
        let first = NodeRef { hash, boot: 0 };
        let last = NodeRef {
            hash,
            boot: u64::MAX,
        };
        self.logs.range(first..=last).map(|(key, _)| key.boot)
    }

    fn forget_log(&mut self, now: Now, key: NodeRef) {
        // Whoever waits for the end of this boot waits no longer.
        let next = self.boots(key.hash).find(|boot| *boot > key.boot);
        if let Some(boot) = next {
            let hash = key.hash;
            self.open(now, NodeRef { hash, boot });
        }
        self.unsettle(key);
        self.drop_hunt(key);
        if let Some(log) = self.logs.remove(&key) {
            self.bytes -= log.bytes();
            self.count.logs_forgotten += 1;
        }
        self.duties.remove(key);
    }

    /// This node's time begins after `base` of this origin.
    pub(super) fn begin_at(&mut self, now: Now, key: NodeRef, name: &str, base: u64) {
        if key.hash == self.me.hash {
            return;
        }
        if self.make_log(now, key, base).is_none() {
            return;
        }
        if let Some(log) = self.logs.get_mut(&key) {
            log.set_name(name);
        }
        self.moved(now.at, key);
        if let Some(boot) = self.boots_seen.get(&key.hash).copied() {
            let hash = key.hash;
            self.see_boot(now, NodeRef { hash, boot });
        }
        self.out.push_back(EventsOutput::Base {
            origin: Origin {
                name: Arc::from(name),
                boot: key.boot,
            },
            sequence: base,
        });
    }

    /// The position moved: the digest waits, and others hear of it.
    pub(super) fn moved(&mut self, now: Time, key: NodeRef) {
        self.unsettle(key);
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        log.changed = now;
        if !log.settling {
            log.settling = true;
            self.settle.wait(now + SETTLE, key);
        }
        if !log.recent {
            log.recent = true;
            self.spread.add_recent(now, key);
        }
    }

    fn unsettle(&mut self, key: NodeRef) {
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
            (Step::Event(sequence, _), Some(view)) => {
                self.count.delivered += 1;
                self.out.push_back(EventsOutput::Deliver(Arc::new(Event {
                    origin,
                    sequence: *sequence,
                    lamport: view.lamport,
                    name: view.name,
                    payload: view.payload,
                    received_unix_ms: now.unix_ms,
                })));
            }
            (Step::Gap(first, last), _) => self.push_gap(origin, *first, *last),
            // Checked before it was stored: cannot happen, and is covered if it does.
            (Step::Event(sequence, _), None) => self.push_gap(origin, *sequence, *sequence),
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
        log.give_up(upto);
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

    /// Lets a boot hand over; all earlier boots of the origin are over then.
    pub(super) fn open(&mut self, now: Now, key: NodeRef) {
        if self.logs.get(&key).is_none_or(|log| log.open) {
            return;
        }
        self.finish_before(now, key);
        if let Some(log) = self.logs.get_mut(&key) {
            log.open = true;
        }
        self.hand_over(now, key, None);
        self.keep_bounds(key);
    }

    /// A boot that waits for the one before is opened early once half of the
    /// window waits: what waits cannot be evicted.
    fn open_if_full(&mut self, now: Now, key: NodeRef) {
        let events = self.limits.events_per_origin as u64 / 2;
        let bytes = self.limits.event_bytes_per_origin / 2;
        let log = self.logs.get(&key);
        if log.is_some_and(|log| {
            !log.open && (log.position() - log.delivered() > events || log.bytes() > bytes)
        }) {
            self.open(now, key);
        }
    }

    fn finish_before(&mut self, now: Now, key: NodeRef) {
        let earlier: Vec<u64> = self.boots(key.hash).filter(|b| *b < key.boot).collect();
        for boot in earlier {
            let hash = key.hash;
            self.finish(now, NodeRef { hash, boot });
        }
    }

    /// Ends a boot: holes are given up, what is held beyond them handed over.
    fn finish(&mut self, now: Now, key: NodeRef) {
        if let Some(log) = self.logs.get_mut(&key)
            && !log.closed
        {
            log.open = true;
            let top = log.top();
            self.skip_to(now, key, top);
            self.hand_over(now, key, None);
            if let Some(log) = self.logs.get_mut(&key) {
                log.closed = true;
            }
        }
        self.drop_hunt(key);
    }

    /// Evicts the oldest events above the bounds. Own events that a counted
    /// member still needs stay.
    fn keep_bounds(&mut self, key: NodeRef) {
        self.evict(key, |log, limits| {
            log.position() - log.floor() > limits.events_per_origin as u64
                || log.bytes() > limits.event_bytes_per_origin
        });
        if self.bytes <= self.limits.event_bytes_total {
            return;
        }
        // Down to 31/32, so that the largest log is looked for now and then only.
        let goal = self.limits.event_bytes_total / 32 * 31;
        let mut spared = 0;
        while self.bytes > goal && spared < self.logs.len() {
            let mut by_size: Vec<_> = self.logs.values().map(|l| (l.bytes(), l.key)).collect();
            by_size.sort_unstable();
            let Some((size, largest)) = by_size.iter().rev().nth(spared).copied() else {
                return;
            };
            let excess = self.bytes - goal;
            self.evict(largest, |log, _| log.bytes() + excess > size);
            spared += 1;
        }
    }

    fn evict(&mut self, key: NodeRef, over: impl Fn(&Log, &crate::api::Limits) -> bool) {
        let keep_above = if key == self.me {
            self.own.slowest()
        } else {
            u64::MAX
        };
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        let before = log.bytes();
        while over(log, &self.limits) && log.evict_one(keep_above) {}
        self.bytes -= before - log.bytes();
    }

    /// Spreads one event: by itself if it is small and there are few, else by its
    /// log's position.
    fn queue_event(&mut self, now: Time, key: NodeRef, sequence: u64, size: usize) {
        if size > EAGER_BYTES_MAX || !self.spread.queue(now, key, sequence) {
            self.announce(now, key);
        }
    }
}
