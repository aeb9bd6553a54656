//! How far one handler has come in the events of each origin.

use std::collections::BTreeMap;

use muster_engine::Origin;

use super::cursors::{AHEAD, Cursor, Cursors, ORIGINS_KEPT_MAX, bound};
use crate::hub::positions::Positions;

/// Where one handler stands, and what of it must be on the disk when.
#[derive(Debug)]
pub(super) struct Progress {
    redeliver: bool,
    /// As it will be written.
    cursors: Cursors,
    /// As a former run left it.
    before: Cursors,
    /// What was taken from the ring.
    taken: Cursors,
    open: BTreeMap<Origin, Open>,
    /// Events finished since the last write.
    unwritten: u64,
    dirty: bool,
}

/// Events of one origin that wait or run.
#[derive(Debug, Default, Clone, Copy)]
struct Open {
    count: usize,
    started: u64,
}

impl Progress {
    pub(super) fn new(redeliver: bool, before: Option<Cursors>) -> Self {
        let before = before.unwrap_or_default();
        Self {
            redeliver,
            cursors: before.clone(),
            before,
            taken: Cursors::new(),
            open: BTreeMap::new(),
            unwritten: 0,
            dirty: false,
        }
    }

    /// Origins of which a former run may have started events that it did not finish,
    /// with the first and the last of them.
    pub(super) fn uncertain(&self) -> impl Iterator<Item = (&Origin, u64, u64)> {
        let open = self.before.iter().filter(|(_, at)| at.reserved > at.done);
        open.map(|(origin, at)| (origin, at.done + 1, at.reserved))
    }

    /// Whether a former run has had it.
    pub(super) fn is_past(&self, origin: &Origin, sequence: u64) -> bool {
        self.before.get(origin).is_some_and(|at| {
            let end = if self.redeliver { at.done } else { at.reserved };
            sequence <= end
        })
    }

    /// Whether a former run may have started it.
    pub(super) fn is_redelivery(&self, origin: &Origin, sequence: u64) -> bool {
        let before = self.before.get(origin);
        self.redeliver && before.is_some_and(|at| sequence <= at.reserved)
    }

    /// The ring was read up to here.
    pub(super) fn take(&mut self, origin: &Origin, sequence: u64) {
        let taken = self.taken.entry(origin.clone()).or_default();
        taken.done = sequence.max(taken.done);
        self.dirty = true;
        if self.taken.len() > ORIGINS_KEPT_MAX {
            bound(&mut self.taken);
        }
    }

    /// An event waits to be run.
    pub(super) fn queued(&mut self, origin: &Origin) {
        self.open.entry(origin.clone()).or_default().count += 1;
    }

    /// Whether it was taken from the ring before.
    pub(super) fn has(&self, origin: &Origin, sequence: u64) -> bool {
        self.taken
            .get(origin)
            .is_some_and(|taken| sequence <= taken.done)
    }

    /// Where the ring was read up to.
    pub(super) fn positions(&self) -> Positions {
        let taken = self.taken.iter();
        taken
            .map(|(origin, at)| (origin.clone(), at.done))
            .collect()
    }

    /// An event is to be started. Says whether the cursors must be written first.
    pub(super) fn start(&mut self, origin: &Origin, sequence: u64) -> bool {
        self.open.entry(origin.clone()).or_default().started = sequence;
        let cursor = self.cursors.entry(origin.clone()).or_default();
        if sequence <= cursor.reserved {
            return false;
        }
        // No further than what is there: what comes later must not be lost by a crash
        // before it came.
        let known = self.taken.get(origin).map_or(sequence, |taken| taken.done);
        cursor.reserved = (sequence + AHEAD - 1).min(known).max(sequence);
        true
    }

