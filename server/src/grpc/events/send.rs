//! One SendEvent stream: events in, receipts out, many under way at once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt as _};
use muster_engine::{Accepted, EventError};
use muster_proto::v1 as pb;
use pb::send_event_response::Receipt;
use prometheus_client::metrics::counter::Counter;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use super::super::limits::{
    DELIVERIES_OUTSTANDING_MAX, EVENTS_IN_FLIGHT_MAX, RECEIPTS_OUTSTANDING_MAX, RETRY_AFTER,
};
use super::super::status::{self, invalid};
use super::draft::{self, Wanted};
use crate::deliver::{Deliveries, Progress, Slot, TRACKED_MAX};
use crate::gossip::{CommandError, Handle, Replicated};
use crate::hub::Hub;

type Answer = Result<Accepted, CommandError>;

/// What a stream needs from its service.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) handle: Handle,
    pub(crate) hub: Arc<Hub>,
    pub(crate) deliveries: Arc<Deliveries>,
    /// Name of this node: the origin of its events.
    pub(crate) name: Arc<str>,
    pub(crate) rejected: Counter,
    pub(crate) decode_max: usize,
}

/// The stream of receipts.
pub(crate) struct Sending<E> {
    events: E,
    /// The caller has closed its half.
    drained: bool,
    sender: Sender,
    /// Sequence of the last event that came.
    last: u64,
    /// On their way to the engine. Each was polled when it came, so that the engine
    /// gets them in order.
    in_flight: VecDeque<InFlight>,
    /// Accepted, not yet replicated, in order.
    unreplicated: VecDeque<(u64, pb::EventId)>,
    /// Accepted, followed to those that they are meant for; each with its sequence in
    /// the stream.
    followed: SelectAll<Followed>,
    replicated: WatchStream<Replicated>,
    replicated_up_to: Replicated,
    /// Why the stream ends once the receipts before it are out.
    failed: Option<Status>,
    ended: bool,
}

type Followed = Pin<Box<dyn Stream<Item = (u64, pb::EventId, Progress)> + Send>>;

struct InFlight {
    sequence: u64,
    replicate: bool,
    follow: Option<Follow>,
    state: State,
}

/// What is needed to follow an event once it is accepted.
struct Follow {
    slot: Slot,
    target: Bytes,
    timeout: Duration,
}

enum State {
    Sending(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Answered(Answer),
    Refused(pb::EventRejected),
}

impl InFlight {
    /// True once there is an answer.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let State::Sending(sending) = &mut self.state {
            match sending.as_mut().poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(answer) => self.state = State::Answered(answer),
            }
        }
        true
    }
}

