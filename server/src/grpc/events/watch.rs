//! One WatchEvents stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use muster_engine::Origin;
use muster_proto::v1 as pb;
use pb::watch_events_response::Event as Message;
use prometheus_client::metrics::counter::Counter;
use tonic::Status;

use super::super::convert;
use super::super::frames::framed;
use super::super::metrics::Metrics;
use super::super::watch::pulse::{Beat, Pulse};
use super::segments::{Feed, Segment, Taken};
use super::token;
use crate::hub::Hub;
use crate::hub::positions::Positions;
use crate::hub::ring::{Joined, Unknown};

/// Origins that moved since the last known shared positions before these are taken
/// anew; keeps a watch small.
const MOVED_MAX: usize = 64;

/// Where a stream starts.
#[derive(Debug)]
pub(crate) enum Start {
    /// At the head of the ring.
    Now,
    /// At the oldest entry of the ring.
    Oldest,
    /// After the positions of a token.
    After(Positions),
}

/// What a caller asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) start: Start,
    pub(crate) heartbeat: Duration,
}

/// The stream.
#[derive(Debug)]
pub(crate) struct EventWatch {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    /// Index of the ring entry to take next.
    index: u64,
    /// Where the reader stands: `moved` over `known`.
    known: Arc<Positions>,
    moved: Positions,
    /// Positions of a token that the ring has not come to: what is up to them must
    /// not be handed over again.
    ahead: Positions,
    /// The head was not reached since `ahead` was filled.
    catching_up: bool,
    pending: VecDeque<Bytes>,
    pulse: Pulse,
    metrics: Metrics,
    delivered: Counter,
}

impl EventWatch {
    pub(crate) fn open(
        hub: Arc<Hub>,
        feed: Arc<Feed>,
        ask: Ask,
        (metrics, delivered): (Metrics, Counter),
    ) -> Self {
        let ring = hub.events();
        // Before the first look, so that no event falls between the two.
        let changes = ring.listen();
        if !feed.is_shared() {
            metrics.unshared.inc();
        }
        let mut ahead = Positions::default();
        let (begin, joined) = match ask.start {
            Start::Now => {
                let (index, known) = ring.at_head();
                (Arc::clone(&known), Ok((index, known)))
            }
            Start::Oldest => {
                let joined = ring.join_oldest();
                (Arc::new(joined.positions.clone()), Err(joined))
            }
            Start::After(positions) => {
                let joined = ring.rejoin(positions.clone(), Unknown::FromStart);
                ahead = joined.positions.clone();
                (Arc::new(positions), Err(joined))
            }
        };
        let mut watch = Self {
            pulse: Pulse::new(changes, Duration::ZERO, ask.heartbeat),
            hub,
            feed,
            index: 0,
            known: Arc::default(),
            moved: Positions::default(),
            catching_up: !ahead.is_empty(),
            ahead,
            pending: VecDeque::new(),
            metrics,
            delivered,
        };
        let token = token::encode(&begin);
        watch.push(Message::Begin(pb::EventBegin { token }));
        match joined {
            Ok((index, known)) => (watch.index, watch.known) = (index, known),
            Err(joined) => watch.join(joined),
        }
        watch
    }

    fn push(&mut self, message: Message) {
        let event = Some(message);
        self.pending
            .push_back(framed(&pb::WatchEventsResponse { event }));
    }

    /// Goes on at an index, with a gap for each origin that lost something.
    fn join(&mut self, joined: Joined) {
        self.index = joined.index;
        self.known = Arc::new(joined.positions);
        self.moved = Positions::default();
        for gap in joined.missed {
            self.metrics.event_gaps.inc();
            let gap = convert::gap(&gap, pb::EventGapReason::FellBehind);
            self.push(Message::Gap(gap));
        }
    }

    /// The reader was slower than the ring.
    fn rejoin(&mut self) {
        let mut positions = (*self.known).clone();
        for (origin, sequence) in self.moved.iter() {
            positions.advance(origin, sequence);
        }
        let joined = self.hub.events().rejoin(positions, Unknown::FromBase);
        // The ring starts again at its front, where entries may be that the reader
        // has: those of origins that lost nothing.
        self.ahead = joined.positions.clone();
        self.catching_up = true;
        self.join(joined);
    }

    /// Takes what is there; nothing at the head.
    fn take(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                self.delivered.inc();
                return Some(message);
            }
            let ring = self.hub.events();
            let segment = match self.feed.take(ring, self.index) {
                Taken::Head => {
                    if self.catching_up {
                        self.settle();
                    }
                    return None;
                }
                Taken::Behind => {
                    self.rejoin();
                    continue;
                }
                Taken::Segment(segment) if self.has_of(&segment) => {
                    match self.feed.take_after(ring, self.index, &self.ahead) {
                        Taken::Segment(segment) => segment,
                        // It left the ring meanwhile.
                        Taken::Head | Taken::Behind => continue,
                    }
                }
                Taken::Segment(segment) => segment,
            };
            self.pass(&segment);
            if !segment.bytes.is_empty() {
                self.delivered.inc_by(segment.messages);
                return Some(segment.bytes.clone());
            }
        }
    }

    /// Whether the reader already has something of a segment.
    fn has_of(&self, segment: &Segment) -> bool {
        !self.ahead.is_empty()
            && segment.spans.iter().any(|span| {
                let had = self.ahead.get(&span.origin);
                had.is_some_and(|had| had >= span.first)
            })
    }

    /// The reader has a segment.
    fn pass(&mut self, segment: &Segment) {
        self.index = segment.end;
        for span in &segment.spans {
            self.moved.advance(&span.origin, span.last);
            if self
                .ahead
                .get(&span.origin)
                .is_some_and(|had| had <= span.last)
            {
                self.ahead.remove(&span.origin);
            }
        }
        if self.moved.len() > MOVED_MAX {
            self.settle();
        }
    }

    /// At the head the positions are the ring's, shared by all readers there.
    fn settle(&mut self) {
        let (head, positions) = self.hub.events().at_head();
        if head == self.index {
            let beyond = |at: &(&Origin, u64)| positions.get(at.0).is_none_or(|last| last < at.1);
            let ahead = self.ahead.iter().filter(beyond);
            self.ahead = ahead.map(|(origin, at)| (origin.clone(), at)).collect();
            self.catching_up = false;
            self.known = positions;
            self.moved = Positions::default();
        }
    }

    fn heartbeat(&mut self) {
        self.settle();
        self.feed.rest();
        let mut positions = (*self.known).clone();
        for (origin, sequence) in self.moved.iter().chain(self.ahead.iter()) {
            positions.advance(origin, sequence);
        }
        let token = token::encode(&positions);
        self.push(Message::Heartbeat(pb::EventHeartbeat { token }));
    }
}

impl Stream for EventWatch {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(messages) = self.take() {
                self.pulse.sent();
                return Poll::Ready(Some(Ok(messages)));
            }
            match self.pulse.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Change) => {}
                Poll::Ready(Beat::Heartbeat) => self.heartbeat(),
            }
        }
    }
}
