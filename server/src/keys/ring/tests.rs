use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn key(byte: u8) -> KeyBytes {
    KeyBytes::new(vec![byte; 32].into()).unwrap()
}

fn id(byte: u8) -> KeyId {
    Ring::id_of(&key(byte)).unwrap()
}

fn ring(bytes: &[u8]) -> Ring {
    let keys: Vec<_> = bytes.iter().map(|byte| key(*byte)).collect();
    Ring::of_settings(&keys, Stage::On).unwrap()
}

fn merged(mut one: Ring, two: &Ring) -> Ring {
    one.merge(two).unwrap();
    one
}

#[test]
fn settings_make_a_ring_that_is_not_passed_on() {
    let ring = ring(&[1, 2]);
    assert_eq!(ring.primary(), Some(id(1)));
    assert_eq!(ring.in_order(), [&key(1), &key(2)]);
    assert_eq!(ring.told(), Ring::default());
    assert!(Ring::default().keyring().is_none());
    let keyring = ring.keyring().unwrap();
    assert_eq!(keyring.primary().id(), id(1));
    assert!(keyring.get(id(2)).is_some());
}

#[test]
fn a_rotation_reaches_a_node_that_has_only_the_old_key() {
    let mut writer = ring(&[1]);
    writer.install(&key(2)).unwrap();
    writer.use_key(id(2)).unwrap();
    writer.retire(id(1), 1_000).unwrap();
    let mut away = ring(&[1]);
    assert_eq!(away.merge(&writer.told()), Ok(true));
    assert_eq!(away.primary(), Some(id(2)));
    assert!(away.holds(id(1)), "until its time has come");
    assert_eq!(away.next_expiry(), Some(1_000));
    assert_eq!(away.expire(999), []);
    assert_eq!(away.expire(1_000), [id(1)]);
    assert_eq!(writer.expire(5_000), [id(1)]);
    assert_eq!(away, writer, "both removed it alike");
    assert_eq!(away.merge(&writer.told()), Ok(false));
}

#[test]
fn what_a_node_has_by_its_settings_alone_is_removed_by_editing_them() {
    // Keys changed by hand, host by host: [1, 2], then [2, 1], then [2].
    let mut one = ring(&[2]);
    assert_eq!(one.merge(&ring(&[1, 2]).told()), Ok(false));
    assert!(!one.holds(id(1)));
}

#[test]
fn the_primary_and_the_last_key_stay() {
    let mut ring = ring(&[1]);
    assert_eq!(ring.remove(id(1)), Err(RingError::Last(id(1))));
    assert_eq!(ring.remove(id(9)), Err(RingError::Unknown(id(9))));
    assert_eq!(ring.use_key(id(9)), Err(RingError::Unknown(id(9))));
    ring.install(&key(2)).unwrap();
    assert_eq!(ring.remove(id(1)), Err(RingError::Primary(id(1))));
    assert_eq!(ring.retire(id(1), 9), Err(RingError::Primary(id(1))));
    ring.use_key(id(2)).unwrap();
    ring.remove(id(1)).unwrap();
    assert_eq!(ring.in_order(), [&key(2)]);
}

#[test]
fn a_key_that_is_used_or_installed_again_is_not_retired() {
    let mut ring = ring(&[1]);
    ring.install(&key(2)).unwrap();
    ring.use_key(id(2)).unwrap();
    ring.retire(id(1), 10).unwrap();
    let before = ring.clone();
    ring.use_key(id(1)).unwrap();
    assert_eq!((ring.retires_at(id(1)), ring.expire(99)), (None, vec![]));
    let mut ring = before.clone();
    ring.install(&key(1)).unwrap();
    assert_eq!(ring.next_expiry(), None);
    assert_eq!(merged(before, &ring.told()).next_expiry(), None);
}

#[test]
fn a_removed_key_can_be_installed_again() {
    let mut ring = ring(&[1, 2]);
    ring.remove(id(2)).unwrap();
    let removed = ring.clone();
    ring.install(&key(2)).unwrap();
    assert!(merged(removed, &ring.told()).holds(id(2)));
}

#[test]
fn who_remove_each_others_last_key_at_once_keep_the_later_primary() {
    let mut both = ring(&[1]);
    both.install(&key(2)).unwrap();
    let (mut one, mut two) = (both.clone(), both);
    one.use_key(id(2)).unwrap();
    one.remove(id(1)).unwrap();
    two.remove(id(2)).unwrap();
    let (one_told, two_told) = (one.told(), two.told());
    assert_eq!(one.merge(&two_told), Ok(true));
    assert_eq!(two.merge(&one_told), Ok(true));
    assert_eq!(one, two);
    assert_eq!(one.in_order(), [&key(2)]);
    assert_eq!(one.removed().collect::<Vec<_>>(), [id(1)]);
    assert_eq!(one.remove(id(2)), Err(RingError::Last(id(2))));
    // What was removed goes once another one seals.
    one.install(&key(3)).unwrap();
    one.use_key(id(3)).unwrap();
    assert_eq!(one.in_order(), [&key(3)]);
    // Unless somebody wanted it again in between.
    for again in [Ring::use_key, |ring: &mut Ring, id| {
        assert_eq!(ring.install(&key(2)), Ok(id));
        Ok(())
    }] {
        let mut ring = two.clone();
        again(&mut ring, id(2)).unwrap();
        ring.install(&key(3)).unwrap();
        ring.use_key(id(3)).unwrap();
        assert!(ring.holds(id(2)));
        assert!(merged(one.clone(), &ring.told()).holds(id(2)));
    }
}

