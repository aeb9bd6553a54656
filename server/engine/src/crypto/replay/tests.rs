use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What the window promises, in the plainest form.
#[derive(Default)]
struct Model {
    highest: Option<u64>,
    seen: BTreeSet<u64>,
}

impl Model {
    fn admit(&mut self, counter: u64) -> bool {
        let behind = self
            .highest
            .is_some_and(|h| h.saturating_sub(counter) >= WINDOW);
        self.highest = self.highest.max(Some(counter));
        !behind && self.seen.insert(counter)
    }
}

proptest! {
    #[test]
    fn admits_exactly_what_the_model_does(
        start in 0_u64..u64::MAX - (1 << 20),
        steps in prop::collection::vec(prop_oneof![
            8 => -1_100_i64..1_100,
            1 => -5_000_i64..5_000,
        ], 1..400),
    ) {
        let (mut replay, mut model) = (Replay::default(), Model::default());
        let mut at = start;
        for step in steps {
            at = at.saturating_add_signed(step);
            prop_assert_eq!(
                replay.admit(Time::default(), 1, at),
                model.admit(at),
                "counter {} after {:?}", at, model.highest
            );
        }
    }
}

#[test]
fn reordered_counters_pass_once() {
    let mut replay = Replay::default();
    let now = Time::default();
    assert!(replay.admit(now, 1, 2_000));
    for counter in (977..2_000).rev() {
        assert!(replay.admit(now, 1, counter), "{counter}");
        assert!(!replay.admit(now, 1, counter), "{counter} again");
    }
}

#[test]
fn far_behind_is_refused() {
    let mut replay = Replay::default();
    let now = Time::default();
    assert!(replay.admit(now, 1, WINDOW));
    assert!(replay.admit(now, 1, 1), "the last one inside");
    assert!(!replay.admit(now, 1, 0), "the first one outside");
}

#[test]
fn the_ends_of_the_range_work() {
    let mut replay = Replay::default();
    let now = Time::default();
    assert!(replay.admit(now, 1, 0));
    assert!(replay.admit(now, 1, u64::MAX));
    assert!(!replay.admit(now, 1, u64::MAX));
    assert!(replay.admit(now, 1, u64::MAX - 1));
    assert!(!replay.admit(now, 1, 0));
}

#[test]
fn senders_do_not_share_a_window() {
    let mut replay = Replay::default();
    let now = Time::default();
    assert!(replay.admit(now, 1, 5));
    assert!(replay.admit(now, 2, 5));
    assert!(!replay.admit(now, 1, 5));
}

#[test]
fn the_least_recently_heard_sender_goes_first() {
    let mut replay = Replay::default();
    let at = |step: u64| Time::from_micros(step * 1_000_000);
    let full = SENDERS_MAX as u64;
    for instance in 0..full {
        assert!(replay.admit(at(instance), instance, 1));
    }
    // Sender 0 is heard again, so sender 1 is the oldest.
    assert!(replay.admit(at(full), 0, 2));
    assert!(replay.admit(at(full + 1), full, 1));
    assert_eq!(replay.len(), SENDERS_MAX);
    assert!(!replay.admit(at(full + 2), 0, 1), "0 is remembered");
    assert!(!replay.admit(at(full + 2), 2, 1), "2 is remembered");
    assert!(replay.admit(at(full + 2), 1, 1), "1 was forgotten");
    assert_eq!(replay.len(), SENDERS_MAX);
    assert_eq!(replay.recency.len(), SENDERS_MAX);
}

#[test]
fn a_replay_does_not_make_its_sender_recent() {
    let mut replay = Replay::default();
    let at = |step: u64| Time::from_micros(step * 1_000_000);
    for instance in 0..SENDERS_MAX as u64 {
        assert!(replay.admit(at(instance), instance, 1));
    }
    assert!(!replay.admit(at(1 << 20), 0, 1));
    assert!(replay.admit(at(1 << 21), u64::MAX, 1));
    assert!(replay.admit(at(1 << 22), 0, 1), "0 went first all the same");
}
