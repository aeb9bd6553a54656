use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde::Serialize;

use super::super::command::Command;
use super::super::frame::Frames;
use super::*;

/// What serf 0.9.4 sent, recorded between it and its agent.
const RECORDED: [(&str, &[u8]); 16] = [
    (
        "members",
        include_bytes!("../../../testdata/serf_rpc/members.request"),
    ),
    (
        "members-tag",
        include_bytes!("../../../testdata/serf_rpc/members-tag.request"),
    ),
    (
        "event",
        include_bytes!("../../../testdata/serf_rpc/event.request"),
    ),
    (
        "event-large",
        include_bytes!("../../../testdata/serf_rpc/event-large.request"),
    ),
    (
        "query",
        include_bytes!("../../../testdata/serf_rpc/query.request"),
    ),
    (
        "tags",
        include_bytes!("../../../testdata/serf_rpc/tags.request"),
    ),
    (
        "join",
        include_bytes!("../../../testdata/serf_rpc/join.request"),
    ),
    (
        "force-leave",
        include_bytes!("../../../testdata/serf_rpc/force-leave.request"),
    ),
    (
        "prune",
        include_bytes!("../../../testdata/serf_rpc/force-leave-prune.request"),
    ),
    (
        "info",
        include_bytes!("../../../testdata/serf_rpc/info.request"),
    ),
    (
        "keys-list",
        include_bytes!("../../../testdata/serf_rpc/keys-list.request"),
    ),
    (
        "keys-install",
        include_bytes!("../../../testdata/serf_rpc/keys-install.request"),
    ),
    (
        "reachability",
        include_bytes!("../../../testdata/serf_rpc/reachability.request"),
    ),
    (
        "rtt",
        include_bytes!("../../../testdata/serf_rpc/rtt.request"),
    ),
    (
        "monitor",
        include_bytes!("../../../testdata/serf_rpc/monitor.request"),
    ),
    (
        "session",
        include_bytes!("../../../testdata/serf_rpc/session.request"),
    ),
];

/// The frames of a recording.
fn recorded(name: &str) -> Vec<Bytes> {
    let (_, bytes) = RECORDED.iter().find(|(known, _)| *known == name).unwrap();
    let mut frames = Frames::default();
    frames.bytes.extend_from_slice(bytes);
    let mut found = Vec::new();
    while let Some(frame) = frames.next(10_000).unwrap() {
        found.push(frame);
    }
    assert!(!frames.is_begun(), "{name} is cut off");
    found
}

/// The last request of a recording, its name checked.
fn last<T: DeserializeOwned>(name: &str, command: &str) -> T {
    let frames = recorded(name);
    let [.., header, body] = &frames[..] else {
        panic!("{name} is too short");
    };
    assert_eq!(read::<Header>(header).unwrap().command, command);
    read(body).unwrap()
}

#[test]
fn all_that_serf_sends_is_read() {
    let hello: Header = read(&recorded("members")[0]).unwrap();
    assert_eq!((hello.command.as_str(), hello.seq), ("handshake", 1));
    assert_eq!(
        read::<Handshake>(&recorded("members")[1]).unwrap().version,
        1
    );
    let all: MembersFiltered = last("members", "members-filtered");
    assert_eq!(all, MembersFiltered::default());
    let web: MembersFiltered = last("members-tag", "members-filtered");
    assert_eq!(web.tags, [("role".to_owned(), "web".to_owned())].into());
    let event: Event = last("event", "event");
    assert_eq!(
        (event.name.as_str(), &event.payload.0[..]),
        ("deploy", &b"payload"[..])
    );
    assert!(event.coalesce);
    assert_eq!(last::<Event>("event-large", "event").name.len(), 600);
    let tags: Tags = last("tags", "tags");
    assert_eq!(tags.tags, [("a".to_owned(), "b".to_owned())].into());
    assert_eq!(tags.delete_tags, ["zone"]);
    assert_eq!(last::<Join>("join", "join").existing, ["127.0.0.1:1"]);
    let forced: ForceLeave = last("force-leave", "force-leave");
    assert_eq!((forced.node.as_str(), forced.prune), ("nosuch", false));
    assert!(last::<ForceLeave>("prune", "force-leave").prune);
    assert_eq!(last::<Coordinate>("rtt", "get-coordinate").node, "nosuch");
    let query: Query = last("query", "query");
    assert_eq!((query.name.as_str(), query.timeout), ("q1", 1_000_000_000));
    assert!(query.request_ack && query.filter_nodes.is_empty() && query.filter_tags.is_empty());
    let ping: Query = last("reachability", "query");
    assert_eq!((ping.name.as_str(), ping.request_ack), ("_serf_ping", true));
    assert_eq!(last::<Monitor>("monitor", "monitor").log_level, "DEBUG");
}

