//! Frames of protocol 1 as they were first sent, kept in `tests-data/golden`: what
//! a later build must still read, and write back the same.
//!
//! A frame that is missing is written by `MUSTER_GOLDEN=write cargo test -p
//! muster-engine golden`; one that exists is never replaced.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;

use crate::crypto::{Key, Keyring, Sealer};
use crate::ident::{Ident, name_hash};
use crate::record::{Record, encode_entry, encode_ip};
use crate::time::Time;
use crate::wire::{
    Accusation, Compare, CompareAnswer, Forced, Hello, MemberState, NodeInfo, OwnStatus, Packet,
    PortInfo, Ports, Push, RecordDelta, RoleInfo, Roles, Summary, SyncRequest, Tags, sync_request,
};

/// Holds `frame` against the one in git.
pub(crate) fn hold(name: &str, frame: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests-data/golden")
        .join(format!("{name}.hex"));
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = std::env::var("MUSTER_GOLDEN").is_ok_and(|wish| wish == "write");
    if write && !path.exists() {
        std::fs::write(&path, format!("{hex}\n")).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(hex, kept.trim(), "{name} changed on the wire");
}

/// The same for a message, which must also be read back.
pub(crate) fn hold_message<M: prost::Message + Default + PartialEq>(name: &str, message: &M) {
    let bytes = message.encode_to_vec();
    hold(name, &bytes);
    let read = M::decode(&bytes[..]).unwrap();
    assert!(read == *message, "{name} is read back as something else");
    assert_eq!(read.encode_to_vec(), bytes, "{name}");
}

/// A sender.
pub(crate) const A: Ident = Ident {
    hash: 0x0102_0304_0506_0708,
    boot: 1_700_000_000_000,
    life: 2,
};

/// A receiver.
pub(crate) const B: Ident = Ident {
    hash: 0x1112_1314_1516_1718,
    boot: 1_700_000_000_001,
    life: 0,
};

fn ident(ident: Ident) -> Bytes {
    crate::engine::ident_bytes(ident)
}

fn record() -> RecordDelta {
    let info = NodeInfo {
        name: "web-1".to_owned(),
        instance: 0xdead_beef_0000_0001,
        ip: encode_ip([10, 1, 2, 3].into()),
        port: 7_946,
        started_unix_ms: 1_700_000_000_123,
        version: "0.1.0".to_owned(),
        protocol_min: 1,
        protocol_max: 1,
        features: 0,
        plaintext: true,
        conflict: false,
    };
    let role = RoleInfo {
        name: "web".to_owned(),
        ip: encode_ip([10, 1, 2, 4].into()),
        port: 80,
        since_unix_ms: 1_700_000_000_123,
        ..RoleInfo::default()
    };
    let adopted = RoleInfo {
        name: "db".to_owned(),
        container: Bytes::from(vec![0xc0; 32]),
        unhealthy: true,
        ..role.clone()
    };
    let port = PortInfo {
        port: "8000/tcp".to_owned(),
        published: vec!["49153".to_owned()],
    };
    let tags = Tags {
        tags: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
    };
    let values = [
        ("node", info.encode_to_vec()),
        ("tags", tags.encode_to_vec()),
        ("roles", Roles { roles: vec![role] }.encode_to_vec()),
        ("status", OwnStatus { leaving: true }.encode_to_vec()),
        (
            "roles/c0c0",
            Roles {
                roles: vec![adopted],
            }
            .encode_to_vec(),
        ),
        ("ports", Ports { ports: vec![port] }.encode_to_vec()),
        ("container/c0c0", b"opaque".to_vec()),
    ];
    let entries = (1..).zip(values);
    RecordDelta {
        hash: name_hash("web-1"),
        boot: A.boot,
        entries: entries
            .map(|(version, (key, value))| encode_entry(key, version, value.into()))
            .collect(),
        upto: 7,
        ..RecordDelta::default()
    }
}

fn state() -> MemberState {
    MemberState {
        ident: ident(A),
        incarnation: 3,
        state: 2,
        record: Some(record()),
        uptime_ms: 60_000,
        state_age_ms: 1_000,
        by: B.hash,
    }
}

fn place() -> crate::Coordinate {
    let mut place = crate::Coordinate {
        error: 0.25,
        adjustment: -0.000_02,
        height: 0.000_15,
        ..crate::Coordinate::default()
    };
    place.vec[0] = 0.012;
    place.vec[7] = -0.000_3;
    place
}

#[test]
fn golden_watching() {
    let packet = Packet {
        digest: 0x0123_4567,
        sender: ident(A),
        accusations: vec![Accusation {
            subject: ident(B),
            incarnation: 3,
            accuser: A.hash,
            evidence: 5,
        }],
        witness: ident(B),
        receipt: 8,
        incarnation: 1,
        ..Packet::default()
    };
    hold_message("packet_of_a_watcher", &packet);
    let hello = Hello {
        ident: ident(A),
        incarnation: 3,
        digest: 0x0123_4567_89ab_cdef,
    };
    hold_message("hello", &hello);
}

#[test]
fn golden_datagram() {
    let packet = Packet {
        digest: 0x0123_4567,
        sender: ident(A),
        suspected: 4,
        undead: ident(B),
        accusations: vec![Accusation {
            subject: ident(B),
            incarnation: 3,
            accuser: A.hash,
            evidence: 0,
        }],
        records: vec![record().encode_to_vec().into()],
        wants: ident(B),
        forced: vec![Forced {
            subject: ident(B),
            prune: true,
            by: A.hash,
        }],
        events: Bytes::from_static(b"section"),
        ask_digest: true,
        coordinate: crate::coordinate::encode(&place()),
        ..Packet::default()
    };
    hold_message("packet", &packet);
    let unheard = Packet {
        digest: 0x0123_4567,
        sender: ident(A),
        incarnation: 1,
        unheard: true,
        ..Packet::default()
    };
    hold_message("packet_unheard", &unheard);
    let body = packet.encode_to_vec();
    let ring = || Some(Keyring::new(Key::new(&[7; 32]).unwrap()));
    for (name, ring) in [("sealed", ring()), ("plain", None)] {
        let mut sealer = Sealer::new("test", ring.clone(), 1);
        let datagram = sealer.seal(0x0102_0304_0506, &body);
        hold(&format!("datagram_{name}"), &datagram);
        let mut reader = Sealer::new("test", ring, 2);
        let opened = reader.open(Time::default(), &datagram).unwrap();
        assert_eq!(opened.body, body, "{name}");
    }
}

#[test]
fn golden_record() {
    hold_message("record", &record());
    let read = Record::new(Time::default(), &record()).unwrap();
    assert_eq!(read.since(0), record());
    let said = read.parsed();
    assert_eq!((said.name.as_str(), said.leaving), ("web-1", true));
    assert_eq!((said.roles.len(), said.tags.len()), (2, 1));
    assert!(said.roles[1].container.is_some() && !said.roles[1].healthy);
    assert_eq!(said.ports["8000/tcp"], ["49153"]);
    let reset = RecordDelta {
        floor: 9,
        upto: 9,
        ..record()
    };
    hold_message("record_reset", &reset);
    let part = RecordDelta {
        base: 3,
        upto: 5,
        latest: 7,
        ..record()
    };
    hold_message("record_part", &part);
}

#[test]
fn golden_state_exchange() {
    let summary = Summary {
        ident: A,
        incarnation: 3,
        state: 2,
        record_version: 4,
    };
    let mut summaries = Vec::new();
    summary.put(&mut summaries);
    assert_eq!(Summary::get(&summaries), Some(summary));
    let position = crate::events::Position {
        hash: A.hash,
        boot: A.boot,
        name: "web-1".to_owned(),
        sequence: 17,
    };
    let compare = Compare {
        own: Some(state()),
        join: true,
        summaries: summaries.into(),
        positions: vec![position.clone()],
        groups: 0b101,
        ..Compare::default()
    };
    let digests = Compare {
        own: Some(state()),
        digests: Bytes::from_static(&[9; 16]),
        events_digest: 23,
        ..Compare::default()
    };
    let push = Push {
        own: Some(state()),
        members: vec![state()],
    };
    let requests = [
        ("compare", sync_request::Kind::Compare(compare)),
        ("compare_digests", sync_request::Kind::Compare(digests)),
        ("push", sync_request::Kind::Push(push)),
    ];
    for (name, kind) in requests {
        hold_message(name, &SyncRequest { kind: Some(kind) });
    }
    let answer = CompareAnswer {
        own: Some(state()),
        members: vec![state()],
        wants: ident(B),
        boot_floor: 5,
        positions: vec![position],
        more: true,
        differing: 0b100,
        events_differ: true,
    };
    hold_message("compare_answer", &answer);
}
