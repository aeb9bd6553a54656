//! Which containers are to be inspected, and when: one look per change, however many
//! events a change has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long a change is given to have all its events: a start has three in a row.
const COALESCE: Duration = Duration::from_millis(15);

/// Inspects at once.
const INSPECTS_MAX: usize = 4;

/// Containers that wait to be inspected. With more the engine is asked for its list
/// instead, which shows what differs.
const PENDING_MAX: usize = 8_192;

/// The queue has no room: list again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Changed, and more news may follow at once.
    dirty: BTreeSet<Arc<str>>,
    /// When the dirty ones are ready.
    due: Option<Instant>,
    /// To be inspected.
    ready: BTreeSet<Arc<str>>,
    /// Being inspected; whether it is gone meanwhile.
    in_flight: BTreeMap<Arc<str>, bool>,
    /// Of the first list, not inspected yet.
    unsettled: BTreeSet<Arc<str>>,
}

impl Pending {
    /// A container changed.
    pub(super) fn mark(&mut self, id: Arc<str>, now: Instant) -> Result<(), Overflow> {
        if self.dirty.len() + self.ready.len() >= PENDING_MAX {
            self.dirty.clear();
            self.ready.clear();
            self.due = None;
            return Err(Overflow);
        }
        if !self.ready.contains(&id) {
            self.dirty.insert(id);
            self.due.get_or_insert(now + COALESCE);
        }
        Ok(())
    }

    /// A container of the first list, not yet known to be as it was.
    pub(super) fn settle(&mut self, id: Arc<str>) {
        self.unsettled.insert(Arc::clone(&id));
        self.ready.insert(id);
    }

    /// A container is gone; nothing that is under way about it counts.
    pub(super) fn gone(&mut self, id: &str) {
        self.dirty.remove(id);
        self.ready.remove(id);
        self.unsettled.remove(id);
        if let Some(gone) = self.in_flight.get_mut(id) {
            *gone = true;
        }
    }

    /// When [`Pending::take`] has more to give without anything else happening.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next container to inspect now, if any.
    pub(super) fn take(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let (busy, free) = std::mem::take(&mut self.dirty)
                .into_iter()
                .partition(|id| self.in_flight.contains_key(id));
            // The busy ones wait until they are done.
            self.dirty = busy;
            let free: BTreeSet<_> = free;
            self.ready.extend(free);
        }
        if self.in_flight.len() >= INSPECTS_MAX {
            return None;
        }
        let in_flight = &self.in_flight;
        let next = self.ready.iter().find(|id| !in_flight.contains_key(*id))?;
        let next = Arc::clone(next);
        self.ready.remove(&next);
        self.in_flight.insert(Arc::clone(&next), false);
        Some(next)
    }

    /// An inspect ended; whether what it says still counts.
    pub(super) fn done(&mut self, id: &str, now: Instant) -> bool {
        self.unsettled.remove(id);
        let gone = self.in_flight.remove(id).unwrap_or_default();
        if self.dirty.contains(id) {
            self.due.get_or_insert(now);
        }
        !gone
    }

    /// Whether all of the first list were inspected.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    fn all(pending: &mut Pending, now: Instant) -> Vec<Arc<str>> {
        std::iter::from_fn(|| pending.take(now)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_inspect() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for _ in 0..3 {
            assert_eq!(pending.mark(id(1), now), Ok(()));
        }
        assert_eq!(all(&mut pending, now), []);
        assert_eq!(pending.due(), Some(now + COALESCE));
        let now = now + COALESCE;
        assert_eq!(all(&mut pending, now), [id(1)]);
        // What comes while it is inspected makes one more, afterwards.
        for _ in 0..3 {
            assert_eq!(pending.mark(id(1), now), Ok(()));
        }
        let now = now + COALESCE;
        assert_eq!(all(&mut pending, now), []);
        assert!(pending.done("1", now));
        assert_eq!(pending.due(), Some(now));
        assert_eq!(all(&mut pending, now), [id(1)]);
        assert!(pending.done("1", now));
        assert_eq!(pending.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_inspected_at_once_and_the_gone_do_not_count() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for number in 0..6 {
            pending.settle(id(number));
        }
        let begun = all(&mut pending, now);
        assert_eq!(begun.len(), INSPECTS_MAX);
        assert!(!pending.is_settled());
        pending.gone("0");
        pending.gone("5");
        assert!(!pending.done("0", now));
        for id in &begun[1..] {
            assert!(pending.done(id, now));
        }
        assert_eq!(all(&mut pending, now), [id(4)]);
        assert!(pending.done("4", now));
        assert!(pending.is_settled());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_changes_are_a_new_list() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for number in 0..PENDING_MAX {
            assert_eq!(pending.mark(id(number), now), Ok(()));
        }
        assert_eq!(pending.mark(id(0), now), Err(Overflow));
        assert_eq!(all(&mut pending, now + COALESCE), []);
        assert_eq!(pending.mark(id(0), now), Ok(()));
    }
}
