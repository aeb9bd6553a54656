//! One event on its way to those it is meant for.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use muster_engine::Status;
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tokio_stream::wrappers::WatchStream;

use super::{Deliveries, Slot};

/// Names in [`Progress::Done`]; more silent members are only counted.
pub const SILENT_NAMES_MAX: usize = 256;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// This member has it.
    Delivered(Arc<str>),
    /// The end: everybody has it, or is gone, or the time is over.
    Done {
        /// Members that were to get it.
        expected: usize,
        /// Those that said that they have it.
        delivered: usize,
        /// The first [`SILENT_NAMES_MAX`] of the others, in order of name.
        silent: Vec<Arc<str>>,
    },
}

/// A stream of [`Progress`] that ends with [`Progress::Done`]. Dropping it ends the
/// tracking.
#[derive(Debug)]
pub struct Tracking {
    deliveries: Arc<Deliveries>,
    _slot: Slot,
    id: (u64, u64),
    expected: usize,
    delivered: usize,
    /// Members that may still report.
    awaited: BTreeSet<Arc<str>>,
    /// Members that failed or left without a report.
    gone: BTreeSet<Arc<str>>,
    reports: mpsc::Receiver<Arc<str>>,
    members: WatchStream<u64>,
    /// Revision of the members up to which `awaited` is right.
    seen: u64,
    deadline: Pin<Box<Sleep>>,
    done: bool,
}

impl Tracking {
    pub(super) fn new(
        deliveries: Arc<Deliveries>,
        slot: Slot,
        id: (u64, u64),
        awaited: BTreeSet<Arc<str>>,
        (reports, changes, seen): (mpsc::Receiver<Arc<str>>, watch::Receiver<u64>, u64),
        timeout: Duration,
    ) -> Self {
        Self {
            deliveries,
            _slot: slot,
            id,
            expected: awaited.len(),
            delivered: 0,
            awaited,
            gone: BTreeSet::new(),
            reports,
            members: WatchStream::new(changes),
            seen,
            deadline: Box::pin(tokio::time::sleep(timeout)),
            done: false,
        }
    }

    /// Whose event: boot and sequence.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Moves members that can no longer report out of those waited for.
    fn look(&mut self) {
        let store = self.deliveries.hub().members();
        // Removals may be forgotten: then everybody is looked at.
        let changes = store.changes_since(self.seen);
        let Ok(changes) = changes.or_else(|_behind| store.changes_since(0)) else {
            return;
        };
        self.seen = changes.revision;
        for change in changes.items {
            let member = &change.entry.value;
            let live = matches!(member.status, Status::Alive | Status::Suspect);
            if (change.removed || !live)
                && let Some(name) = self.awaited.take(member.display_name())
            {
                self.gone.insert(name);
            }
        }
    }

    fn finish(&mut self) -> Progress {
        self.done = true;
        self.deliveries.forget(self.id);
        let silent = self.expected - self.delivered;
        self.deliveries.metrics.silent.inc_by(silent as u64);
        let mut names = std::mem::take(&mut self.awaited);
        names.append(&mut self.gone);
        Progress::Done {
            expected: self.expected,
            delivered: self.delivered,
            silent: names.into_iter().take(SILENT_NAMES_MAX).collect(),
        }
    }
}

impl Stream for Tracking {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Some(member)) = this.reports.poll_recv(cx) {
            this.awaited.remove(&member);
            // It had the event before it was gone.
            this.gone.remove(&member);
            this.delivered += 1;
            return Poll::Ready(Some(Progress::Delivered(member)));
        }
        while let Poll::Ready(Some(_)) = Pin::new(&mut this.members).poll_next(cx) {
            this.look();
        }
        let over = this.deadline.as_mut().poll(cx).is_ready();
        if this.awaited.is_empty() || over {
            return Poll::Ready(Some(this.finish()));
        }
        Poll::Pending
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        if !self.done {
            self.deliveries.forget(self.id);
        }
    }
}
