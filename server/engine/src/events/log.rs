//! The events of one origin and boot that this node holds.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::Origin;
use crate::ident::NodeRef;
use crate::time::Time;

/// What became of an event that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing like it is here.
    Free,
    /// It is here already.
    Held,
    /// Its place was given up.
    GivenUp,
    /// Further ahead than the window allows.
    Ahead,
}

/// A run of positions, handed over in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Event(u64, Bytes),
    Gap(u64, u64),
}

/// A ring of slots for the sequences `floor + 1 ..`. An empty slot up to
/// `position` was given up, an empty one above it is missing.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) key: NodeRef,
    /// Known from the first envelope, range or position on.
    pub(super) origin: Option<Origin>,
    /// Nothing up to here is held.
    floor: u64,
    /// Everything up to here is held or given up.
    position: u64,
    /// Handed over up to here.
    delivered: u64,
    /// Highest sequence held.
    top: u64,
    slots: VecDeque<Option<Bytes>>,
    bytes: usize,
    /// May hand over: no earlier boot of the origin is still hunted for.
    pub(super) open: bool,
    /// A later boot is open: nothing more of this one is handed over.
    pub(super) closed: bool,
    /// When `position` last moved.
    pub(super) changed: Time,
    /// In the list of logs that moved lately.
    pub(super) recent: bool,
    /// What the digest holds of it; 0 for nothing.
    pub(super) settled: u64,
    /// In the queue of the digest.
    pub(super) settling: bool,
    /// Position last told to the origin, and bytes taken in since.
    pub(super) reported: u64,
    pub(super) unreported_bytes: usize,
}

impl Log {
    /// A log that begins after `base`.
    pub(super) fn new(key: NodeRef, base: u64, now: Time) -> Self {
        Self {
            key,
            origin: None,
            floor: base,
            position: base,
            delivered: base,
            top: base,
            slots: VecDeque::new(),
            bytes: 0,
            open: true,
            closed: false,
            changed: now,
            recent: false,
            settled: 0,
            settling: false,
            reported: base,
            unreported_bytes: 0,
        }
    }

    pub(super) fn set_name(&mut self, name: &str) {
        if self.origin.is_none() {
            self.origin = Some(Origin {
                name: Arc::from(name),
                boot: self.key.boot,
            });
        }
    }

    pub(super) const fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) const fn top(&self) -> u64 {
        self.top
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots in memory, empty ones included.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Where `sequence` would go.
    pub(super) fn place(&self, sequence: u64, window: u64) -> Place {
        if sequence > self.position.saturating_add(window) {
            return Place::Ahead;
        }
        if self.get(sequence).is_some() {
            return Place::Held;
        }
        if sequence > self.position {
            return Place::Free;
        }
        // What was evicted was held once: a copy of it is no loss.
        if sequence <= self.floor {
            Place::Held
        } else {
            Place::GivenUp
        }
    }

    /// Stores an event whose place is [`Place::Free`] and moves the position over
    /// what became contiguous. True if the position moved.
    pub(super) fn insert(&mut self, sequence: u64, raw: Bytes) -> bool {
        let Some(index) = self.index(sequence) else {
            return false;
        };
        while self.slots.len() <= index {
            self.slots.push_back(None);
        }
        self.bytes += raw.len();
        self.unreported_bytes += raw.len();
        self.slots[index] = Some(raw);
        self.top = self.top.max(sequence);
        let before = self.position;
        self.advance();
        self.position != before
    }

    /// The original bytes of one event.
    pub(super) fn get(&self, sequence: u64) -> Option<&Bytes> {
        self.slots.get(self.index(sequence)?)?.as_ref()
    }

    /// Held events above `after`, in order.
    pub(super) fn held_after(&self, after: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let skip = after.saturating_sub(self.floor);
        let first = self.floor + 1 + skip;
        let skip = usize::try_from(skip)
            .unwrap_or(usize::MAX)
            .min(self.slots.len());
        (first..)
            .zip(self.slots.range(skip..))
            .filter_map(|(sequence, slot)| Some((sequence, slot.as_ref()?)))
    }

    /// First event held above the position, if there is a hole.
    pub(super) fn first_beyond(&self) -> Option<u64> {
        if self.top <= self.position {
            return None;
        }
        self.held_after(self.position)
            .next()
            .map(|(sequence, _)| sequence)
    }

    /// The next thing to hand over, if the log is open.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        if !self.open || self.delivered >= self.position {
            return None;
        }
        let first = self.delivered + 1;
        if let Some(raw) = self.get(first) {
            let raw = raw.clone();
            self.delivered = first;
            return Some(Step::Event(first, raw));
        }
        let mut last = first;
        while last < self.position && self.get(last + 1).is_none() {
            last += 1;
        }
        self.delivered = last;
        Some(Step::Gap(first, last))
    }

    /// Gives up everything missing up to `upto`, which may lie beyond what is
    /// held: then the rest of the gap is returned, to be handed over after
    /// [`Log::next_step`] has run dry. Only for open logs.
    pub(super) fn give_up(&mut self, upto: u64) {
        if upto <= self.position {
            return;
        }
        self.position = upto.min(self.top.max(self.position));
        self.advance();
    }

    /// Begins anew after `upto`: the tail of [`Log::give_up`].
    pub(super) fn jump(&mut self, upto: u64) -> Option<Step> {
        if upto <= self.position {
            return None;
        }
        let gap = Step::Gap(self.position + 1, upto);
        self.slots.clear();
        self.bytes = 0;
        self.floor = upto;
        self.position = upto;
        self.delivered = upto;
        self.top = upto;
        Some(gap)
    }

    /// Drops the oldest event that was handed over and is not above `keep_above`.
    /// False if there is none.
    pub(super) fn evict_one(&mut self, keep_above: u64) -> bool {
        if self.floor >= self.delivered || self.floor >= keep_above {
            return false;
        }
        let Some(slot) = self.slots.pop_front() else {
            return false;
        };
        self.bytes -= slot.map_or(0, |raw| raw.len());
        self.floor += 1;
        true
    }

    fn advance(&mut self) {
        while self.position < self.top && self.get(self.position + 1).is_some() {
            self.position += 1;
        }
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.floor)?.checked_sub(1)?).ok()
    }
}
