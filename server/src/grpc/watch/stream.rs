//! One watch: which message its reader gets next.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use muster_proto::v1::{SnapshotBegin, SnapshotReason};
use prometheus_client::metrics::counter::Counter;
use tonic::Status;

use super::super::metrics::Metrics;
use super::super::status::invalid;
use super::group::{Snapshot, Source, Step, View};
use super::pulse::{Beat, Pulse};
use super::token::Token;
use super::{Part, Watched};
use crate::hub::Hub;

/// What a caller asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Empty: from a snapshot.
    pub(crate) token: String,
    /// End after the snapshot.
    pub(crate) once: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) pause: Duration,
}

/// Access to the store of one kind of item.
pub(crate) type Get<W> = fn(&Hub) -> Source<'_, W>;

/// The stream of one watch.
#[derive(Debug)]
pub(crate) struct Watch<W: Watched> {
    hub: Arc<Hub>,
    get: Get<W>,
    view: Arc<View<W>>,
    /// The reader was brought to this revision.
    revision: u64,
    next: Next,
    once: bool,
    pulse: Pulse,
    metrics: Metrics,
    delivered: Counter,
}

/// What comes next whatever changes.
#[derive(Debug)]
enum Next {
    /// Nothing: wait.
    Idle,
    /// A message, then wait.
    Message(Bytes),
    /// A snapshot from one of its messages on.
    Snapshot(Snapshot, usize),
    /// Look whether something changed.
    Look,
    /// The end.
    End,
}

impl<W: Watched> Watch<W> {
    /// Opens a watch.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the token is none. A token of another epoch or filter or
    /// from too long ago is answered by a snapshot.
    pub(crate) fn open(
        hub: Arc<Hub>,
        get: Get<W>,
        view: Arc<View<W>>,
        ask: Ask,
        (metrics, delivered): (Metrics, Counter),
    ) -> Result<Self, Status> {
        let source = get(&hub);
        // Before the first look, so that no change falls between the two.
        let changes = source.store.listen();
        let start = start(&source, &view, &ask.token)?;
        if !view.is_shared() {
            metrics.unshared.inc();
        }
        let mut watch = Self {
            pulse: Pulse::new(changes, ask.pause, ask.heartbeat),
            hub,
            get,
            view,
            revision: 0,
            next: Next::Idle,
            once: ask.once,
            metrics,
            delivered,
        };
        match start {
            Ok(revision) => watch.resume(revision),
            Err(reason) => watch.begin(reason),
        }
        Ok(watch)
    }

    fn resume(&mut self, revision: u64) {
        let source = (self.get)(&self.hub);
        self.revision = revision;
        let resumed = self.view.message(&source, revision, true, Part::Resumed);
        self.next = Next::Message(resumed);
    }

    /// Starts a snapshot.
    fn begin(&mut self, reason: SnapshotReason) {
        let source = (self.get)(&self.hub);
        let snapshot = self.view.snapshot(&source);
        let begin = SnapshotBegin {
            reason: reason.into(),
            estimated_items: snapshot.items,
        };
        let begin = Part::Begin(begin);
        let begin = self.view.message(&source, snapshot.revision, false, begin);
        // The beginning stands before the shared messages.
        let messages = std::iter::once(begin).chain(snapshot.messages.iter().cloned());
        let snapshot = Snapshot {
            messages: messages.collect(),
            ..snapshot
        };
        self.next = Next::Snapshot(snapshot, 0);
    }

    /// Takes the next message that needs no waiting.
    fn take(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.next, Next::Idle) {
            Next::Idle => None,
            Next::End => {
                self.next = Next::End;
                None
            }
            Next::Message(message) => {
                // What changed before this stream was opened wakes nobody.
                self.next = Next::Look;
                Some(message)
            }
            Next::Snapshot(snapshot, at) => {
                let message = snapshot.messages.get(at).cloned();
                self.next = if at + 1 < snapshot.messages.len() {
                    Next::Snapshot(snapshot, at + 1)
                } else {
                    self.revision = snapshot.revision;
                    if self.once { Next::End } else { Next::Look }
                };
                message
            }
            Next::Look => self.look(),
        }
    }

    fn look(&mut self) -> Option<Bytes> {
        if self.once {
            self.next = Next::End;
        }
        let source = (self.get)(&self.hub);
        if self.revision == source.store.revision() {
            return None;
        }
        let (to, step) = self.view.step(&source, self.revision);
        match step {
            Step::Nothing => {
                self.revision = to;
                None
            }
            Step::Delta { message, revisions } => {
                self.metrics.lag.observe(precise(to - self.revision));
                self.metrics.merges.inc_by(u64::from(revisions > 1));
                self.revision = to;
                self.pulse.told();
                Some(message)
            }
            Step::Resync => {
                self.metrics.resyncs.inc();
                self.begin(SnapshotReason::FellBehind);
                self.pulse.told();
                self.take()
            }
        }
    }

    fn heartbeat(&mut self) -> Bytes {
        let source = (self.get)(&self.hub);
        self.view
            .message(&source, self.revision, true, Part::Heartbeat)
    }
}

/// The revision to resume at, or why a snapshot comes instead.
fn start<W: Watched>(
    source: &Source<'_, W>,
    view: &View<W>,
    token: &str,
) -> Result<Result<u64, SnapshotReason>, Status> {
    if token.is_empty() {
        return Ok(Err(SnapshotReason::Initial));
    }
    let token =
        Token::decode(token).map_err(|error| invalid("BAD_RESUME_TOKEN", "resume_token", error))?;
    let known = token.revision == 0 || source.store.knows(token.revision);
    Ok(if token.epoch != source.epoch {
        Err(SnapshotReason::EpochChanged)
    } else if token.filter != view.hash() {
        Err(SnapshotReason::FilterChanged)
    } else if !known {
        Err(SnapshotReason::TokenExpired)
    } else {
        Ok(token.revision)
    })
}

/// For a histogram; exact up to 2^53.
fn precise(count: u64) -> f64 {
    count as f64
}

impl<W: Watched> Stream for Watch<W> {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = &mut *self;
        loop {
            if let Some(message) = watch.take() {
                watch.pulse.sent();
                watch.delivered.inc();
                return Poll::Ready(Some(Ok(message)));
            }
            if matches!(watch.next, Next::End) {
                return Poll::Ready(None);
            }
            match watch.pulse.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Change) => watch.next = Next::Look,
                Poll::Ready(Beat::Heartbeat) => watch.next = Next::Message(watch.heartbeat()),
            }
        }
    }
}
