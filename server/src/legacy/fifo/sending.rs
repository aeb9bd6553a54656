//! Hands the events of one FIFO to the engine, one after the other.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::{Accepted, EventDraft};
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::gossip::{CommandError, Handle, Replicated};

/// Events of one FIFO that two other members do not hold yet. At the bound its reader
/// waits: should this node die now, more would be lost.
pub(super) const UNREPLICATED_MAX: usize = 1_024;

/// An event on its way, with what sends the next one.
pub(super) type Sending = BoxFuture<'static, (Sender, Result<Accepted, CommandError>)>;

/// Sends, and follows what was sent.
#[derive(Debug)]
pub(super) struct Sender {
    handle: Handle,
    replicated: watch::Receiver<Replicated>,
    unreplicated: VecDeque<Replicated>,
    metrics: Metrics,
}

impl Sender {
    pub(super) fn new(handle: Handle, metrics: Metrics) -> Self {
        Self {
            replicated: handle.replicated(),
            unreplicated: VecDeque::new(),
            handle,
            metrics,
        }
    }

    /// Sends an event as soon as there is room. Dropped, nobody knows whether it went.
    pub(super) fn send(mut self, draft: EventDraft) -> Sending {
        async move {
            self.settle();
            while self.unreplicated.len() >= UNREPLICATED_MAX {
                self.settled().await;
            }
            let result = self.handle.send_event(draft).await;
            if let Ok(accepted) = &result {
                self.metrics.events.inc();
                self.unreplicated.push_back(Replicated {
                    boot: accepted.boot,
                    sequence: accepted.sequence,
                });
            }
            (self, result)
        }
        .boxed()
    }

    /// Waits until something that was sent is held by others; for ever if there is
    /// nothing.
    pub(super) async fn settled(&mut self) {
        if self.unreplicated.is_empty() || self.replicated.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let reached = *self.replicated.borrow_and_update();
        while let Some(sent) = self
            .unreplicated
            .front()
            .copied()
            .filter(|sent| *sent <= reached)
        {
            self.unreplicated.pop_front();
            // What had a number of an older boot is sent anew under one that is not known.
            if sent.boot == reached.boot {
                self.metrics.replicated.inc();
            }
        }
    }
}
