//! Merging, refusing, forgetting.

use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::ident::name_hash;
use crate::member::Role;
use crate::wire::{NodeInfo, Tags};

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

/// As from a sender that holds nothing else up to the last of them.
fn delta(entries: Vec<Bytes>) -> RecordDelta {
    let versions = entries
        .iter()
        .map(|raw| RecordEntry::decode(raw.clone()).unwrap().version);
    RecordDelta {
        hash: name_hash("a"),
        boot: 1,
        upto: versions.max().unwrap_or(0),
        entries,
        ..RecordDelta::default()
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
        assert!(
            !record.merge(now, &old).unwrap().is_news(),
            "old news are no news"
        );
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
    assert!(
        !record.merge(now, &stale).unwrap().is_news(),
        "it does not come back"
    );
    assert!(record.parsed().tags.is_empty());
    assert_eq!(record.purge(now + DELETED_KEPT / 2), 0);
    assert!(record.purge(now + DELETED_KEPT) > 0);
    assert_eq!(record.since(2).floor, 3);
    assert!(
        record.since(3).entries.is_empty(),
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
    let merged = behind.merge(now, &ahead.since(behind.version())).unwrap();
    assert!(merged.is_news() && merged.member);
    assert!(behind.parsed().tags.is_empty(), "deleted while it was away");
    assert_eq!((behind.version(), behind.since(0)), (3, ahead.since(0)));
    let fresh = Record::new(now, &ahead.since(0)).unwrap();
    assert_eq!(
        fresh.version(),
        ahead.version(),
        "or views would never agree"
    );
}

fn published(key: &str, version: u64, value: &str) -> Bytes {
    encode_entry(key, version, Bytes::copy_from_slice(value.as_bytes()))
}

/// A record with `count` published keys of 100 bytes, versions 2 and up.
fn full(now: Time, count: u64) -> Record {
    let key = |at| format!("container/{at:03}");
    let entries = (0..count).map(|at| published(&key(at), at + 2, &"x".repeat(100)));
    let node = std::iter::once(node_entry(1, "a", 1));
    Record::new(now, &delta(node.chain(entries).collect())).unwrap()
}

#[test]
fn what_does_not_fit_comes_in_parts_and_claims_no_more_than_it_holds() {
    let now = Time::default();
    let owner = full(now, 50);
    let first = owner.within(0, 900);
    assert!(first.entries.len() < 10 && first.latest == 51);
    let mut peer = Record::new(now, &first).unwrap();
    let mut rounds = 0;
    while peer.version() < owner.version() {
        let before = peer.version();
        peer.merge(now, &owner.within(before, 900)).unwrap();
        assert!(peer.version() > before, "every part brings it on");
        rounds += 1;
    }
    assert!(rounds > 3);
    assert_eq!(peer.since(0), owner.since(0));
}

#[test]
fn roles_do_not_wait_for_what_was_written_before_them() {
    let now = Time::default();
    let mut owner = full(now, 50);
    let mut peer = Record::new(now, &owner.within(0, 900)).unwrap();
    let held = peer.version();
    let role = Role {
        name: "web".to_owned(),
        service_ip: IpAddr::from([10, 0, 0, 1]),
        service_port: 80,
        since_unix_ms: 1,
        container: Some(Arc::from("c".repeat(64))),
        healthy: true,
    };
    let key = format!("roles/{}", "c".repeat(24));
    owner.write(now, &key, encode_roles([&role]));
    let urgent = owner.within(51, 400);
    let merged = peer.merge(now, &urgent).unwrap();
    assert!(merged.member && !merged.version);
    assert_eq!((peer.parsed().roles.len(), peer.version()), (1, held));
    // It is gone before anybody has told of what lies between.
    owner.write_all(now, vec![(key, None)]);
    peer.merge(now, &owner.within(52, 400)).unwrap();
    assert!(peer.parsed().roles.is_empty());
    peer.merge(now, &urgent).unwrap();
    assert!(peer.parsed().roles.is_empty(), "it does not come back");
    peer.merge(now, &owner.since(held)).unwrap();
    assert_eq!(peer.since(0), owner.since(0));
}

#[test]
fn surfaces_are_told_of_published_keys_once() {
    let now = Time::default();
    let mut record = full(now, 3);
    let mut told = false;
    let first = record.take_published(&mut told).unwrap();
    assert!(first.fresh && told && first.changes.len() == 3);
    assert_eq!(record.take_published(&mut told), None);
    let change = vec![
        ("container/000".to_owned(), None),
        ("container/001".to_owned(), Some(Bytes::from_static(b"new"))),
    ];
    record.write_all(now, change);
    let second = record.take_published(&mut told).unwrap();
    let gone = (Arc::from("container/000"), None);
    let new = (Arc::from("container/001"), Some(Bytes::from_static(b"new")));
    assert_eq!((second.fresh, second.changes), (false, vec![gone, new]));
    let version = record.version();
    record.write_all(now, vec![("container/000".to_owned(), None)]);
    assert_eq!(record.version(), version, "what is so already is no change");
    let mut nobody = false;
    let mut silent = full(now, 0);
    assert_eq!(silent.take_published(&mut nobody), None);
    let mut anew = full(now, 0);
    assert!(
        anew.take_published(&mut told).unwrap().fresh,
        "of the run before nothing is left"
    );
}

#[test]
fn many_deletions_are_forgotten_early() {
    let now = Time::default();
    let mut record = full(now, 0);
    let mut behind = record.clone();
    for at in 0..2 * DELETED_MAX {
        let key = format!("container/{at}");
        record.write_all(now, vec![(key.clone(), Some(Bytes::new()))]);
        record.write_all(now, vec![(key, None)]);
    }
    assert!(record.since(0).entries.len() <= DELETED_MAX + 1);
    behind.merge(now, &record.since(behind.version())).unwrap();
    assert_eq!(behind.since(0), record.since(0));
    assert_eq!(
        record.bytes,
        record.entries.values().map(|e| e.raw.len()).sum::<usize>()
    );
}
