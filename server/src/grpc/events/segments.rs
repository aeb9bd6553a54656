//! Ring entries as bytes: encoded once per set of patterns, several framed messages
//! in one buffer, shared by every watch that wants the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use muster_engine::Origin;
use muster_proto::v1 as pb;
use pb::watch_events_response::Event as Message;

use super::super::convert;
use super::super::frames::put_framed;
use super::super::limits::{
    EVENT_GROUPS_MAX, SEGMENT_BYTES, SEGMENT_ENTRIES, SEGMENTS_CACHED_BYTES, SEGMENTS_CACHED_MAX,
};
use super::patterns::Patterns;
use crate::hub::lock;
use crate::hub::positions::Positions;
use crate::hub::ring::{Entry, EventRing, Page};

/// A run of ring entries.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Index after its last entry.
    pub(crate) end: u64,
    /// Framed messages; may be empty.
    pub(crate) bytes: Bytes,
    /// How many messages.
    pub(crate) messages: u64,
    /// Positions that it begins after and brings a reader to, by origin.
    pub(crate) spans: Vec<Span>,
}

/// What a segment holds of one origin.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) origin: Origin,
    /// Smallest sequence in it.
    pub(crate) first: u64,
    /// Largest sequence in it.
    pub(crate) last: u64,
}

/// What a reader takes at an index.
#[derive(Debug)]
pub(crate) enum Taken {
    Segment(Arc<Segment>),
    /// Nothing is there yet.
    Head,
    /// The index left the ring.
    Behind,
}

/// The segments for one set of patterns.
#[derive(Debug)]
pub(crate) struct Feed {
    patterns: Patterns,
    /// By the index of their first entry. `None` in a feed that is not shared.
    segments: Option<Mutex<BTreeMap<u64, Arc<Segment>>>>,
}

impl Feed {
    fn new(patterns: Patterns, shared: bool) -> Self {
        let segments = shared.then(|| Mutex::new(BTreeMap::new()));
        Self { patterns, segments }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.segments.is_some()
    }

    /// The segment from `index` on. Readers that come to an index while its segment
    /// is kept get the same one, so that they fall into step.
    pub(crate) fn take(&self, ring: &EventRing, index: u64) -> Taken {
        let Some(segments) = &self.segments else {
            return self.encode(ring, index, &Positions::default());
        };
        if index == ring.next_index() {
            return Taken::Head;
        }
        let mut segments = lock(segments);
        if let Some(segment) = segments.get(&index) {
            return Taken::Segment(Arc::clone(segment));
        }
        let taken = self.encode(ring, index, &Positions::default());
        if let Taken::Segment(segment) = &taken {
            segments.insert(index, Arc::clone(segment));
            bound(&mut segments);
        }
        taken
    }

    /// The segment from `index` on for one reader, without what it has already.
    pub(crate) fn take_after(&self, ring: &EventRing, index: u64, had: &Positions) -> Taken {
        self.encode(ring, index, had)
    }

    /// Frees the segments: after a silence everybody has them.
    pub(crate) fn rest(&self) {
        if let Some(segments) = &self.segments {
            lock(segments).clear();
        }
    }

    fn encode(&self, ring: &EventRing, index: u64, had: &Positions) -> Taken {
        // Ends are aligned: readers that started anywhere meet at the next one.
        let items = SEGMENT_ENTRIES - index % SEGMENT_ENTRIES;
        let items = usize::try_from(items).unwrap_or(usize::MAX);
        let entries = match ring.read(index, items, SEGMENT_BYTES) {
            Page::Behind => return Taken::Behind,
            Page::Entries(entries) if entries.is_empty() => return Taken::Head,
            Page::Entries(entries) => entries,
        };
        let mut bytes = BytesMut::new();
        let mut segment = Segment {
            end: index + entries.len() as u64,
            bytes: Bytes::new(),
            messages: 0,
            spans: Vec::new(),
        };
        for entry in &entries {
            segment.span(entry);
            if let Some(message) = self.message(entry, had) {
                let event = Some(message);
                put_framed(&pb::WatchEventsResponse { event }, &mut bytes);
                segment.messages += 1;
            }
        }
        segment.bytes = bytes.freeze();
        Taken::Segment(Arc::new(segment))
    }

    fn message(&self, entry: &Entry, had: &Positions) -> Option<Message> {
        let (origin, last) = entry.position();
        let after = had.get(origin).unwrap_or(0);
        if last <= after {
            return None;
        }
        match entry {
            Entry::Event(event) => {
                let wanted = self.patterns.wants(&event.name);
                wanted.then(|| Message::Item(convert::event(event)))
            }
            Entry::Gap(gap) => {
                let mut gap = convert::gap(gap, pb::EventGapReason::NotHeld);
                gap.first_sequence = gap.first_sequence.max(after + 1);
                Some(Message::Gap(gap))
            }
            Entry::Passed(..) | Entry::Base(..) => None,
        }
    }
}

impl Segment {
    fn span(&mut self, entry: &Entry) {
        let (origin, last) = entry.position();
        let first = match entry {
            Entry::Gap(gap) => gap.first,
            Entry::Event(_) | Entry::Passed(..) | Entry::Base(..) => last,
        };
        // Runs of one origin are the rule: look at the latest first.
        let known = self
            .spans
            .iter_mut()
            .rev()
            .find(|span| span.origin == *origin);
        match known {
            Some(span) => span.last = last,
            None => self.spans.push(Span {
                origin: origin.clone(),
                first,
                last,
            }),
        }
    }
}

fn bound(segments: &mut BTreeMap<u64, Arc<Segment>>) {
    let mut bytes: usize = segments.values().map(|segment| segment.bytes.len()).sum();
    let over = |count: usize, bytes: usize| {
        count > SEGMENTS_CACHED_MAX || (count > 1 && bytes > SEGMENTS_CACHED_BYTES)
    };
    while over(segments.len(), bytes) {
        if let Some((_, oldest)) = segments.pop_first() {
            bytes -= oldest.bytes.len();
        }
    }
}

/// The feeds in use, by their patterns.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    feeds: Mutex<BTreeMap<Patterns, Arc<Feed>>>,
}

impl Feeds {
    /// The feed of a set of patterns: shared while there are at most
    /// [`EVENT_GROUPS_MAX`] sets in use.
    pub(crate) fn of(&self, patterns: Patterns) -> Arc<Feed> {
        let mut feeds = lock(&self.feeds);
        if let Some(feed) = feeds.get(&patterns) {
            return Arc::clone(feed);
        }
        if feeds.len() >= EVENT_GROUPS_MAX {
            feeds.retain(|_, feed| Arc::strong_count(feed) > 1);
        }
        let shared = feeds.len() < EVENT_GROUPS_MAX;
        let feed = Arc::new(Feed::new(patterns.clone(), shared));
        if shared {
            feeds.insert(patterns, Arc::clone(&feed));
        }
        feed
    }
}

#[cfg(test)]
mod tests;
