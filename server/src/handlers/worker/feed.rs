//! User events: from the ring into the queue.

use std::sync::Arc;

use muster_engine::{Event, Gap};
use tokio::time::Instant;

use super::{Waiting, Worker};
use crate::hub::ring::{Entry, Page, Unknown};

/// Entries read from the ring at once.
const PAGE_ITEMS: usize = 256;

/// Bytes read from the ring at once.
const PAGE_BYTES: usize = 4 << 20;

impl Worker {
    /// Takes what is new while there is room.
    pub(super) fn read_ring(&mut self) {
        if !self.definition.spec.wants_users() {
            return;
        }
        while self.has_room() {
            let items = PAGE_ITEMS.min(self.definition.queue - self.lanes.queued());
            let hub = Arc::clone(&self.common.hub);
            match hub.events().read(self.index, items, PAGE_BYTES) {
                Page::Entries(entries) if entries.is_empty() => return,
                Page::Entries(entries) => {
                    self.index += entries.len() as u64;
                    for entry in &entries {
                        self.entry(entry);
                    }
                }
                Page::Behind => self.rejoin(),
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let (origin, sequence) = entry.position();
        // After a rejoin there are entries that were taken before.
        if self.progress.has(origin, sequence) || self.progress.is_past(origin, sequence) {
            self.progress.take(origin, sequence);
            return;
        }
        match entry {
            Entry::Event(event) => {
                self.progress.take(origin, sequence);
                if self.wants(event) {
                    let redelivered = self.progress.is_redelivery(origin, sequence);
                    let event = Arc::clone(event);
                    self.queue(Waiting { event, redelivered });
                }
            }
            Entry::Gap(gap) => {
                self.missed(gap, "no member holds them any more");
                self.progress.take(origin, sequence);
            }
            Entry::Base(..) | Entry::Passed(..) => self.progress.take(origin, sequence),
        }
    }

    fn queue(&mut self, waiting: Waiting) {
        if !waiting.event.coalesce || self.common.windows.window.is_zero() {
            self.push(waiting);
            return;
        }
        let newer = |one: &Waiting, other: &Waiting| {
            // As serf: the highest Lamport time; ties by who sent it.
            let key = |waiting: &Waiting| {
                let event = &waiting.event;
                (event.lamport, event.origin.clone(), event.sequence)
            };
            key(one) >= key(other)
        };
        let name = waiting.event.name.clone();
        self.merging.put(Instant::now(), name, waiting, newer);
    }

    /// Queues what was merged for long enough.
    pub(super) fn take_merged(&mut self) {
        for merged in self.merging.take_due(Instant::now()) {
            self.push(merged.item);
        }
    }

    fn push(&mut self, waiting: Waiting) {
        let event = &waiting.event;
        self.progress.queued(&event.origin);
        let lane = Arc::clone(&event.origin.name);
        self.lanes.push(&lane, waiting);
    }

    /// The ring has moved on.
    fn rejoin(&mut self) {
        let positions = self.progress.positions();
        let joined = self
            .common
            .hub
            .events()
            .rejoin(positions, Unknown::FromBase);
        self.index = joined.index;
        for gap in &joined.missed {
            self.missed(gap, "the handler was too slow");
            self.progress.take(&gap.origin, gap.last);
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let spec = &self.definition.spec;
        if !spec.wants_user(&event.name) {
            return false;
        }
        self.definition
            .selects(&self.common.hub, &event.origin.name)
    }

    /// Says what a former run may have started and not finished, and will not be run
    /// again.
    pub(super) fn tell_uncertain(&self) {
        if self.definition.redeliver {
            return;
        }
        for (origin, first, last) in self.progress.uncertain() {
            let gap = Gap {
                origin: origin.clone(),
                first,
                last,
            };
            self.missed(&gap, "the daemon crashed, and they may have been run");
        }
    }

    fn missed(&self, gap: &Gap, why: &str) {
        let count = gap.last - gap.first + 1;
        let Gap {
            origin,
            first,
            last,
        } = gap;
        tracing::warn!(
            handler = self.label.handler,
            %origin,
            first,
            last,
            why,
            "a handler misses events"
        );
        self.metrics()
            .missed
            .get_or_create(&self.label)
            .inc_by(count);
        self.board.missed(count);
    }
}
