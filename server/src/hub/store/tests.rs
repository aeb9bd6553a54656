use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn put(key: u32, value: u32) -> Update<u32, u32> {
    Update::Put(key, Arc::new(value))
}

fn brief(changes: &Changes<u32, u32>) -> Vec<(u32, u32, bool)> {
    let brief = |change: &Change<u32, u32>| (change.key, *change.entry.value, change.removed);
    changes.items.iter().map(brief).collect()
}

#[test]
fn readers_get_each_key_once_in_order_of_change() {
    let store = Store::new();
    store.apply(vec![put(1, 10), put(2, 20)], 0);
    store.apply(vec![put(1, 11)], 0);
    store.apply(vec![Update::Remove(2), put(3, 30)], 0);
    let all = store.changes_since(0).unwrap();
    assert_eq!(all.revision, 3);
    assert_eq!(brief(&all), [(1, 11, false), (2, 20, true), (3, 30, false)]);
    let late = store.changes_since(2).unwrap();
    assert_eq!(brief(&late), [(2, 20, true), (3, 30, false)]);
    assert!(store.changes_since(3).unwrap().items.is_empty());
    assert!(store.changes_since(4).is_err(), "a revision of the future");
}

#[test]
fn a_key_that_comes_back_tells_when_it_was_first_seen() {
    let store = Store::new();
    store.apply(vec![put(1, 10)], 0);
    store.apply(vec![Update::Remove(1)], 0);
    store.apply(vec![put(1, 12)], 0);
    let entry = store.get(&1).unwrap();
    assert_eq!((entry.first, entry.created, entry.changed), (1, 3, 3));
    assert_eq!(store.changes_since(0).unwrap().items.len(), 1);
}

#[test]
fn forgotten_removals_send_readers_back_to_the_start() {
    let store = Store::new();
    let day = u64::try_from(TOMBSTONE_AGE.as_millis()).unwrap();
    store.apply(vec![put(1, 10), put(2, 20)], 0);
    store.apply(vec![Update::Remove(1)], 0);
    store.apply(vec![put(3, 30)], day);
    assert!(
        store.changes_since(1).is_ok(),
        "exactly a day old: still known"
    );
    store.apply(vec![put(4, 40)], day + 1);
    assert_eq!(store.changes_since(1).unwrap_err(), Behind);
    assert!(store.changes_since(2).is_ok(), "it has seen the removal");
    assert_eq!(store.changes_since(0).unwrap().items.len(), 3);
}

#[test]
fn removals_are_bounded_in_number() {
    let store = Store::new();
    let keys = u32::try_from(TOMBSTONES_MAX).unwrap() + 1;
    store.apply((0..keys).map(|key| put(key, 0)).collect(), 0);
    store.apply((0..keys - 1).map(Update::Remove).collect(), 0);
    assert!(store.changes_since(1).is_ok());
    store.apply(vec![Update::Remove(keys - 1)], 0);
    assert_eq!(store.changes_since(1).unwrap_err(), Behind);
    assert!(store.is_empty());
}

#[test]
fn long_reads_come_in_pages_and_are_whole() {
    let store = Store::new();
    let keys = u32::try_from(PAGE_ITEMS).unwrap() * 2 + 7;
    for key in 0..keys {
        store.apply(vec![put(key / 2, key)], 0);
    }
    let all = store.changes_since(0).unwrap();
    assert_eq!(all.items.len(), usize::try_from(keys.div_ceil(2)).unwrap());
    assert_eq!(all.revision, u64::from(keys));
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u32, Option<u32>)>),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = prop::collection::vec((0..12u32, prop::option::of(0..5u32)), 1..5);
    let step = prop_oneof![
        write.prop_map(Step::Write),
        (0..4usize).prop_map(Step::Read)
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Readers at any speed end with the writer's state; what they are handed is
    /// ordered, has each key once and nothing that they have seen.
    #[test]
    fn readers_at_any_speed_follow_the_writer(steps in steps()) {
        let store = Store::new();
        let mut truth = BTreeMap::new();
        let mut history = vec![truth.clone()];
        let mut readers = vec![(0_u64, BTreeMap::new()); 4];
        for step in steps.into_iter().chain((0..4).map(Step::Read)) {
            match step {
                Step::Write(writes) => {
                    let mut batch = Vec::new();
                    for (key, value) in writes {
                        match value {
                            Some(value) => {
                                truth.insert(key, value);
                                batch.push(put(key, value));
                            }
                            None => {
                                truth.remove(&key);
                                batch.push(Update::Remove(key));
                            }
                        }
                    }
                    let revision = store.apply(batch, 0);
                    history.resize(usize::try_from(revision).unwrap() + 1, truth.clone());
                    prop_assert_eq!(history.last(), Some(&truth));
                }
                Step::Read(reader) => {
                    let (revision, state) = &mut readers[reader];
                    let changes = store.changes_since(*revision).unwrap();
                    let order: Vec<_> = changes.items.iter().map(|c| c.entry.changed).collect();
                    prop_assert!(order.is_sorted());
                    prop_assert!(order.iter().all(|changed| changed > revision));
                    for change in &changes.items {
                        if change.removed {
                            state.remove(&change.key);
                        } else {
                            state.insert(change.key, *change.entry.value);
                        }
                    }
                    *revision = changes.revision;
                    prop_assert_eq!(&*state, &history[usize::try_from(*revision).unwrap()]);
                }
            }
        }
        // A reader can start again from any revision that it was at.
        for (revision, old) in history.iter().enumerate() {
            let mut state = old.clone();
            for change in store.changes_since(revision as u64).unwrap().items {
                if change.removed {
                    state.remove(&change.key);
                } else {
                    state.insert(change.key, *change.entry.value);
                }
            }
            prop_assert_eq!(&state, &truth);
        }
    }
}