#[test]
fn a_ring_is_never_merged_empty_nor_beyond_its_bound() {
    let mut other = ring(&[1, 2]);
    other.use_key(id(2)).unwrap();
    other.remove(id(1)).unwrap();
    other.primary = None;
    other.entries.remove(&id(2));
    let mut one = ring(&[1]);
    assert_eq!(one.merge(&other.told()), Ok(true));
    assert!(one.holds(id(1)));
    let all: Vec<u8> = (1..=16).collect();
    let mut full = ring(&all);
    assert_eq!(full.install(&key(17)), Err(RingError::Full));
    let mut more = ring(&[30]);
    more.install(&key(31)).unwrap();
    let before = full.clone();
    assert_eq!(full.merge(&more.told()), Err(RingError::Full));
    assert_eq!(full, before);
}

#[test]
fn removed_keys_are_forgotten_beyond_their_bound() {
    let mut ring = ring(&[1]);
    for byte in 2..=100 {
        ring.install(&key(byte)).unwrap();
        ring.remove(id(byte)).unwrap();
    }
    let removed = ring.entries.values();
    let removed = removed.filter(|entry| entry.state == State::Removed);
    assert_eq!(removed.count(), REMOVED_MAX);
    assert!(ring.entries.contains_key(&id(100)) && !ring.entries.contains_key(&id(2)));
}

#[test]
fn the_first_key_of_a_plaintext_node_does_not_cut_it_off() {
    let mut ring = Ring::default();
    assert_eq!(ring.install(&key(1)), Err(RingError::Empty));
    assert_eq!(ring.set_stage(Stage::On), Err(RingError::Empty));
    ring.install_locally(&key(1)).unwrap();
    assert_eq!(ring.stage(), Stage::Receive);
    let mut on = self::ring(&[1]);
    on.install_locally(&key(2)).unwrap();
    assert_eq!((on.stage(), on.primary()), (Stage::On, Some(id(1))));
}

#[test]
fn another_change_does_not_carry_a_stage_along() {
    let mut writer = Ring::of_settings(&[key(1)], Stage::Receive).unwrap();
    writer.install(&key(2)).unwrap();
    let mut on = ring(&[1]);
    on.merge(&writer.told()).unwrap();
    assert_eq!(on.stage(), Stage::On);
    writer.set_stage(Stage::Send).unwrap();
    on.merge(&writer.told()).unwrap();
    assert_eq!(on.stage(), Stage::Send);
}

/// One change of one of three nodes.
fn change() -> impl Strategy<Value = (usize, u8, u8)> {
    change_of(3)
}

fn change_of(nodes: usize) -> impl Strategy<Value = (usize, u8, u8)> {
    (0..nodes, 0..6_u8, 1..5_u8)
}

/// Changes with talks in between; none leaves a node without a key.
fn play(
    nodes: &mut [Ring],
    changes: Vec<(usize, u8, u8)>,
    talks: Vec<(usize, usize)>,
) -> Result<(), TestCaseError> {
    let mut talks = talks.into_iter();
    for (at, kind, byte) in changes {
        apply(&mut nodes[at], (kind, byte));
        prop_assert!(nodes[at].keyring().is_some());
        if let Some((from, to)) = talks.next() {
            let told = nodes[from].told();
            nodes[to].merge(&told).unwrap();
            prop_assert!(nodes[to].keyring().is_some());
        }
    }
    Ok(())
}

/// All have what was told, seal with the same key and open with the same ones.
fn agree(nodes: &[Ring]) -> Result<(), TestCaseError> {
    let what = |ring: &Ring| {
        let ids: BTreeSet<KeyId> = ring.installed().map(|(id, _)| id).collect();
        (ring.told(), ring.primary(), ids)
    };
    for ring in nodes {
        prop_assert_eq!(what(ring), what(&nodes[0]));
        prop_assert!(ring.holds(ring.primary().unwrap()));
        prop_assert!(ring.removed().all(|id| !ring.holds(id)));
    }
    Ok(())
}

fn apply(ring: &mut Ring, (kind, byte): (u8, u8)) {
    let _refused: Result<(), RingError> = match kind {
        0 => ring.install(&key(byte)).map(drop),
        1 => ring.use_key(id(byte)),
        2 => ring.remove(id(byte)),
        3 => ring.retire(id(byte), u64::from(byte)),
        4 => ring.set_stage(Stage::ALL[usize::from(byte) % 3]),
        _ => {
            ring.expire(u64::from(byte));
            Ok(())
        }
    };
}

