//! A WatchEvents stream that merges events that were sent for it.
//!
//! An event that waits is not passed yet: tokens end before it, and a later event of
//! its origin pushes it out first. So nothing is lost by resuming, and the order per
//! origin stays.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use muster_engine::Event;
use muster_proto::v1 as pb;
use pb::watch_events_response::Event as Message;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::super::convert;
use super::super::frames::framed;
use super::super::limits::{COALESCE_MAX, PAGE_BYTES, PAGE_ENTRIES};
use super::super::metrics::Metrics;
use super::super::status::invalid;
use super::super::watch::pulse::{Beat, Pulse};
use super::patterns::Patterns;
use super::token;
use super::watch::{Ask, Start};
use crate::coalesce::{Coalescer, Merged, Windows};
use crate::hub::Hub;
use crate::hub::positions::Positions;
use crate::hub::ring::{Entry, Joined, Page, Unknown};

/// The stream.
#[derive(Debug)]
pub(crate) struct CoalescedWatch {
    hub: Arc<Hub>,
    patterns: Patterns,
    /// Index of the ring entry to take next.
    index: u64,
    /// Where the reader stands, what waits included.
    positions: Positions,
    waiting: Coalescer<String, Arc<Event>>,
    due: Pin<Box<Sleep>>,
    pending: VecDeque<Bytes>,
    pulse: Pulse,
    metrics: Metrics,
    delivered: Counter,
}

/// The windows that a caller asks for.
///
/// # Errors
/// INVALID_ARGUMENT for a window that is 0 or too long.
pub(super) fn windows(asked: &pb::EventCoalescing) -> Result<Windows, Status> {
    let default = Windows::default();
    let read = |given: Option<prost_types::Duration>, unset: Duration, field: &str| {
        let Some(given) = given else {
            return Ok(unset);
        };
        let time = Duration::try_from(given).ok();
        let time = time.filter(|time| !time.is_zero() && *time <= COALESCE_MAX);
        time.ok_or_else(|| {
            let limit = COALESCE_MAX.as_secs();
            let message = format!("more than 0 and at most {limit} s are allowed");
            invalid("BAD_WINDOW", field, message)
        })
    };
    Ok(Windows {
        window: read(asked.window, default.window, "coalesce.window")?,
        quiet: read(asked.quiet, default.quiet, "coalesce.quiet")?,
    })
}

impl CoalescedWatch {
    pub(crate) fn open(
        hub: Arc<Hub>,
        patterns: Patterns,
        windows: Windows,
        ask: Ask,
        (metrics, delivered): (Metrics, Counter),
    ) -> Self {
        let ring = hub.events();
        // Before the first look, so that no event falls between the two.
        let changes = ring.listen();
        let (begin, joined) = match ask.start {
            Start::Now => {
                let (index, positions) = ring.at_head();
                let (positions, missed) = ((*positions).clone(), Vec::new());
                let joined = Joined {
                    index,
                    positions,
                    missed,
                };
                (joined.positions.clone(), joined)
            }
            Start::Oldest => {
                let joined = ring.join_oldest();
                (joined.positions.clone(), joined)
            }
            Start::After(positions) => {
                let joined = ring.rejoin(positions.clone(), Unknown::FromStart);
                (positions, joined)
            }
        };
        let mut watch = Self {
            pulse: Pulse::new(changes, Duration::ZERO, ask.heartbeat),
            hub,
            patterns,
            index: 0,
            positions: Positions::default(),
            waiting: Coalescer::new(windows),
            due: Box::pin(tokio::time::sleep(Duration::ZERO)),
            pending: VecDeque::new(),
            metrics,
            delivered,
        };
        let token = token::encode(&begin);
        watch.push(Message::Begin(pb::EventBegin { token }));
        watch.join(joined);
        watch
    }

    fn push(&mut self, message: Message) {
        let event = Some(message);
        self.pending
            .push_back(framed(&pb::WatchEventsResponse { event }));
    }

