//! The events of this node in the order in which they were handed over, bounded.
//!
//! Every entry has an index that only grows. A reader keeps the index of the entry
//! that it takes next and its [`Positions`]; when it returns after its index has
//! left the ring, [`EventRing::rejoin`] tells it, per origin, what it missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use muster_engine::{Event, Gap, Origin};
use tokio::sync::watch;

use super::positions::Positions;
use super::signal::{Listener, Signal};
use super::{EventUpdate, lock};

/// Entries held. The oldest goes when one more comes; readers that have not seen
/// it get a gap.
pub const EVENTS_MAX: usize = 65_536;

/// Bytes held, names and payloads and [`ENTRY_BYTES`] for each entry. As for
/// [`EVENTS_MAX`].
pub const EVENT_BYTES_MAX: usize = 64 << 20;

/// What an entry costs beside its name and payload.
pub const ENTRY_BYTES: usize = 160;

/// Origins (a name and a boot) that are remembered. Those without an event in the
/// ring go first, longest silent first; a consumer that resumes behind such an
/// origin is not told of what it missed of it.
pub const ORIGINS_MAX: usize = 65_536;

/// One step in the ring.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An event.
    Event(Arc<Event>),
    /// Events that no member holds any more.
    Gap(Arc<Gap>),
    /// Nothing for consumers: the position moves.
    Passed(Origin, u64),
    /// An origin became known at this position.
    Base(Origin, u64),
}

impl Entry {
    /// Whose it is and up to which sequence it brings a reader.
    #[must_use]
    pub fn position(&self) -> (&Origin, u64) {
        match self {
            Self::Event(event) => (&event.origin, event.sequence),
            Self::Gap(gap) => (&gap.origin, gap.last),
            Self::Passed(origin, sequence) | Self::Base(origin, sequence) => (origin, *sequence),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => ENTRY_BYTES + event.name.len() + event.payload.len(),
            Self::Gap(_) | Self::Passed(..) | Self::Base(..) => ENTRY_BYTES,
        }
    }
}

/// Where a reader starts.
#[derive(Debug)]
pub struct Joined {
    /// Index of the entry to take first.
    pub index: u64,
    /// Where the reader stands once it has taken `missed`.
    pub positions: Positions,
    /// What it will never get because the ring no longer holds it, one per origin.
    pub missed: Vec<Gap>,
}

/// What a reader took.
#[derive(Debug)]
pub enum Page {
    /// Entries from the index asked for; empty at the head of the ring.
    Entries(Vec<Entry>),
    /// The index has left the ring: see [`EventRing::rejoin`].
    Behind,
}

/// What a reader without a position of an origin has missed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Everything since number 1: its token is from before the origin was known.
    FromStart,
    /// What came after the origin became known here: it was listening then.
    FromBase,
}

/// The ring.
#[derive(Debug)]
pub struct EventRing {
    inner: Mutex<Inner>,
    next: AtomicU64,
    head: watch::Sender<u64>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// Index of the front entry.
    first: u64,
    bytes: usize,
    origins: BTreeMap<Origin, State>,
    /// Positions at the head, kept until the next push.
    at_head: Option<Arc<Positions>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Last sequence before this node's time.
    base: u64,
    /// Last sequence that left the ring, at least `base`.
    dropped: u64,
    /// Last sequence pushed.
    last: u64,
    /// Index after its last entry.
    touched: u64,
}

impl Default for EventRing {
    fn default() -> Self {
        Self::new()
    }
}

