//! What a node takes of others.

use bytes::Bytes;
use prost::Message as _;

use super::fixtures::{at, counter, drain, envelope, events, node, peers, section, send};
use crate::events::wire::{Call, Entry, Envelope, PullAnswer, PullRequest, Section, Want};
use crate::events::{Events, EventsOutput};

#[test]
fn foreign_and_broken_envelopes_are_counted_and_dropped() {
    let mut events = events();
    let key = node("b", 1);
    let good = envelope("b", 1, 1);
    type Spoil = fn(&mut Envelope);
    let cases: [(u64, Spoil, &str); 8] = [
        (1, |e| e.origin = "c".to_owned(), "events_dropped_foreign"),
        (1, |e| e.boot = 2, "events_dropped_foreign"),
        (1, |e| e.sequence = 2, "events_dropped_foreign"),
        (0, |e| e.sequence = 0, "events_dropped_foreign"),
        (1, |e| e.name = "a b".to_owned(), "events_dropped_bad_name"),
        (
            1,
            |e| e.name = "_muster_x".to_owned(),
            "events_dropped_bad_name",
        ),
        (8_193, |e| e.sequence = 8_193, "events_dropped_ahead"),
        (u64::MAX, |e| e.sequence = u64::MAX, "events_dropped_ahead"),
    ];
    for (sequence, spoil, name) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        let before = counter(&events, name);
        send(&mut events, key, sequence, &bad);
        assert_eq!(counter(&events, name), before + 1, "{bad:?}");
    }
    assert_eq!(counter(&events, "events_delivered"), 0);
    assert_eq!(events.logs.len(), 0);
    // The good one still gets in, once.
    send(&mut events, key, 1, &good);
    send(&mut events, key, 1, &good);
    assert_eq!(counter(&events, "events_delivered"), 1);
    assert_eq!(counter(&events, "events_duplicates"), 1);
}

#[test]
fn forged_own_events_and_broken_bytes_are_counted_and_dropped() {
    let mut events = events();
    let key = node("b", 1);
    send(&mut events, node("a", 1), 1, &envelope("a", 1, 1));
    send(&mut events, node("a", 9), 1, &envelope("a", 9, 1));
    assert_eq!(counter(&events, "events_dropped_own"), 2);
    let raw = section(key, 1, b"\xff\xff\xff");
    events.on_section(at(1_000), key, raw, &peers());
    assert_eq!(counter(&events, "events_dropped_undecodable"), 1);
    events.on_section(at(1_000), key, Bytes::from(vec![0; 5_000]), &peers());
    assert_eq!(counter(&events, "events_sections_bad"), 1);
    assert_eq!(events.logs.len(), 0);
}

#[test]
fn oversized_payloads_are_refused_by_the_hard_limit_not_by_the_setting() {
    let mut events = events();
    let key = node("b", 1);
    let want = |events: &mut Events, sequence, size| {
        let mut view = envelope("b", 1, sequence);
        view.payload = Bytes::from(vec![0; size]);
        let entry = Entry {
            sequence,
            envelope: Bytes::from(view.encode_to_vec()),
        };
        events.take_in(at(1), key, entry, crate::events::store::Way::Pulled);
    };
    want(&mut events, 1, 1 << 20);
    assert_eq!(counter(&events, "events_delivered"), 1);
    want(&mut events, 2, (1 << 20) + 1);
    assert_eq!(counter(&events, "events_delivered"), 1);
    assert_eq!(counter(&events, "events_dropped_oversized"), 1);
}

#[test]
fn fields_of_later_versions_survive_relaying() {
    let mut events = events();
    let key = node("b", 1);
    let mut raw = envelope("b", 1, 1).encode_to_vec();
    // Field 15, 3 bytes.
    raw.extend_from_slice(&[0x7a, 3, 1, 2, 3]);
    events.on_section(at(1), key, section(key, 1, &raw), &peers());
    let relayed = drain(&mut events)
        .into_iter()
        .find_map(|output| match output {
            EventsOutput::Send { section, .. } => Section::decode(section).ok(),
            _ => None,
        });
    assert_eq!(relayed.unwrap().batches[0].entries[0].envelope, raw);
    let request = PullRequest {
        wants: vec![Want {
            hash: key.hash,
            boot: 1,
            after: 0,
            upto: 0,
        }],
    };
    let body = Bytes::from(request.encode_to_vec());
    let answer = events.on_pull_request(at(2), body, &peers()).unwrap();
    let answer = PullAnswer::decode(answer).unwrap();
    assert_eq!(answer.ranges[0].entries[0].envelope, raw);
    assert_eq!((answer.ranges[0].floor, answer.ranges[0].position), (0, 1));
}

#[test]
fn only_those_called_acknowledge_and_in_batches() {
    let mut events = events();
    let origin = node("b", 1);
    let called = |who: Vec<u64>| {
        let mut raw = section(origin, 1, &envelope("b", 1, 1).encode_to_vec()).to_vec();
        let call = Section {
            call: Some(Call { who, through: 1 }),
            ..Section::default()
        };
        raw.extend_from_slice(&call.encode_to_vec());
        Bytes::from(raw)
    };
    let acks = |events: &mut Events| {
        let sent = drain(events);
        sent.iter()
            .filter(|output| match output {
                EventsOutput::Send { to, section } if *to == origin => {
                    let section = Section::decode(section.clone()).unwrap();
                    section
                        .marks
                        .iter()
                        .any(|m| m.hash == origin.hash && m.position == 1)
                }
                _ => false,
            })
            .count()
    };
    events.on_section(at(1), origin, called(vec![node("c", 1).hash]), &peers());
    assert_eq!(acks(&mut events), 0);
    events.on_section(at(2), origin, called(vec![node("a", 1).hash]), &peers());
    assert_eq!(acks(&mut events), 1);
    // Called again at once: the answer waits for its 5 ms.
    events.on_section(at(3), origin, called(vec![node("a", 1).hash]), &peers());
    assert_eq!(acks(&mut events), 0);
    assert!(events.next_deadline().unwrap() <= at(7).at);
    events.tick(at(7), &peers());
    assert_eq!(acks(&mut events), 1);
}

#[test]
fn a_base_holds_even_if_events_came_before_it() {
    let mut events = events();
    let key = node("b", 1);
    send(&mut events, key, 9, &envelope("b", 1, 9));
    send(&mut events, key, 5, &envelope("b", 1, 5));
    let base = crate::events::Position {
        hash: key.hash,
        boot: 1,
        name: "b".to_owned(),
        sequence: 8,
    };
    drain(&mut events);
    events.on_positions(at(1_001), node("c", 1), &[base], true, &peers());
    let outputs = drain(&mut events);
    let first = outputs.iter().find_map(|output| match output {
        EventsOutput::Base { sequence, .. } => Some((0, *sequence)),
        EventsOutput::Deliver(event) => Some((1, event.sequence)),
        _ => None,
    });
    assert_eq!(first, Some((0, 8)));
    assert_eq!(counter(&events, "events_delivered"), 1);
    assert_eq!(counter(&events, "events_gaps"), 0);
    assert_eq!(events.logs[&key].position(), 9);
}
