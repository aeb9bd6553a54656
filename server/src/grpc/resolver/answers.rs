//! Streams that repeat a whole answer whenever it changes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use prometheus_client::metrics::counter::Counter;
use tonic::Status;

use super::super::watch::pulse::{Beat, Pulse};
use crate::hub::Hub;

/// A question whose answer is made from the members.
pub(crate) trait Question: Unpin {
    /// Revision of the last change that may have changed the answer, and of the hub.
    fn last_change(&self, hub: &Hub) -> (u64, u64);

    /// The answer now: a tag that is equal for equal answers, and the message.
    fn answer(&self, hub: &Hub) -> (String, Bytes);

    /// The answer of `tag` still stands at `revision`.
    fn heartbeat(&self, hub: &Hub, tag: &str, revision: u64) -> Bytes;
}

/// What a caller asked for beside the question.
#[derive(Debug)]
pub(crate) struct Ask {
    /// End after the first answer.
    pub(crate) once: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) pause: Duration,
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Answers<Q> {
    hub: Arc<Hub>,
    question: Q,
    once: bool,
    /// Tag of the last answer; empty before the first.
    tag: String,
    /// The answer holds for changes up to here.
    revision: u64,
    /// Something may have changed.
    look: bool,
    pulse: Pulse,
    delivered: Counter,
}

impl<Q: Question> Answers<Q> {
    pub(crate) fn open(hub: Arc<Hub>, question: Q, ask: &Ask, delivered: Counter) -> Self {
        let changes = hub.members().listen();
        Self {
            pulse: Pulse::new(changes, ask.pause, ask.heartbeat),
            hub,
            question,
            once: ask.once,
            tag: String::new(),
            revision: 0,
            look: true,
            delivered,
        }
    }

    /// The answer, if it is another one than before.
    fn look(&mut self) -> Option<Bytes> {
        let (changed, revision) = self.question.last_change(&self.hub);
        let first = self.tag.is_empty();
        if changed <= self.revision && !first {
            self.revision = revision;
            return None;
        }
        let (tag, message) = self.question.answer(&self.hub);
        self.revision = revision;
        if tag == self.tag {
            return None;
        }
        self.tag = tag;
        if !first {
            self.pulse.told();
        }
        Some(message)
    }
}

impl<Q: Question> Stream for Answers<Q> {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.once && !this.tag.is_empty() {
                return Poll::Ready(None);
            }
            if std::mem::take(&mut this.look)
                && let Some(message) = this.look()
            {
                this.pulse.sent();
                this.delivered.inc();
                return Poll::Ready(Some(Ok(message)));
            }
            match this.pulse.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Change) => this.look = true,
                Poll::Ready(Beat::Heartbeat) => {
                    let beat = this.question.heartbeat(&this.hub, &this.tag, this.revision);
                    this.delivered.inc();
                    return Poll::Ready(Some(Ok(beat)));
                }
            }
        }
    }
}