#[test]
fn commands_have_bodies_where_serf_sends_some() {
    for (name, _) in RECORDED {
        let mut frames = recorded(name).into_iter();
        while let Some(header) = frames.next() {
            let header: Header = read(&header).unwrap();
            let Some(command) = Command::parse(&header.command) else {
                panic!("{name} sends {}", header.command);
            };
            if command.has_body() {
                let body = frames.next().unwrap();
                assert!(read::<Header>(&body).unwrap().command.is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn nil_missing_and_unknown_are_nothing() {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Odd {
        name: Option<String>,
        payload: Option<Vec<u8>>,
        other: Vec<u8>,
    }
    let odd = Odd {
        name: None,
        payload: None,
        other: vec![1, 2],
    };
    let event: Event = read(&rmp_serde::to_vec_named(&odd).unwrap()).unwrap();
    assert_eq!(event, Event::default());
    assert_eq!(read::<Tags>(b"\x80").unwrap(), Tags::default());
}

#[test]
fn text_may_come_as_binary_and_bytes_as_text() {
    // {bin "Name": bin "n", "Payload": str ff 00}
    let bytes = b"\x82\xc4\x04Name\xc4\x01n\xa7Payload\xa2\xff\x00";
    let event: Event = read(bytes).unwrap();
    assert_eq!(
        (event.name.as_str(), &event.payload.0[..]),
        ("n", &b"\xff\x00"[..])
    );
    let stop: Stop = read(b"\x81\xc4\x04Stop\x03").unwrap();
    assert_eq!(stop.stop, 3);
}

#[test]
fn what_is_no_request_is_refused() {
    for bytes in [
        &b"\x92\x01\x02"[..],
        b"\xc0",
        b"\xa1x",
        b"",
        b"\x81\xa4Name\x05",
    ] {
        assert!(read::<Event>(bytes).is_err(), "{bytes:x?}");
    }
    assert!(
        read::<Header>(b"\x81\xa3Seq\xff").is_err(),
        "a negative number"
    );
}

/// Reads a frame as every request there is.
fn read_as_all(frame: &[u8]) {
    _ = read::<Header>(frame).is_ok();
    _ = read::<Handshake>(frame).is_ok();
    _ = read::<Auth>(frame).is_ok();
    _ = read::<Event>(frame).is_ok();
    _ = read::<Join>(frame).is_ok();
    _ = read::<MembersFiltered>(frame).is_ok();
    _ = read::<Tags>(frame).is_ok();
    _ = read::<ForceLeave>(frame).is_ok();
    _ = read::<Stream>(frame).is_ok();
    _ = read::<Monitor>(frame).is_ok();
    _ = read::<Query>(frame).is_ok();
    _ = read::<Respond>(frame).is_ok();
    _ = read::<Stop>(frame).is_ok();
    _ = read::<Coordinate>(frame).is_ok();
}

#[test]
fn damaged_requests_end_in_errors_only() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut whole = 0_u32;
    for _ in 0..6_000 {
        let (_, recorded) = RECORDED[rng.random_range(0..RECORDED.len())];
        let mut bytes = recorded.to_vec();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => bytes.truncate(at.max(1)),
                2 => bytes[at] ^= 1 << rng.random_range(0..8),
                _ => {
                    let mut more = vec![0; rng.random_range(1..9)];
                    rng.fill_bytes(&mut more);
                    bytes.splice(at..at, more);
                }
            }
        }
        let mut frames = Frames::default();
        frames.bytes.extend_from_slice(&bytes);
        while let Ok(Some(frame)) = frames.next(10_000) {
            read_as_all(&frame);
            whole += 1;
        }
    }
    assert!(whole > 6_000, "only {whole} frames were whole");
}
