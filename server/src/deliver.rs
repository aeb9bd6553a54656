//! Receipts of level DELIVERED: who of those that an event is meant for has it.
//!
//! ```text
//!   origin:   SendEvent -> Deliveries::track -> one Tracking per event
//!                              ^ reports
//!   receiver: hub's ring -> report::run -> batches per origin -> Courier -> origin
//! ```
//! A receiver reports events that ask for it (`want_ack`), once they are in its ring.
//! Reports are told once more if the origin could not be reached; what is lost then
//! makes the member *silent* in the origin's last receipt, never a wait without end.

pub mod metrics;
pub mod post;
pub mod report;
pub mod tracking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub use self::metrics::Metrics;
pub use self::post::{Post, service};
pub use self::report::Reporter;
pub use self::tracking::{Progress, Tracking};
use crate::hub::{Hub, lock};

/// Events that wait for DELIVERED, in all. One more is refused with a receipt that
/// says when to try again.
pub const TRACKED_MAX: usize = 1_024;

/// Reports kept that came before the event was tracked: a receiver can be faster
/// than the stream that sent the event. The oldest goes first.
pub const EARLY_REPORTS_MAX: usize = 4_096;

/// How long DELIVERED waits unless the caller asks otherwise.
pub const RECEIPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for DELIVERED that a caller may ask for.
pub const RECEIPT_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// Boot and sequence of an own event.
type Id = (u64, u64);

/// The own events that wait for reports.
#[derive(Debug)]
pub struct Deliveries {
    hub: Arc<Hub>,
    slots: Arc<Semaphore>,
    inner: Mutex<Inner>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Inner {
    tracked: BTreeMap<Id, Awaited>,
    early: VecDeque<(Id, Arc<str>)>,
}

/// Who is still to report one event, and whom to tell.
#[derive(Debug)]
struct Awaited {
    members: BTreeSet<Arc<str>>,
    /// Has room for each of them.
    told: mpsc::Sender<Arc<str>>,
}

/// The right to track one event.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Deliveries {
    /// Nothing is tracked.
    #[must_use]
    pub fn new(hub: Arc<Hub>, metrics: Metrics) -> Self {
        Self {
            hub,
            slots: Arc::new(Semaphore::new(TRACKED_MAX)),
            inner: Mutex::new(Inner::default()),
            metrics,
        }
    }

    /// Room for one event; `None` while [`TRACKED_MAX`] are under way.
    #[must_use]
    pub fn reserve(&self) -> Option<Slot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if slot.is_none() {
            self.metrics.refused.inc();
        }
        slot.map(|permit| Slot { _permit: permit })
    }

    /// Follows an event that was just accepted. Expected are the members that its
    /// target means and that are alive or suspect now.
    #[must_use]
    pub fn track(
        self: &Arc<Self>,
        slot: Slot,
        id: (u64, u64),
        target: &Bytes,
        timeout: Duration,
    ) -> Tracking {
        let changes = self.hub.members().subscribe();
        let seen = self.hub.members().revision();
        let meant = self.hub.meant(target);
        let members: BTreeSet<Arc<str>> = meant
            .iter()
            .map(|member| Arc::clone(member.display_name()))
            .collect();
        let (told, reports) = mpsc::channel(members.len().max(1));
        self.metrics.tracked.inc();
        {
            let mut inner = lock(&self.inner);
            let awaited = Awaited {
                members: members.clone(),
                told,
            };
            inner.tracked.insert(id, awaited);
            let early = std::mem::take(&mut inner.early);
            for (of, member) in early {
                if of == id {
                    inner.report(id, &member);
                } else {
                    inner.early.push_back((of, member));
                }
            }
        }
        Tracking::new(
            Arc::clone(self),
            slot,
            id,
            members,
            (reports, changes, seen),
            timeout,
        )
    }

    /// A member says that it has own events of a boot.
    pub fn report(&self, member: &Arc<str>, boot: u64, sequences: &[u64]) {
        let mut inner = lock(&self.inner);
        for sequence in sequences {
            let id = (boot, *sequence);
            if inner.tracked.contains_key(&id) {
                if inner.report(id, member) {
                    self.metrics.delivered.inc();
                }
                continue;
            }
            inner.early.push_back((id, Arc::clone(member)));
            if inner.early.len() > EARLY_REPORTS_MAX {
                inner.early.pop_front();
                self.metrics.unclaimed.inc();
            }
        }
    }

    /// The hub, for what members do meanwhile.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    fn forget(&self, id: Id) {
        lock(&self.inner).tracked.remove(&id);
    }
}

impl Inner {
    /// True if the report was waited for.
    fn report(&mut self, id: Id, member: &Arc<str>) -> bool {
        let Some(awaited) = self.tracked.get_mut(&id) else {
            return false;
        };
        // There is room for each member, and each is told of once.
        awaited.members.remove(member) && awaited.told.try_send(Arc::clone(member)).is_ok()
    }
}

#[cfg(test)]
mod tests;