impl EventRing {
    /// An empty ring.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner::default()),
            next: AtomicU64::new(0),
            head: watch::Sender::new(0),
            signal: Arc::default(),
        }
    }

    /// Appends a batch and wakes the readers once. What is not after the last
    /// position of its origin is left out: the engine never sends such.
    pub fn push(&self, batch: Vec<EventUpdate>) {
        let next = {
            let mut inner = lock(&self.inner);
            for update in batch {
                inner.push(update);
            }
            inner.bound();
            inner.at_head = None;
            inner.next()
        };
        if self.next.swap(next, Ordering::AcqRel) != next {
            self.head.send_replace(next);
        }
    }

    /// Index that the next entry will get.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Tells of every new head; several may merge.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// As [`EventRing::subscribe`], for the many streams of the API.
    #[must_use]
    pub fn listen(&self) -> Listener {
        self.signal.listen()
    }

    /// Keeps those who listen told; see [`Signal::relay`].
    pub async fn relay(&self) {
        self.signal.relay(self.subscribe()).await;
    }

    /// Bytes held now, as bounded by [`EVENT_BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        lock(&self.inner).bytes
    }

    /// The head, and the position of every known origin there.
    #[must_use]
    pub fn at_head(&self) -> (u64, Arc<Positions>) {
        let mut inner = lock(&self.inner);
        let next = inner.next();
        if let Some(positions) = &inner.at_head {
            return (next, Arc::clone(positions));
        }
        let positions: Positions = inner
            .origins
            .iter()
            .map(|(origin, state)| (origin.clone(), state.last))
            .collect();
        let positions = Arc::new(positions);
        inner.at_head = Some(Arc::clone(&positions));
        (next, positions)
    }

    /// A reader that wants everything that the ring still holds, without a word on
    /// what it no longer holds.
    #[must_use]
    pub fn join_oldest(&self) -> Joined {
        let inner = lock(&self.inner);
        let at = |(origin, state): (&Origin, &State)| (origin.clone(), state.dropped);
        Joined {
            index: inner.first,
            positions: inner.origins.iter().map(at).collect(),
            missed: Vec::new(),
        }
    }

    /// A reader that stands at `positions` and no longer at an index.
    #[must_use]
    pub fn rejoin(&self, mut positions: Positions, unknown: Unknown) -> Joined {
        let inner = lock(&self.inner);
        let mut missed = Vec::new();
        for (origin, state) in &inner.origins {
            let at = positions.get(origin).unwrap_or(match unknown {
                Unknown::FromStart => 0,
                Unknown::FromBase => state.base,
            });
            if at < state.dropped {
                missed.push(Gap {
                    origin: origin.clone(),
                    first: at + 1,
                    last: state.dropped,
                });
                positions.advance(origin, state.dropped);
            }
        }
        Joined {
            index: inner.first,
            positions,
            missed,
        }
    }

    /// Entries from `index` on: at most `items`, and no more once they hold `bytes`.
    #[must_use]
    pub fn read(&self, index: u64, items: usize, bytes: usize) -> Page {
        let inner = lock(&self.inner);
        let Some(skip) = index.checked_sub(inner.first) else {
            return Page::Behind;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut held = 0;
        let entries = inner.entries.iter().skip(skip).take(items);
        let page = entries.take_while(|entry| {
            let fits = held == 0 || held + entry.bytes() <= bytes;
            held += entry.bytes();
            fits
        });
        Page::Entries(page.cloned().collect())
    }
}

impl Inner {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn push(&mut self, update: EventUpdate) {
        let entry = match update {
            EventUpdate::Event(event) => Entry::Event(event),
            EventUpdate::Passed { origin, sequence } => Entry::Passed(origin, sequence),
            EventUpdate::Gap(gap) => Entry::Gap(Arc::new(gap)),
            EventUpdate::Base { origin, sequence } => Entry::Base(origin, sequence),
        };
        let index = self.next() + 1;
        let (origin, sequence) = entry.position();
        match self.origins.get_mut(origin) {
            Some(state) if sequence <= state.last => return,
            Some(state) => {
                state.last = sequence;
                state.touched = index;
            }
            None => {
                let base = match &entry {
                    Entry::Base(..) => sequence,
                    Entry::Event(_) | Entry::Passed(..) | Entry::Gap(_) => 0,
                };
                let state = State {
                    base,
                    dropped: base,
                    last: sequence,
                    touched: index,
                };
                self.origins.insert(origin.clone(), state);
            }
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    fn bound(&mut self) {
        while self.entries.len() > EVENTS_MAX || self.bytes > EVENT_BYTES_MAX {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            self.bytes -= entry.bytes();
            let (origin, sequence) = entry.position();
            if let Some(state) = self.origins.get_mut(origin) {
                state.dropped = sequence.max(state.dropped);
            }
        }
        if self.origins.len() > ORIGINS_MAX {
            self.forget_origins();
        }
    }

    /// Forgets an eighth of the origins, so that the work is rare.
    fn forget_origins(&mut self) {
        let mut silent: Vec<_> = self
            .origins
            .iter()
            .filter(|(_, state)| state.touched <= self.first)
            .map(|(origin, state)| (state.touched, origin.clone()))
            .collect();
        silent.sort_unstable();
        for (_, origin) in silent.into_iter().take(ORIGINS_MAX / 8) {
            self.origins.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests;