#[test]
fn two_that_were_left_with_keys_of_their_own_agree() {
    let changes = [
        (0, 0, 2),
        (0, 1, 3),
        (0, 0, 1),
        (0, 0, 1),
        (2, 1, 2),
        (0, 1, 3),
        (0, 0, 1),
        (0, 1, 3),
        (1, 2, 1),
        (0, 2, 2),
    ];
    let silent = [(0, 0); 5];
    let talks = [&[(0, 2)], &silent[..], &[(2, 1), (0, 0), (0, 0)]].concat();
    let mut nodes = vec![ring(&[1]); 3];
    play(&mut nodes, changes.to_vec(), talks).unwrap();
    assert_ne!(nodes[0], nodes[1]);
    let told: Vec<Ring> = nodes.iter().map(Ring::told).collect();
    for node in &mut nodes {
        for told in &told {
            node.merge(told).unwrap();
        }
    }
    agree(&nodes).unwrap();
}

proptest! {
    #[test]
    fn nodes_agree_in_whatever_order_they_talk(
        changes in proptest::collection::vec(change(), 1..24),
        talks in proptest::collection::vec((0..3_usize, 0..3_usize), 0..24),
    ) {
        let mut nodes = vec![ring(&[1]); 3];
        play(&mut nodes, changes, talks)?;
        // Once around, and once more for what the last one said.
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            let told = nodes[from].told();
            nodes[to].merge(&told).unwrap();
        }
        prop_assert_eq!(&nodes[0].told(), &nodes[1].told());
        prop_assert_eq!(&nodes[1].told(), &nodes[2].told());
        agree(&nodes)?;
    }

    #[test]
    fn any_number_of_nodes_agree_once_each_heard_all(
        changes in proptest::collection::vec(change_of(6), 1..48),
        talks in proptest::collection::vec((0..6_usize, 0..6_usize), 0..24),
        order in Just((0..6_usize).flat_map(|from| (0..6).map(move |to| (from, to))).collect::<Vec<_>>())
            .prop_shuffle(),
    ) {
        let mut nodes = vec![ring(&[1]); 6];
        play(&mut nodes, changes, talks)?;
        let told: Vec<Ring> = nodes.iter().map(Ring::told).collect();
        for (from, to) in order {
            nodes[to].merge(&told[from]).unwrap();
        }
        agree(&nodes)?;
    }

    #[test]
    fn merging_is_a_join(
        changes in proptest::collection::vec(change(), 1..24),
        talks in proptest::collection::vec((0..3_usize, 0..3_usize), 0..12),
    ) {
        let mut nodes = vec![ring(&[1]); 3];
        play(&mut nodes, changes, talks)?;
        let told: Vec<Ring> = nodes.iter().map(Ring::told).collect();
        let [a, b, c] = [&told[0], &told[1], &told[2]];
        let join = |one: &Ring, two: &Ring| merged(one.clone(), two);
        prop_assert_eq!(join(a, b), join(b, a));
        prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        prop_assert_eq!(&join(a, a), a);
    }

    #[test]
    fn merging_twice_changes_nothing(changes in proptest::collection::vec(change(), 1..24)) {
        let mut one = ring(&[1]);
        let mut two = ring(&[1, 2]);
        for (at, kind, byte) in changes {
            apply(if at == 0 { &mut one } else { &mut two }, (kind, byte));
        }
        one.merge(&two.told()).unwrap();
        prop_assert_eq!(one.merge(&two.told()), Ok(false));
    }

    #[test]
    fn messages_round_trip(changes in proptest::collection::vec(change(), 1..24)) {
        let mut ring = ring(&[1]);
        for (_, kind, byte) in changes {
            apply(&mut ring, (kind, byte));
        }
        prop_assert_eq!(Ring::from_message(ring.to_message()), Ok(ring));
    }
}

#[test]
fn messages_that_make_no_sense_are_refused_by_name() {
    let good = ring(&[1]).to_message();
    let mut other_id = good.clone();
    other_id.keys[0].id ^= 1;
    let mut other_primary = good.clone();
    other_primary.primary.as_mut().unwrap().id ^= 1;
    let mut bare_primary = good.clone();
    bare_primary.primary.as_mut().unwrap().secret = Default::default();
    let mut short = good.clone();
    short.keys[0].secret = vec![1; 31].into();
    let mut many = good.clone();
    many.keys = vec![good.keys[0].clone(); KEYS_MAX + REMOVED_MAX + 1];
    let mut stage = good;
    stage.stage.as_mut().unwrap().stage = 9;
    for (message, word) in [
        (other_id, "another id"),
        (other_primary, "another id"),
        (bare_primary, "0 bytes"),
        (short, "31 bytes"),
        (many, "81 keys"),
        (stage, "stage 9"),
    ] {
        let error = Ring::from_message(message).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn keys_of_which_none_is_said_to_seal_have_a_primary_that_is_not_passed_on() {
    let mut writer = ring(&[1]);
    writer.install(&key(2)).unwrap();
    let mut message = writer.to_message();
    message.primary = None;
    let read = Ring::from_message(message).unwrap();
    assert_eq!(read.primary(), Some(id(2)), "installed later");
    assert_eq!(read.told().primary, None);
    assert_eq!(merged(read, &writer.told()).primary(), Some(id(1)));
}