impl<E> Sending<E>
where
    E: Stream<Item = Result<pb::SendEventRequest, Status>> + Unpin,
{
    pub(crate) fn new(events: E, sender: Sender) -> Self {
        let replicated = WatchStream::new(sender.handle.replicated());
        Self {
            events,
            drained: false,
            sender,
            last: 0,
            in_flight: VecDeque::new(),
            unreplicated: VecDeque::new(),
            followed: SelectAll::new(),
            replicated,
            replicated_up_to: Replicated::default(),
            failed: None,
            ended: false,
        }
    }

    /// Takes in events while there is room.
    fn poll_events(&mut self, cx: &mut Context<'_>) {
        while !self.drained && self.failed.is_none() && self.has_room() {
            match Pin::new(&mut self.events).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.drained = true,
                Poll::Ready(Some(Err(error))) => {
                    let error = status::undecodable(error, self.sender.decode_max);
                    self.failed = Some(error);
                }
                Poll::Ready(Some(Ok(event))) => self.failed = self.take(event, cx).err(),
            }
        }
    }

    fn has_room(&self) -> bool {
        let outstanding = self.in_flight.len() + self.unreplicated.len();
        let soon = self.in_flight.iter().filter(|one| one.follow.is_some());
        self.in_flight.len() < EVENTS_IN_FLIGHT_MAX
            && outstanding < RECEIPTS_OUTSTANDING_MAX
            && self.followed.len() + soon.count() < DELIVERIES_OUTSTANDING_MAX
    }

    fn take(&mut self, event: pb::SendEventRequest, cx: &mut Context<'_>) -> Result<(), Status> {
        let (sequence, last) = (event.sequence, self.last);
        if sequence <= last {
            let message = format!("{sequence} is not above {last}, the one before it");
            return Err(invalid("SEQUENCE_NOT_GROWING", "sequence", message));
        }
        self.last = sequence;
        let wanted = draft::wanted(event, &self.sender.hub)?;
        let mut in_flight = self.start(sequence, wanted);
        in_flight.poll(cx);
        self.in_flight.push_back(in_flight);
        Ok(())
    }

    fn start(&self, sequence: u64, wanted: Result<Wanted, pb::EventRejected>) -> InFlight {
        let mut in_flight = InFlight {
            sequence,
            replicate: false,
            follow: None,
            state: State::Refused(pb::EventRejected::default()),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(rejected) => {
                in_flight.state = State::Refused(rejected);
                return in_flight;
            }
        };
        if wanted.level == pb::ReceiptLevel::Delivered {
            let Some(slot) = self.sender.deliveries.reserve() else {
                in_flight.state = State::Refused(too_many_followed());
                return in_flight;
            };
            in_flight.follow = Some(Follow {
                slot,
                target: wanted.draft.target.clone(),
                timeout: wanted.timeout,
            });
        }
        in_flight.replicate = wanted.level == pb::ReceiptLevel::Replicated;
        let sending = self.sender.handle.send_event(wanted.draft);
        in_flight.state = State::Sending(Box::pin(sending));
        in_flight
    }

    /// Follows an accepted event to its targets.
    fn follow(&mut self, sequence: u64, id: &pb::EventId, follow: Follow) {
        let Follow {
            slot,
            target,
            timeout,
        } = follow;
        let of = (id.boot, id.sequence);
        let tracking = self.sender.deliveries.track(slot, of, &target, timeout);
        let id = id.clone();
        let told = tracking.map(move |progress| (sequence, id.clone(), progress));
        self.followed.push(Box::pin(told));
    }

    /// The next receipt that is due.
    fn poll_receipt(&mut self, cx: &mut Context<'_>) -> Option<pb::SendEventResponse> {
        // All of them: each may have just found room in the engine's queue.
        for in_flight in &mut self.in_flight {
            in_flight.poll(cx);
        }
        if let Some(receipt) = self.pop_answered() {
            return Some(receipt);
        }
        while let Poll::Ready(Some(up_to)) = Pin::new(&mut self.replicated).poll_next(cx) {
            self.replicated_up_to = up_to;
        }
        if let Poll::Ready(Some(told)) = Pin::new(&mut self.followed).poll_next(cx) {
            return Some(delivery(told));
        }
        let (_, id) = self.unreplicated.front()?;
        let Replicated { boot, sequence } = self.replicated_up_to;
        if id.boot < boot {
            self.unreplicated.clear();
            self.failed = Some(status::boot_raised(boot));
            return None;
        }
        if (id.boot, id.sequence) > (boot, sequence) {
            return None;
        }
        let (sequence, id) = self.unreplicated.pop_front()?;
        let replicated = pb::EventReplicated { id: Some(id) };
        Some(receipt(sequence, Receipt::Replicated(replicated)))
    }

    fn pop_answered(&mut self) -> Option<pb::SendEventResponse> {
        let front = self.in_flight.front()?;
        if matches!(front.state, State::Sending(_)) {
            return None;
        }
        let front = self.in_flight.pop_front()?;
        let (sequence, replicate) = (front.sequence, front.replicate);
        let answer = match front.state {
            State::Sending(_) => return None,
            State::Answered(answer) => answer,
            State::Refused(rejected) => {
                self.sender.rejected.inc();
                return Some(receipt(sequence, Receipt::Rejected(rejected)));
            }
        };
        match answer {
            Ok(accepted) => {
                let id = pb::EventId {
                    origin: self.sender.name.to_string(),
                    boot: accepted.boot,
                    sequence: accepted.sequence,
                };
                if replicate {
                    self.unreplicated.push_back((sequence, id.clone()));
                }
                if let Some(follow) = front.follow {
                    self.follow(sequence, &id, follow);
                }
                let accepted = pb::EventAccepted {
                    id: Some(id),
                    lamport_time: accepted.lamport,
                };
                Some(receipt(sequence, Receipt::Accepted(accepted)))
            }
            Err(CommandError::Event(error)) => match rejection(&error) {
                Some(rejected) => {
                    self.sender.rejected.inc();
                    Some(receipt(sequence, Receipt::Rejected(rejected)))
                }
                None => self.fail(CommandError::Event(error)),
            },
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: CommandError) -> Option<pb::SendEventResponse> {
        self.in_flight.clear();
        self.unreplicated.clear();
        self.followed.clear();
        self.failed = Some(error.into());
        None
    }
}

