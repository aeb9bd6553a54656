//! What a node publishes itself.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::fixtures::{Fixed, at, counter, draft, drain, envelope, events, node, peers, send};
use crate::api::Limits;
use crate::event::{EventDraft, EventError};
use crate::events::wire::{Envelope, Mark, Section};
use crate::events::{Events, EventsOutput};

#[test]
fn drafts_are_checked() {
    let mut events = events();
    let bad = EventDraft::new("_muster_x", Bytes::new());
    let refused = events.publish(at(1), bad, &peers());
    assert!(matches!(refused, Err(EventError::InvalidName(_))));
    let refused = events.publish(at(1), draft((64 << 10) + 1), &peers());
    let expected = EventError::TooLarge {
        bytes: 65_537,
        limit: 65_536,
    };
    assert_eq!(refused, Err(expected));
    assert_eq!(
        events
            .publish(at(1), draft(65_536), &peers())
            .unwrap()
            .sequence,
        1
    );
}

#[test]
fn a_full_window_refuses_and_says_when_there_is_room() {
    let limits = Limits {
        events_per_origin: 16,
        ..Limits::default()
    };
    let me = node("a", 1);
    let mut events = Events::new(me, Arc::from("a"), &limits, 1);
    for _ in 0..16 {
        events.publish(at(1), draft(1), &peers()).unwrap();
    }
    assert_eq!(
        events.publish(at(1), draft(1), &peers()),
        Err(EventError::Full)
    );
    let mark = |position| {
        let section = Section {
            marks: vec![Mark {
                hash: me.hash,
                boot: 1,
                position,
            }],
            ..Section::default()
        };
        Bytes::from(section.encode_to_vec())
    };
    drain(&mut events);
    events.on_section(at(2), node("b", 1), mark(16), &peers());
    assert!(
        !drain(&mut events)
            .iter()
            .any(|o| matches!(o, EventsOutput::Room))
    );
    events.on_section(at(3), node("c", 1), mark(9), &peers());
    let outputs = drain(&mut events);
    assert!(outputs.iter().any(|o| matches!(o, EventsOutput::Room)));
    let replicated = |o: &EventsOutput| matches!(o, EventsOutput::Replicated { sequence: 9 });
    assert!(outputs.iter().any(replicated), "{outputs:?}");
    assert!(events.publish(at(4), draft(1), &peers()).is_ok());
    // A claim above what was published changes nothing.
    events.on_section(at(5), node("c", 1), mark(1 << 60), &peers());
    assert_eq!(counter(&events, "events_marks_false"), 1);
}

#[test]
fn the_window_is_bounded_in_bytes_too() {
    let limits = Limits {
        event_bytes_per_origin: 10_000,
        ..Limits::default()
    };
    let mut events = Events::new(node("a", 1), Arc::from("a"), &limits, 1);
    let mut taken = 0;
    while events.publish(at(1), draft(900), &peers()).is_ok() {
        taken += 1;
        assert!(taken < 20);
    }
    assert!((9..=11).contains(&taken), "{taken}");
    // One event always fits behind members that hold everything.
    let mut events = Events::new(node("a", 1), Arc::from("a"), &limits, 1);
    assert!(events.publish(at(1), draft(20_000), &peers()).is_ok());
    assert_eq!(
        events.publish(at(1), draft(1), &peers()),
        Err(EventError::Full)
    );
    // Alone nobody is waited for, and the log still keeps its bound.
    for _ in 0..40 {
        events
            .publish(at(2), draft(900), &Fixed(Vec::new()))
            .unwrap();
    }
    assert!(events.bytes <= 10_000, "{}", events.bytes);
}

#[test]
fn lamport_time_follows_serfs_rules_and_ignores_liars() {
    let mut events = events();
    let publish = |events: &mut Events| {
        let published = events.publish(at(1), draft(1), &peers());
        published.unwrap().lamport
    };
    assert_eq!(publish(&mut events), 1);
    assert_eq!(publish(&mut events), 2);
    send(
        &mut events,
        node("b", 1),
        1,
        &Envelope {
            lamport: 40,
            ..envelope("b", 1, 1)
        },
    );
    assert_eq!(publish(&mut events), 41);
    send(
        &mut events,
        node("b", 1),
        2,
        &Envelope {
            lamport: u64::MAX,
            ..envelope("b", 1, 2)
        },
    );
    assert_eq!(publish(&mut events), 42);
}

#[test]
fn a_raised_boot_counts_from_one() {
    let mut events = events();
    events.boot_raised(node("a", 5));
    let accepted = events.publish(at(1), draft(1), &peers()).unwrap();
    assert_eq!((accepted.boot, accepted.sequence), (5, 1));
    let positions = events.positions();
    assert_eq!(positions[0].origin(), node("a", 5));
    assert_eq!(
        (positions[0].name.as_str(), positions[0].sequence),
        ("a", 1)
    );
}

#[test]
fn positions_ride_along_while_they_are_fresh() {
    let mut events = events();
    let to = node("b", 1);
    assert_eq!(events.piggyback(at(1), to, 1_000), None);
    events.publish(at(1), draft(1), &peers()).unwrap();
    let section = Section::decode(events.piggyback(at(2), to, 1_000).unwrap()).unwrap();
    assert_eq!(section.marks[0].position, 1);
    assert_eq!(events.piggyback(at(2), to, 20), None);
    for ms in 2..5_000 {
        events.tick(at(ms), &peers());
        drain(&mut events);
    }
    assert_eq!(events.piggyback(at(5_000), to, 1_000), None);
}
