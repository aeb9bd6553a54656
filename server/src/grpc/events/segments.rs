//! Ring entries as bytes: encoded once per set of patterns, several framed messages
//! in one buffer, shared by every watch that wants the same.

mod segment;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use self::segment::Growing;
pub(crate) use self::segment::Segment;
use super::super::limits::{
    EVENT_GROUPS_MAX, PAGE_BYTES, PAGE_ENTRIES, SEGMENTS_CACHED_BYTES, SEGMENTS_CACHED_MAX,
};
use super::patterns::Patterns;
use crate::hub::lock;
use crate::hub::positions::Positions;
use crate::hub::ring::{EventRing, Page};

/// What a reader takes at an index.
#[derive(Debug)]
pub(crate) enum Taken {
    Segment(Arc<Segment>),
    /// Nothing is there yet.
    Head,
    /// The index left the ring.
    Behind,
}

/// Segments by the index of their first entry.
type Kept = BTreeMap<u64, Arc<Segment>>;

/// The segments for one set of patterns.
#[derive(Debug)]
pub(crate) struct Feed {
    patterns: Patterns,
    /// `None` in a feed that is not shared.
    segments: Option<Mutex<Kept>>,
}

impl Feed {
    fn new(patterns: Patterns, shared: bool) -> Self {
        let segments = shared.then(|| Mutex::new(BTreeMap::new()));
        Self { patterns, segments }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.segments.is_some()
    }

    /// The segment from `index` on, as long as it may be: each costs its readers a
    /// write. Readers within a closed one get its rest, so that they fall into step.
    pub(crate) fn take(&self, ring: &EventRing, index: u64) -> Taken {
        let had = Positions::default();
        let Some(segments) = &self.segments else {
            return self.encode(ring, Segment::new(index), u64::MAX, &had);
        };
        let next = ring.next_index();
        if index == next {
            return Taken::Head;
        }
        let mut segments = lock(segments);
        let kept = segments.get(&index).map(Arc::clone);
        let begun = match kept {
            Some(kept) if kept.closed || kept.end >= next => return Taken::Segment(kept),
            Some(kept) => Segment::clone(&kept),
            None => Segment::new(index),
        };
        let taken = self.encode(ring, begun, boundary(&segments, index), &had);
        if let Taken::Segment(segment) = &taken {
            segments.insert(index, Arc::clone(segment));
            bound(&mut segments);
        }
        taken
    }

    /// The segment from `index` on for one reader, without what it has already.
    pub(crate) fn take_after(&self, ring: &EventRing, index: u64, had: &Positions) -> Taken {
        self.encode(ring, Segment::new(index), u64::MAX, had)
    }

    /// Frees the segments: after a silence everybody has them.
    pub(crate) fn rest(&self) {
        if let Some(segments) = &self.segments {
            lock(segments).clear();
        }
    }

    /// Takes what is there into a segment that was begun.
    fn encode(&self, ring: &EventRing, begun: Segment, until: u64, had: &Positions) -> Taken {
        let mut growing = Growing::new(&self.patterns, had, begun, until);
        while let Some(next) = growing.next() {
            match ring.read(next, PAGE_ENTRIES, PAGE_BYTES) {
                Page::Entries(entries) if !entries.is_empty() => growing.take(&entries),
                Page::Behind if growing.is_empty() => return Taken::Behind,
                Page::Entries(_) | Page::Behind => break,
            }
        }
        if growing.is_empty() {
            return Taken::Head;
        }
        Taken::Segment(Arc::new(growing.finish()))
    }
}

/// The end of the closed segment that `index` is in; without one there is no end yet.
fn boundary(segments: &Kept, index: u64) -> u64 {
    let before = segments.range(..index).rev();
    let closed = before.map(|(_, segment)| segment).find(|it| it.closed);
    let ends = closed.map(|segment| segment.end);
    ends.filter(|end| *end > index).unwrap_or(u64::MAX)
}

fn bound(segments: &mut Kept) {
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
