use proptest::prelude::*;

use super::*;

const NOW: Time = Time::from_micros(0);

/// Protocol 1, suite 1: cluster "golden", key 0x00..0x1f, instance
/// 0x1122334455667788, counter 1, random 0xaabbccddeeff, body "hello, muster".
const GOLDEN_SEALED: &str = "0101079ad03488776655443322110100000000000000ffeeddccbbaadd564d536b2a8f7141087df12cc5f4ea9732ea2164c29fa6fd789722dc1002";

/// The same in suite 0: the key id field is hash bytes.
const GOLDEN_PLAIN: &str =
    "0100de41379588776655443322110100000000000000ffeeddccbbaadd5668656c6c6f2c206d7573746572";

fn keyring(byte: u8) -> Keyring {
    Keyring::new(Key::new(&[byte; 32]).unwrap())
}

fn sealed(cluster: &str, instance: u64) -> Sealer {
    Sealer::new(cluster, Some(keyring(1)), instance)
}

fn plain(cluster: &str, instance: u64) -> Sealer {
    Sealer::new(cluster, None, instance)
}

fn golden_key() -> Key {
    let bytes: Vec<u8> = (0..32).collect();
    Key::new(&bytes).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn golden_frames_of_protocol_1() {
    let golden = [
        (GOLDEN_SEALED, Some(Keyring::new(golden_key()))),
        (GOLDEN_PLAIN, None),
    ];
    for (expected, keyring) in golden {
        let mut sender = Sealer::new("golden", keyring.clone(), 0x1122_3344_5566_7788);
        let datagram = sender.seal(0xffff_aabb_ccdd_eeff, b"hello, muster");
        assert_eq!(hex(&datagram), expected);
        let mut receiver = Sealer::new("golden", keyring, 1);
        let opened = receiver.open(NOW, &from_hex(expected)).unwrap();
        assert_eq!(opened.instance, 0x1122_3344_5566_7788);
        assert_eq!(opened.counter, 1);
        assert_eq!(&opened.body[..], b"hello, muster");
    }
}

#[test]
fn golden_key_derivations() {
    let key = golden_key();
    assert_eq!(key.id().to_string(), "079ad034");
    assert_eq!(
        hex(key.datagram_key()),
        "01cf646f233e41bf6b4fb0f4188a2ea7f1cd06b2e2570d85ce474d2eb23cf9fa"
    );
    assert_eq!(
        hex(&*key.psk("golden")),
        "4d852681125212a4f9f6810a6b27ae40feb90e2c36dea8bdcb8e71ad47ce4191"
    );
}

#[test]
fn bodies_of_every_size_round_trip() {
    for (mut from, mut to, added) in [
        (sealed("c", 1), sealed("c", 2), Sealer::OVERHEAD),
        (plain("c", 1), plain("c", 2), Sealer::OVERHEAD - TAG),
    ] {
        for size in [
            0,
            1,
            63,
            64,
            65,
            1_400,
            DATAGRAM_BYTES_MAX - Sealer::OVERHEAD,
        ] {
            let body = vec![0x5a; size];
            let datagram = from.seal(9, &body);
            assert_eq!(datagram.len(), size + added);
            assert_eq!(to.open(NOW, &datagram).unwrap().body, body);
        }
    }
}

#[test]
fn counters_grow_by_one_from_one() {
    let (mut from, mut to) = (sealed("c", 1), sealed("c", 2));
    for expected in 1..5 {
        let datagram = from.seal(0, b"");
        assert_eq!(to.open(NOW, &datagram).unwrap().counter, expected);
    }
}

#[test]
fn an_installed_key_opens_but_does_not_seal() {
    let mut ring = keyring(1);
    ring.install(Key::new(&[2; 32]).unwrap());
    let mut both = Sealer::new("c", Some(ring), 1);
    let mut only_second = Sealer::new("c", Some(keyring(2)), 2);
    assert!(both.open(NOW, &only_second.seal(0, b"x")).is_ok());
    let refused = only_second.open(NOW, &both.seal(0, b"x"));
    assert_eq!(
        refused,
        Err(OpenError::UnknownKey(keyring(1).primary().id()))
    );
}

#[test]
fn a_wrong_key_is_named() {
    let datagram = Sealer::new("c", Some(keyring(7)), 1).seal(0, b"x");
    let error = sealed("c", 2).open(NOW, &datagram).unwrap_err();
    assert_eq!(error, OpenError::UnknownKey(keyring(7).primary().id()));
}

#[test]
fn a_wrong_key_of_the_same_id_is_forged() {
    let mut datagram = Sealer::new("c", Some(keyring(7)), 1).seal(0, b"x").to_vec();
    datagram[2..6].copy_from_slice(&keyring(1).primary().id().to_bytes());
    assert_eq!(sealed("c", 2).open(NOW, &datagram), Err(OpenError::Forged));
}

#[test]
fn other_clusters_are_told_apart() {
    for (mut from, mut to) in [
        (sealed("one", 1), sealed("two", 2)),
        (plain("one", 1), plain("two", 2)),
    ] {
        let datagram = from.seal(0, b"x");
        assert_eq!(to.open(NOW, &datagram), Err(OpenError::OtherCluster));
    }
}

#[test]
fn a_cluster_with_the_same_tag_is_forged() {
    let mut datagram = sealed("one", 1).seal(0, b"x").to_vec();
    let tag = sealed("two", 2).cluster_hash;
    datagram[28..30].copy_from_slice(&tag[..2]);
    assert_eq!(
        sealed("two", 2).open(NOW, &datagram),
        Err(OpenError::Forged)
    );
}

#[test]
fn clear_and_sealed_do_not_mix() {
    let clear = plain("c", 1).seal(0, b"x");
    let closed = sealed("c", 1).seal(0, b"x");
    assert_eq!(
        sealed("c", 2).open(NOW, &clear),
        Err(OpenError::PlaintextRefused)
    );
    assert_eq!(
        plain("c", 2).open(NOW, &closed),
        Err(OpenError::SealedRefused)
    );
}

#[test]
fn unknown_versions_and_suites_are_named() {
    let mut datagram = sealed("c", 1).seal(0, b"x").to_vec();
    datagram[1] = 9;
    assert_eq!(
        sealed("c", 2).open(NOW, &datagram),
        Err(OpenError::Suite(9))
    );
    datagram[0] = 2;
    assert_eq!(
        sealed("c", 2).open(NOW, &datagram),
        Err(OpenError::Version(2))
    );
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let datagram = sealed("c", 1).seal(0x1234_5678_9abc, b"some body");
    let mut to = sealed("c", 2);
    for bit in 0..datagram.len() * 8 {
        let mut bad = datagram.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = to.open(NOW, &bad).unwrap_err();
        let expected = match bit / 8 {
            0 => "version",
            1 if bit % 8 == 0 => "plaintext_refused",
            1 => "suite",
            2..6 => "unknown_key",
            28..30 => "other_cluster",
            _ => "forged",
        };
        assert_eq!(error.name(), expected, "bit {bit}");
    }
    assert!(to.open(NOW, &datagram).is_ok(), "bad copies left no trace");
}

#[test]
fn truncated_at_every_length_is_refused() {
    for (mut from, mut to, framing) in [
        (sealed("c", 1), sealed("c", 2), Sealer::OVERHEAD),
        (plain("c", 1), plain("c", 2), HEADER),
    ] {
        let datagram = from.seal(0, b"");
        for length in 0..framing {
            let error = to.open(NOW, &datagram[..length]).unwrap_err();
            assert_eq!(error, OpenError::Truncated, "{length}");
        }
    }
    let datagram = sealed("c", 1).seal(0, b"some body");
    for length in Sealer::OVERHEAD..datagram.len() {
        let error = sealed("c", 2).open(NOW, &datagram[..length]).unwrap_err();
        assert_eq!(error, OpenError::Forged, "{length}");
    }
}

#[test]
fn oversized_is_refused_before_anything_else() {
    let huge = vec![VERSION; DATAGRAM_BYTES_MAX + 1];
    assert_eq!(sealed("c", 2).open(NOW, &huge), Err(OpenError::Oversized));
    let mut small = sealed("c", 2).with_limit(100);
    let mut from = sealed("c", 1);
    let fits = from.seal(0, &[0; 100 - Sealer::OVERHEAD]);
    let over = from.seal(0, &[0; 101 - Sealer::OVERHEAD]);
    assert!(small.open(NOW, &fits).is_ok());
    assert_eq!(small.open(NOW, &over), Err(OpenError::Oversized));
}

#[test]
fn own_datagrams_that_come_back_are_refused() {
    for mut node in [sealed("c", 1), plain("c", 1)] {
        let datagram = node.seal(0, b"x");
        assert_eq!(node.open(NOW, &datagram), Err(OpenError::Reflected));
    }
}

#[test]
fn replays_are_refused() {
    for (mut from, mut to) in [
        (sealed("c", 1), sealed("c", 2)),
        (plain("c", 1), plain("c", 2)),
    ] {
        let datagram = from.seal(0, b"x");
        assert!(to.open(NOW, &datagram).is_ok());
        assert_eq!(to.open(NOW, &datagram), Err(OpenError::Replayed));
        assert_eq!(to.senders(), 1);
    }
}

#[test]
fn reordered_datagrams_pass_once_and_late_ones_never() {
    let (mut from, mut to) = (sealed("c", 1), sealed("c", 2));
    let late = from.seal(0, b"late");
    let all: Vec<Bytes> = (0..1_024).map(|_| from.seal(0, b"x")).collect();
    for datagram in all.iter().rev() {
        assert!(to.open(NOW, datagram).is_ok());
        assert_eq!(to.open(NOW, datagram), Err(OpenError::Replayed));
    }
    assert_eq!(to.open(NOW, &late), Err(OpenError::Replayed));
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    let (mut from, mut to) = (sealed("c", 1), sealed("c", 2));
    let good = from.seal(0, b"x");
    let mut forged = good.to_vec();
    forged[14..22].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(to.open(NOW, &forged), Err(OpenError::Forged));
    assert!(to.open(NOW, &good).is_ok());
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(sealed("c", 2).open(NOW, &bytes).is_err());
        prop_assert!(plain("c", 2).open(NOW, &bytes).is_err());
    }

    #[test]
    fn garbage_behind_a_good_header_is_forged(tail in prop::collection::vec(any::<u8>(), 16..200)) {
        let mut bytes = sealed("c", 1).seal(0, b"x")[..HEADER].to_vec();
        bytes.extend(tail);
        prop_assert_eq!(sealed("c", 2).open(NOW, &bytes), Err(OpenError::Forged));
    }
}
