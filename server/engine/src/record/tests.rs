//! Merging, refusing, forgetting.

use super::*;

fn node_entry(version: u64, name: &str, port: u32) -> Bytes {
    encode_entry(KEY_NODE, version, node_value_of(name, port))
}

fn node_value() -> Bytes {
    node_value_of("a", 1)
}

fn node_value_of(name: &str, port: u32) -> Bytes {
    let info = NodeInfo {
        name: name.to_owned(),
        instance: 7,
        ip: encode_ip(IpAddr::from([10, 0, 0, 1])),
        port,
        ..NodeInfo::default()
    };
    Bytes::from(info.encode_to_vec())
}

fn tags_entry(version: u64, value: &str) -> Bytes {
    let tags = Tags {
        tags: BTreeMap::from([("k".to_owned(), value.to_owned())]),
    };
    encode_entry(KEY_TAGS, version, Bytes::from(tags.encode_to_vec()))
}

fn delta(entries: Vec<Bytes>) -> RecordDelta {
    RecordDelta {
        hash: name_hash("a"),
        boot: 1,
        entries,
        floor: 0,
    }
}

#[test]
fn merging_in_any_order_ends_equal() {
    let now = Time::default();
    let [old, new] = [
        delta(vec![tags_entry(2, "old")]),
        delta(vec![tags_entry(3, "new")]),
    ];
    let first = delta(vec![node_entry(1, "a", 7946)]);
    for order in [[&old, &new], [&new, &old]] {
        let mut record = Record::new(now, &first).unwrap();
        for delta in order {
            record.merge(now, delta).unwrap();
        }
        assert_eq!(record.parsed().tags["k"], "new");
        assert_eq!(record.version(), 3);
        assert!(!record.merge(now, &old).unwrap(), "old news are no news");
        assert_eq!(record.since(2).entries, new.entries, "original bytes");
    }
}

#[test]
fn refuses_what_its_owner_cannot_have_written() {
    let now = Time::default();
    let foreign = delta(vec![node_entry(1, "b", 7946)]);
    assert_eq!(
        Record::new(now, &foreign).unwrap_err(),
        RecordError::Grammar
    );
    let bad_port = delta(vec![node_entry(1, "a", 70_000)]);
    assert_eq!(
        Record::new(now, &bad_port).unwrap_err(),
        RecordError::Malformed
    );
    let no_node = delta(vec![tags_entry(1, "x")]);
    assert_eq!(
        Record::new(now, &no_node).unwrap_err(),
        RecordError::Malformed
    );
    let mut record = Record::new(now, &delta(vec![node_entry(1, "a", 7946)])).unwrap();
    let nul = delta(vec![tags_entry(2, "a\0b")]);
    assert_eq!(record.merge(now, &nul).unwrap_err(), RecordError::Grammar);
    let huge = delta(vec![tags_entry(2, &"x".repeat(RECORD_BYTES_MAX))]);
    assert_eq!(record.merge(now, &huge).unwrap_err(), RecordError::TooLarge);
    assert_eq!(record.version(), 1, "nothing was taken");
}

fn deleted(key: &str, version: u64) -> Bytes {
    let entry = RecordEntry {
        key: key.to_owned(),
        version,
        deleted: true,
        value: Bytes::new(),
    };
    Bytes::from(entry.encode_to_vec())
}

#[test]
fn what_a_later_version_adds_survives_the_relay() {
    // A field 99 in the entry and in its value, and a key nobody here knows.
    let mut value = Vec::from(&node_value()[..]);
    prost::encoding::string::encode(99, &"later".to_owned(), &mut value);
    let mut entry = Vec::from(&encode_entry(KEY_NODE, 1, Bytes::from(value))[..]);
    prost::encoding::string::encode(99, &"later".to_owned(), &mut entry);
    let unknown = encode_entry("zone", 2, Bytes::from_static(b"eu"));
    let given = delta(vec![Bytes::from(entry), unknown]);
    let now = Time::default();
    let first = Record::new(now, &given).unwrap();
    let second = Record::new(now, &first.since(0)).unwrap();
    assert_eq!(second.since(0), given, "byte for byte, after two hops");
    assert_eq!(second.parsed().name, "a");
}

#[test]
fn a_deleted_key_is_remembered_for_an_hour() {
    let now = Time::default();
    let first = delta(vec![node_entry(1, "a", 1), tags_entry(2, "x")]);
    let mut record = Record::new(now, &first).unwrap();
    record
        .merge(now, &delta(vec![deleted(KEY_TAGS, 3)]))
        .unwrap();
    assert!(record.parsed().tags.is_empty());
    let stale = delta(vec![tags_entry(2, "x")]);
    assert!(!record.merge(now, &stale).unwrap(), "it does not come back");
    assert!(record.parsed().tags.is_empty());
    assert_eq!(record.purge(now + DELETED_KEPT / 2), 0);
    assert!(record.purge(now + DELETED_KEPT) > 0);
    assert_eq!(record.since(2).floor, 3);
    assert_eq!(
        record.since(3),
        delta(vec![]),
        "who saw the deletion needs nothing"
    );
}

#[test]
fn a_peer_from_before_the_floor_starts_over() {
    let now = Time::default();
    let first = delta(vec![node_entry(1, "a", 1), tags_entry(2, "x")]);
    let mut ahead = Record::new(now, &first).unwrap();
    let mut behind = ahead.clone();
    ahead
        .merge(now, &delta(vec![deleted(KEY_TAGS, 3)]))
        .unwrap();
    ahead.purge(now + DELETED_KEPT);
    assert!(behind.merge(now, &ahead.since(behind.version())).unwrap());
    assert!(behind.parsed().tags.is_empty(), "deleted while it was away");
    assert_eq!((behind.version(), behind.since(0)), (3, ahead.since(0)));
    let fresh = Record::new(now, &ahead.since(0)).unwrap();
    assert_eq!(
        fresh.version(),
        ahead.version(),
        "or views would never agree"
    );
}
