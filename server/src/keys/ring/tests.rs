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
fn a_ring_is_never_merged_empty_nor_beyond_its_bound() {
    let mut other = ring(&[1, 2]);
    other.use_key(id(2)).unwrap();
    other.remove(id(1)).unwrap();
    other.entries.remove(&id(2));
    let mut one = ring(&[1]);
    assert_eq!(one.merge(&other.told()), Ok(false));
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
    (0..3_usize, 0..6_u8, 1..5_u8)
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

proptest! {
    #[test]
    fn nodes_agree_in_whatever_order_they_talk(
        changes in proptest::collection::vec(change(), 1..24),
        talks in proptest::collection::vec((0..3_usize, 0..3_usize), 0..24),
    ) {
        let mut nodes = [ring(&[1]), ring(&[1]), ring(&[1])];
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
        // A merge may make a node choose another primary, which is news to the others.
        let mut rounds = 0;
        let mut news = true;
        while news && rounds < 8 {
            (news, rounds) = (false, rounds + 1);
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                let told = nodes[from].told();
                news |= nodes[to].merge(&told).unwrap();
            }
        }
        prop_assert!(!news, "they never come to rest");
        let told = nodes.each_ref().map(Ring::told);
        // Who removed each other's last keys at once keep theirs, and stay apart.
        let ids = |ring: &Ring| ring.installed().map(|(id, _)| id).collect::<BTreeSet<_>>();
        let [a, b, c] = told.each_ref().map(ids);
        if a.iter().any(|id| b.contains(id) && c.contains(id)) {
            prop_assert_eq!(&told[0], &told[1]);
            prop_assert_eq!(&told[1], &told[2]);
            prop_assert_eq!(nodes[0].primary(), nodes[1].primary());
        }
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
    let mut short = good.clone();
    short.keys[0].secret = vec![1; 31].into();
    let mut many = good.clone();
    many.keys = vec![good.keys[0].clone(); KEYS_MAX + REMOVED_MAX + 1];
    let mut stage = good;
    stage.stage.as_mut().unwrap().stage = 9;
    for (message, word) in [
        (other_id, "another id"),
        (short, "31 bytes"),
        (many, "81 keys"),
        (stage, "stage 9"),
    ] {
        let error = Ring::from_message(message).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
