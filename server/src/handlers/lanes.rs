//! Work that waits for one handler: in order within a lane, lanes side by side.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What must be in order: events of one origin.
pub(super) type Lane = Arc<str>;

/// Queues of one handler. At most one item of a lane is out at a time; lanes take
/// turns.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    waiting: BTreeMap<Lane, VecDeque<T>>,
    /// Lanes with something waiting and nothing out, in the order of their turn.
    ready: VecDeque<Lane>,
    /// Lanes with an item out.
    out: usize,
    queued: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            out: 0,
            queued: 0,
        }
    }
}

impl<T> Lanes<T> {
    /// Appends an item to its lane.
    pub(super) fn push(&mut self, lane: &Lane, item: T) {
        self.queued += 1;
        if let Some(queue) = self.waiting.get_mut(lane) {
            queue.push_back(item);
            return;
        }
        self.waiting
            .insert(Arc::clone(lane), VecDeque::from([item]));
        self.ready.push_back(Arc::clone(lane));
    }

    /// The next item, unless every lane with work has one out.
    pub(super) fn take(&mut self) -> Option<(Lane, T)> {
        let lane = self.ready.pop_front()?;
        let item = self.waiting.get_mut(&lane)?.pop_front()?;
        self.queued -= 1;
        self.out += 1;
        Some((lane, item))
    }

    /// The item of a lane is done.
    pub(super) fn done(&mut self, lane: &Lane) {
        self.out -= 1;
        match self.waiting.get(lane) {
            Some(queue) if queue.is_empty() => {
                self.waiting.remove(lane);
            }
            Some(_) => self.ready.push_back(Arc::clone(lane)),
            None => {}
        }
    }

    /// Items that wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Items that are out.
    pub(super) fn out(&self) -> usize {
        self.out
    }

    /// Nothing waits and nothing is out.
    pub(super) fn is_idle(&self) -> bool {
        self.queued == 0 && self.out == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn lane(name: &str) -> Lane {
        Arc::from(name)
    }

    #[test]
    fn one_item_of_a_lane_at_a_time_and_lanes_take_turns() {
        let mut lanes = Lanes::default();
        let (a, b) = (lane("a"), lane("b"));
        for (lane, item) in [(&a, 1), (&a, 2), (&a, 3), (&b, 4)] {
            lanes.push(lane, item);
        }
        assert_eq!(lanes.take(), Some((a.clone(), 1)));
        assert_eq!(lanes.take(), Some((b.clone(), 4)));
        assert_eq!(lanes.take(), None);
        assert_eq!((lanes.queued(), lanes.out()), (2, 2));
        lanes.done(&a);
        lanes.done(&b);
        assert_eq!(lanes.take(), Some((a.clone(), 2)));
        lanes.push(&b, 5);
        lanes.done(&a);
        assert_eq!(lanes.take(), Some((b, 5)));
        assert!(!lanes.is_idle());
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_in_order(steps in prop::collection::vec((0..4_usize, any::<bool>()), 0..200)) {
            let mut lanes = Lanes::default();
            let mut out = Vec::new();
            let mut seen: BTreeMap<Lane, Vec<usize>> = BTreeMap::new();
            let mut given: BTreeMap<Lane, Vec<usize>> = BTreeMap::new();
            let mut take = |lanes: &mut Lanes<usize>, out: &mut Vec<Lane>| {
                while let Some((lane, item)) = lanes.take() {
                    seen.entry(lane.clone()).or_default().push(item);
                    out.push(lane);
                }
            };
            for (number, (which, push)) in steps.into_iter().enumerate() {
                if push {
                    let lane = lane(&which.to_string());
                    lanes.push(&lane, number);
                    given.entry(lane).or_default().push(number);
                } else if !out.is_empty() {
                    lanes.done(&out.remove(which % out.len()));
                }
                take(&mut lanes, &mut out);
                prop_assert_eq!(lanes.out(), out.len());
            }
            while !out.is_empty() {
                lanes.done(&out.remove(0));
                take(&mut lanes, &mut out);
            }
            prop_assert!(lanes.is_idle());
            prop_assert_eq!(seen, given);
        }
    }
}