    fn push_merged(&mut self, merged: Vec<Merged<Arc<Event>>>) {
        for Merged { item, merged } in merged {
            let event = pb::Event {
                merged,
                ..convert::event(&item)
            };
            self.push(Message::Item(event));
        }
    }

    fn join(&mut self, joined: Joined) {
        self.index = joined.index;
        self.positions = joined.positions;
        for gap in joined.missed {
            self.metrics.event_gaps.inc();
            let gap = convert::gap(&gap, pb::EventGapReason::FellBehind);
            self.push(Message::Gap(gap));
        }
    }

    /// Takes in what is there. False at the head.
    fn read(&mut self) -> bool {
        match (self.hub.events()).read(self.index, PAGE_ENTRIES, PAGE_BYTES) {
            Page::Entries(entries) if entries.is_empty() => return false,
            Page::Entries(entries) => {
                self.index += entries.len() as u64;
                for entry in entries {
                    self.take(&entry);
                }
            }
            Page::Behind => {
                let all = self.waiting.take();
                self.push_merged(all);
                let positions = std::mem::take(&mut self.positions);
                let joined = self.hub.events().rejoin(positions, Unknown::FromBase);
                self.join(joined);
            }
        }
        true
    }

    fn take(&mut self, entry: &Entry) {
        let (origin, last) = entry.position();
        let after = self.positions.get(origin).unwrap_or(0);
        if last <= after {
            return;
        }
        let now = Instant::now();
        match entry {
            Entry::Event(event) if !self.patterns.wants(&event.name) => {}
            Entry::Event(event) if event.coalesce => {
                let newer = |new: &Arc<Event>, held: &Arc<Event>| {
                    new.origin == held.origin || new.lamport >= held.lamport
                };
                let (name, event) = (event.name.clone(), Arc::clone(event));
                self.waiting.put(now, name, event, newer);
            }
            Entry::Event(event) => {
                self.push_out(origin);
                self.push(Message::Item(convert::event(event)));
            }
            Entry::Gap(gap) => {
                self.push_out(origin);
                let mut gap = convert::gap(gap, pb::EventGapReason::NotHeld);
                gap.first_sequence = gap.first_sequence.max(after + 1);
                self.push(Message::Gap(gap));
            }
            Entry::Passed(..) | Entry::Base(..) => {}
        }
        self.positions.advance(origin, last);
        let due = self.waiting.take_due(now);
        self.push_merged(due);
    }

    /// What waits of an origin comes before what is to come of it.
    fn push_out(&mut self, origin: &muster_engine::Origin) {
        let held = self.waiting.take_where(|event| event.origin == *origin);
        self.push_merged(held);
    }

    fn heartbeat(&mut self) {
        let waiting: Vec<_> = self.waiting.waiting().collect();
        // Positions never go back: those of origins that wait are put in anew.
        let mut positions: Positions = self
            .positions
            .iter()
            .filter(|(origin, _)| waiting.iter().all(|event| event.origin != **origin))
            .map(|(origin, at)| (origin.clone(), at))
            .collect();
        for event in &waiting {
            let first = waiting.iter().filter(|other| other.origin == event.origin);
            let first = first.map(|event| event.sequence).min();
            let before = first.unwrap_or(event.sequence) - 1;
            positions.advance(&event.origin, before);
        }
        let token = token::encode(&positions);
        self.push(Message::Heartbeat(pb::EventHeartbeat { token }));
    }

    /// Pushes out what has waited long enough. True if there was something.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.waiting.deadline() else {
            return false;
        };
        self.due.as_mut().reset(at);
        if self.due.as_mut().poll(cx).is_pending() {
            return false;
        }
        let due = self.waiting.take_due(at);
        self.push_merged(due);
        true
    }
}

impl Stream for CoalescedWatch {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                self.delivered.inc();
                self.pulse.sent();
                return Poll::Ready(Some(Ok(message)));
            }
            if self.read() || self.poll_due(cx) {
                continue;
            }
            match self.pulse.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Change) => {}
                Poll::Ready(Beat::Heartbeat) => self.heartbeat(),
            }
        }
    }
}
