//! One run of ring entries as bytes, and how it grows.

use bytes::{Bytes, BytesMut};
use muster_engine::Origin;
use muster_proto::v1 as pb;
use pb::watch_events_response::Event as Message;

use super::super::super::convert;
use super::super::super::frames::{framed_len, put_framed};
use super::super::super::limits::{SEGMENT_BYTES, SEGMENT_ENTRIES};
use super::super::patterns::Patterns;
use crate::hub::positions::Positions;
use crate::hub::ring::Entry;

/// A run of ring entries.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Index of its first entry.
    begin: u64,
    /// Index after its last entry.
    pub(crate) end: u64,
    /// Framed messages; may be empty.
    pub(crate) bytes: Bytes,
    /// How many messages.
    pub(crate) messages: u64,
    /// Positions that it begins after and brings a reader to, by origin.
    pub(crate) spans: Vec<Span>,
    /// It takes no further entry: another segment begins at its end.
    pub(super) closed: bool,
}

/// What a segment holds of one origin.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) origin: Origin,
    /// Smallest sequence in it.
    pub(crate) first: u64,
    /// Largest sequence in it.
    pub(crate) last: u64,
}

impl Segment {
    /// Without entries.
    pub(super) fn new(begin: u64) -> Self {
        Self {
            begin,
            end: begin,
            bytes: Bytes::new(),
            messages: 0,
            spans: Vec::new(),
            closed: false,
        }
    }

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

/// A segment that takes entries.
#[derive(Debug)]
pub(super) struct Growing<'a> {
    patterns: &'a Patterns,
    /// What its reader has already.
    had: &'a Positions,
    /// Where another segment begins.
    until: u64,
    segment: Segment,
    bytes: BytesMut,
}

impl<'a> Growing<'a> {
    /// Goes on where `segment` ends, to `until` at most.
    pub(super) fn new(
        patterns: &'a Patterns,
        had: &'a Positions,
        segment: Segment,
        until: u64,
    ) -> Self {
        let bytes = BytesMut::from(segment.bytes.as_ref());
        Self {
            patterns,
            had,
            until,
            segment,
            bytes,
        }
    }

    /// Index of the entry to take next; none once it is closed.
    pub(super) fn next(&self) -> Option<u64> {
        (!self.segment.closed).then_some(self.segment.end)
    }

    /// It has no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.segment.end == self.segment.begin
    }

    /// Takes of the entries at [`Growing::next`] what belongs to it.
    pub(super) fn take(&mut self, entries: &[Entry]) {
        for entry in entries {
            if self.segment.closed {
                break;
            }
            self.take_one(entry);
        }
    }

    fn take_one(&mut self, entry: &Entry) {
        let event = message(self.patterns, entry, self.had);
        if let Some(event) = event {
            let message = pb::WatchEventsResponse { event: Some(event) };
            let bytes = self.bytes.len() + framed_len(&message);
            if !self.bytes.is_empty() && bytes > SEGMENT_BYTES {
                self.segment.closed = true;
                return;
            }
            put_framed(&message, &mut self.bytes);
            self.segment.messages += 1;
        }
        self.segment.span(entry);
        self.segment.end += 1;
        let entries = self.segment.end - self.segment.begin;
        self.segment.closed = self.segment.end == self.until
            || entries >= SEGMENT_ENTRIES
            || self.bytes.len() >= SEGMENT_BYTES;
    }

    pub(super) fn finish(mut self) -> Segment {
        self.segment.bytes = self.bytes.freeze();
        self.segment
    }
}

/// What a reader who has `had` is told of an entry.
fn message(patterns: &Patterns, entry: &Entry, had: &Positions) -> Option<Message> {
    let (origin, last) = entry.position();
    let after = had.get(origin).unwrap_or(0);
    if last <= after {
        return None;
    }
    match entry {
        Entry::Event(event) => {
            let wanted = patterns.wants(&event.name);
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