fn receipt(sequence: u64, receipt: Receipt) -> pb::SendEventResponse {
    pb::SendEventResponse {
        sequence,
        receipt: Some(receipt),
    }
}

/// What a followed event came to, as a receipt.
fn delivery((sequence, id, progress): (u64, pb::EventId, Progress)) -> pb::SendEventResponse {
    let id = Some(id);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let told = match progress {
        Progress::Delivered(member) => Receipt::Delivered(pb::EventDelivered {
            id,
            member: member.to_string(),
        }),
        Progress::Done {
            expected,
            delivered,
            silent,
        } => Receipt::Delivery(pb::EventDelivery {
            id,
            expected: count(expected),
            delivered: count(delivered),
            silent: silent.iter().map(ToString::to_string).collect(),
        }),
    };
    receipt(sequence, told)
}

fn too_many_followed() -> pb::EventRejected {
    let message = format!("{TRACKED_MAX} events wait for DELIVERED, more are not taken");
    let reason = pb::EventRejectReason::TooManyPending;
    let mut rejected = draft::refuse(reason, message);
    rejected.limit = TRACKED_MAX as u64;
    rejected.retry_after = prost_types::Duration::try_from(RETRY_AFTER).ok();
    rejected
}

/// The receipt of an event that the engine refused for what it is.
fn rejection(error: &EventError) -> Option<pb::EventRejected> {
    let (reason, limit) = match error {
        EventError::InvalidName(_) => (pb::EventRejectReason::InvalidName, 0),
        EventError::TooLarge { limit, .. } => (pb::EventRejectReason::TooLarge, *limit),
        EventError::TooMuch { limit, .. } => (pb::EventRejectReason::TooLarge, *limit),
        EventError::Leaving => (pb::EventRejectReason::Leaving, 0),
        EventError::Full => return None,
    };
    Some(pb::EventRejected {
        reason: reason.into(),
        message: error.to_string(),
        limit: limit as u64,
        retry_after: None,
    })
}

impl<E> Stream for Sending<E>
where
    E: Stream<Item = Result<pb::SendEventRequest, Status>> + Unpin,
{
    type Item = Result<pb::SendEventResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            // Receipts first: they make room for events.
            if let Some(receipt) = this.poll_receipt(cx) {
                return Poll::Ready(Some(Ok(receipt)));
            }
            let before = this.in_flight.len();
            this.poll_events(cx);
            if this.in_flight.len() == before {
                break;
            }
        }
        if !this.in_flight.is_empty() {
            return Poll::Pending;
        }
        if let Some(failed) = this.failed.take() {
            this.ended = true;
            return Poll::Ready(Some(Err(failed)));
        }
        if this.drained && this.unreplicated.is_empty() && this.followed.is_empty() {
            this.ended = true;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
