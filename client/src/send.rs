//! Sending events over one stream, receipts matched by sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::error::Error;
use crate::pb;
use crate::pb::event_service_client::EventServiceClient;
use pb::send_event_response::Receipt as Wire;

const CALL: &str = "SendEvent";

/// Events handed over and not yet taken by the connection. When full, `send` waits:
/// the daemon's back-pressure reaches the caller.
const QUEUE_EVENTS: usize = 64;

/// The sending half of an event stream. Dropping it ends the stream in order:
/// receipts still come.
#[derive(Debug)]
pub struct EventSender {
    requests: mpsc::Sender<pb::SendEventRequest>,
    level: pb::ReceiptLevel,
    next: u64,
    open: Arc<Open>,
}

/// The receiving half. Must be read while sending, or the daemon stops reading.
pub struct Receipts {
    state: State,
    level: pb::ReceiptLevel,
    open: Arc<Open>,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Number that [`EventSender::send`] gave it.
    pub sequence: u64,
    /// Its fate.
    pub outcome: Outcome,
}

/// Fate of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// In the memory of the local daemon.
    Accepted(pb::EventAccepted),
    /// Held by two other alive members, or by all there are.
    Replicated(pb::EventReplicated),
    /// One member that it is meant for has it.
    Delivered(pb::EventDelivered),
    /// The end of its delivery: who has it, and who did not say so.
    Delivery(pb::EventDelivery),
    /// Not taken; nothing of it was sent.
    Rejected(pb::EventRejected),
}

/// What goes with an event beside its name and payload. The default is nothing, to
/// everybody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventOptions {
    /// Only members that match see it.
    pub target: Option<pb::MemberFilter>,
    /// Instead of `target`: one alive member with this role, which the daemon picks;
    /// empty: no such wish.
    pub one_of_role: String,
    /// Consumers that coalesce may keep only the newest of this name.
    pub coalesce: bool,
    /// Free data; at most 32 of 4 KiB in all.
    pub attributes: BTreeMap<String, String>,
    /// How long receipts of level DELIVERED are waited for; `None`: 10 s.
    pub receipt_timeout: Option<Duration>,
}

/// Sequences without their last receipt.
#[derive(Debug, Default)]
struct Open(Mutex<BTreeSet<u64>>);

enum State {
    Opening(Pin<Box<dyn Future<Output = OpenResult> + Send>>),
    Open(Box<Streaming<pb::SendEventResponse>>),
    Ended,
}

type OpenResult = Result<Response<Streaming<pb::SendEventResponse>>, Status>;

/// Opens a stream. Nothing is sent before [`Receipts::next`] is polled.
pub(crate) fn open(channel: Channel, level: pb::ReceiptLevel) -> (EventSender, Receipts) {
    let (requests, queue) = mpsc::channel(QUEUE_EVENTS);
    let open = Arc::new(Open::default());
    let mut client = EventServiceClient::new(channel);
    let opening = Box::pin(async move { client.send_event(ReceiverStream::new(queue)).await });
    let sender = EventSender {
        requests,
        level,
        next: 1,
        open: Arc::clone(&open),
    };
    let receipts = Receipts {
        state: State::Opening(opening),
        level,
        open,
    };
    (sender, receipts)
}

impl EventSender {
    /// Hands an event over; waits while the daemon holds back. Returns its sequence,
    /// counted from 1.
    ///
    /// # Errors
    /// [`Error::Ended`] when the stream is gone; [`Receipts::next`] says why.
    pub async fn send(
        &mut self,
        name: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Result<u64, Error> {
        self.send_with(name, payload, EventOptions::default()).await
    }

    /// As [`EventSender::send`], with options.
    ///
    /// # Errors
    /// As [`EventSender::send`].
    pub async fn send_with(
        &mut self,
        name: impl Into<String>,
        payload: impl Into<Bytes>,
        options: EventOptions,
    ) -> Result<u64, Error> {
        let ended = |_| Error::Ended { call: CALL };
        let slot = self.requests.reserve().await.map_err(ended)?;
        let sequence = self.next;
        self.next += 1;
        self.open.lock().insert(sequence);
        slot.send(pb::SendEventRequest {
            sequence,
            name: name.into(),
            payload: payload.into(),
            receipt: self.level.into(),
            target: options.target,
            one_of_role: options.one_of_role,
            coalesce: options.coalesce,
            attributes: options.attributes,
            receipt_timeout: options
                .receipt_timeout
                .and_then(|timeout| timeout.try_into().ok()),
        });
        Ok(sequence)
    }
}

impl Receipts {
    /// The next receipt of any level; `None` when the sender was dropped and every
    /// event has its last receipt. Cancel-safe.
    ///
    /// # Errors
    /// When the stream breaks: the fate of [`Receipts::open`] events is not known.
    pub async fn next(&mut self) -> Result<Option<Receipt>, Error> {
        loop {
            let message = match &mut self.state {
                State::Opening(opening) => match opening.await {
                    Ok(response) => {
                        self.state = State::Open(Box::new(response.into_inner()));
                        continue;
                    }
                    Err(status) => Err(status),
                },
                State::Open(stream) => stream.message().await,
                State::Ended => return Ok(None),
            };
            return match message {
                Ok(Some(message)) => self.take(message).map(Some),
                Ok(None) => self.end(),
                Err(status) => {
                    self.state = State::Ended;
                    Err(Error::of_call(CALL, status))
                }
            };
        }
    }

    /// The next last receipt: refused, or of the level that was asked for.
    ///
    /// # Errors
    /// As [`Receipts::next`].
    pub async fn next_final(&mut self) -> Result<Option<Receipt>, Error> {
        loop {
            match self.next().await? {
                Some(receipt) if !self.is_final(&receipt.outcome) => {}
                other => return Ok(other),
            }
        }
    }

    /// Events that were sent and have no last receipt yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.lock().len()
    }

    fn take(&mut self, message: pb::SendEventResponse) -> Result<Receipt, Error> {
        let sequence = message.sequence;
        let outcome = match message.receipt {
            Some(Wire::Accepted(accepted)) => Outcome::Accepted(accepted),
            Some(Wire::Replicated(replicated)) => Outcome::Replicated(replicated),
            Some(Wire::Delivered(delivered)) => Outcome::Delivered(delivered),
            Some(Wire::Delivery(delivery)) => Outcome::Delivery(delivery),
            Some(Wire::Rejected(rejected)) => Outcome::Rejected(rejected),
            None => return Err(self.violated("a receipt without content".into())),
        };
        let known = if self.is_final(&outcome) {
            self.open.lock().remove(&sequence)
        } else {
            self.open.lock().contains(&sequence)
        };
        if !known {
            let what = format!("a receipt for event {sequence}, which waits for none");
            return Err(self.violated(what));
        }
        Ok(Receipt { sequence, outcome })
    }

    const fn is_final(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Rejected(_) | Outcome::Replicated(_) | Outcome::Delivery(_) => true,
            Outcome::Delivered(_) => false,
            Outcome::Accepted(_) => !matches!(
                self.level,
                pb::ReceiptLevel::Replicated | pb::ReceiptLevel::Delivered
            ),
        }
    }

    fn end(&mut self) -> Result<Option<Receipt>, Error> {
        self.state = State::Ended;
        match self.open() {
            0 => Ok(None),
            open => Err(self.violated(format!("it ended with {open} events without a receipt"))),
        }
    }

    fn violated(&mut self, what: String) -> Error {
        self.state = State::Ended;
        Error::protocol(CALL, what)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // A set is whole after every call, so a poisoned one is as good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts")
            .field("level", &self.level)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