    /// An event was finished. Says whether the cursors should be written.
    pub(super) fn finish(&mut self, origin: &Origin, sequence: u64) -> bool {
        let cursor = self.cursors.entry(origin.clone()).or_default();
        cursor.done = sequence.max(cursor.done);
        cursor.reserved = cursor.reserved.max(cursor.done);
        if let Some(open) = self.open.get_mut(origin) {
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                self.open.remove(origin);
            }
        }
        self.unwritten += 1;
        self.dirty = true;
        self.redeliver && self.unwritten >= AHEAD
    }

    /// Sets every cursor to exactly where the handler stands. Says whether there is
    /// something to write.
    pub(super) fn settle(&mut self) -> bool {
        for (origin, taken) in &self.taken {
            let cursor = self.cursors.entry(origin.clone()).or_default();
            match self.open.get(origin) {
                Some(open) => cursor.reserved = open.started.max(cursor.done),
                None => {
                    *cursor = Cursor {
                        done: taken.done,
                        reserved: taken.done,
                    }
                }
            }
        }
        std::mem::take(&mut self.dirty)
    }

    /// As they are to be written.
    pub(super) fn cursors(&mut self) -> &Cursors {
        self.unwritten = 0;
        if self.cursors.len() > ORIGINS_KEPT_MAX {
            bound(&mut self.cursors);
        }
        &self.cursors
    }

    /// Whether something changed since the last [`Progress::settle`].
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::origin;

    fn at(done: u64, reserved: u64) -> Cursor {
        Cursor { done, reserved }
    }

    #[test]
    fn at_most_once_reserves_ahead_and_skips_what_was_reserved() {
        let a = origin("a", 1);
        let mut progress = Progress::new(false, None);
        let mut writes = 0;
        for sequence in 1..=100 {
            progress.take(&a, sequence);
            progress.queued(&a);
        }
        for sequence in 1..=65 {
            writes += u32::from(progress.start(&a, sequence));
            assert!(progress.cursors()[&a].reserved >= sequence);
            assert!(!progress.finish(&a, sequence));
        }
        assert_eq!(writes, 2);
        // The process dies here.
        let left = progress.cursors().clone();
        assert_eq!(
            left[&a],
            at(65, 100),
            "nothing beyond what was there is reserved"
        );
        let progress = Progress::new(false, Some(left));
        assert!(progress.is_past(&a, 100) && !progress.is_past(&a, 101));
        assert!(!progress.is_redelivery(&a, 100));
        assert_eq!(progress.uncertain().collect::<Vec<_>>(), [(&a, 66, 100)]);
    }

    #[test]
    fn redelivery_skips_what_was_done_and_marks_what_was_started() {
        let a = origin("a", 1);
        let mut progress = Progress::new(true, None);
        for sequence in 1..=3 {
            progress.take(&a, sequence);
            progress.queued(&a);
        }
        progress.start(&a, 1);
        progress.finish(&a, 1);
        progress.start(&a, 2);
        let left = progress.cursors().clone();
        let progress = Progress::new(true, Some(left));
        assert!(progress.is_past(&a, 1) && !progress.is_past(&a, 2));
        assert!(progress.is_redelivery(&a, 3) && !progress.is_redelivery(&a, 4));
    }

    #[test]
    fn an_exact_cursor_loses_nothing() {
        let (a, b, c) = (origin("a", 1), origin("b", 1), origin("c", 1));
        let mut progress = Progress::new(false, None);
        for (origin, sequence, queued) in [
            (&a, 1, true),
            (&a, 2, true),
            (&a, 3, false),
            (&b, 5, true),
            (&c, 9, false),
        ] {
            progress.take(origin, sequence);
            if queued {
                progress.queued(origin);
            }
        }
        for origin in [&a, &b] {
            let sequence = if *origin == a { 1 } else { 5 };
            assert!(progress.start(origin, sequence));
            progress.finish(origin, sequence);
        }
        assert!(progress.settle());
        assert!(!progress.settle() && !progress.is_dirty());
        let expected = Cursors::from([(a, at(1, 1)), (b, at(5, 5)), (c, at(9, 9))]);
        assert_eq!(progress.cursors(), &expected);
    }

    #[test]
    fn redelivery_is_written_now_and_then() {
        let a = origin("a", 1);
        let mut progress = Progress::new(true, None);
        for sequence in 1..=AHEAD {
            progress.take(&a, sequence);
            progress.queued(&a);
            progress.start(&a, sequence);
            assert_eq!(progress.finish(&a, sequence), sequence == AHEAD);
        }
        progress.cursors();
        progress.take(&a, AHEAD + 1);
        progress.queued(&a);
        progress.start(&a, AHEAD + 1);
        assert!(!progress.finish(&a, AHEAD + 1));
    }
}
