//! Queries and what else an envelope carries, at one node.

use bytes::Bytes;
use prost::Message as _;

use super::fixtures::{at, counter, drain, envelope, events, node, peers, send};
use crate::event::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, CHILD_BYTES_MAX, EventDraft, EventError, EventKind,
    TARGET_BYTES_MAX,
};
use crate::events::wire::{BadEnvelope, Envelope, Position};
use crate::events::{Events, EventsOutput};

fn query(sequence: u64) -> Envelope {
    Envelope {
        kind: 1,
        timeout_ms: 500,
        ..envelope("b", 1, sequence)
    }
}

/// What was handed over: `q` a query, `e` an event, `p` a position, `b` a base.
fn said(events: &mut Events) -> Vec<(char, u64)> {
    let outputs = drain(events);
    let told = outputs.iter().filter_map(|output| match output {
        EventsOutput::Query(query) => Some(('q', query.sequence)),
        EventsOutput::Deliver(event) => Some(('e', event.sequence)),
        EventsOutput::Passed { sequence, .. } => Some(('p', *sequence)),
        EventsOutput::Base { sequence, .. } => Some(('b', *sequence)),
        _ => None,
    });
    told.collect()
}

fn base(sequence: u64) -> Position {
    Position {
        hash: node("b", 1).hash,
        boot: 1,
        name: "b".to_owned(),
        sequence,
    }
}

#[test]
fn the_asker_gets_its_own_query_and_the_position() {
    let mut events = events();
    let draft = EventDraft {
        kind: EventKind::Query,
        target: Bytes::from_static(b"t"),
        child: "web".to_owned(),
        coalesce: true,
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        timeout_ms: 700,
        want_ack: true,
        ..EventDraft::new("_muster_ping", "x")
    };
    events.publish(at(1), draft.clone(), &peers()).unwrap();
    let outputs = drain(&mut events);
    let asked = outputs.iter().find_map(|output| match output {
        EventsOutput::Query(query) => Some(query),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.sequence, asked.kind), (1, EventKind::Query));
    assert_eq!((&asked.name, &asked.target), (&draft.name, &draft.target));
    assert_eq!((asked.timeout_ms, asked.want_ack), (700, true));
    assert_eq!((&*asked.child, asked.coalesce), ("web", true));
    assert_eq!(asked.attributes, draft.attributes);
    let passed = |o: &EventsOutput| matches!(o, EventsOutput::Passed { sequence: 1, .. });
    assert!(outputs.iter().any(passed));
}

#[test]
fn a_query_does_not_wait_for_what_is_missing_before_it() {
    let mut events = events();
    send(&mut events, node("b", 1), 1, &envelope("b", 1, 1));
    send(&mut events, node("b", 1), 4, &query(4));
    assert_eq!(said(&mut events), [('e', 1), ('q', 4)]);
    send(&mut events, node("b", 1), 4, &query(4));
    send(&mut events, node("b", 1), 3, &envelope("b", 1, 3));
    assert_eq!(said(&mut events), []);
    send(&mut events, node("b", 1), 2, &query(2));
    assert_eq!(
        said(&mut events),
        [('q', 2), ('p', 2), ('e', 3), ('p', 4)],
        "handed over once, passed in order"
    );
    assert_eq!(counter(&events, "events_queries"), 2);
    assert_eq!(counter(&events, "events_delivered"), 2);
}

#[test]
fn queries_from_before_a_join_are_not_handed_over() {
    let mut events = events();
    send(&mut events, node("b", 1), 5, &query(5));
    send(&mut events, node("b", 1), 9, &query(9));
    assert_eq!(
        said(&mut events),
        [],
        "it is not known where b's stream begins"
    );
    events.on_positions(at(1_001), node("c", 1), &[base(7)], true, &peers());
    assert_eq!(said(&mut events), [('b', 7), ('q', 9)]);
    send(&mut events, node("b", 1), 6, &query(6));
    send(&mut events, node("b", 1), 8, &query(8));
    assert_eq!(said(&mut events), [('q', 8), ('p', 8), ('p', 9)]);
}

#[test]
fn without_a_join_they_come_once_the_first_is_there() {
    let mut events = events();
    send(&mut events, node("b", 1), 3, &query(3));
    assert_eq!(said(&mut events), []);
    send(&mut events, node("b", 1), 1, &query(1));
    assert_eq!(said(&mut events), [('q', 1), ('q', 3), ('p', 1)]);
}

#[test]
fn kinds_of_later_versions_only_move_the_position() {
    let mut events = events();
    let later = Envelope {
        kind: 9,
        name: "what ever".to_owned(),
        ..envelope("b", 1, 1)
    };
    send(&mut events, node("b", 1), 1, &later);
    send(&mut events, node("b", 1), 2, &envelope("b", 1, 2));
    assert_eq!(said(&mut events), [('p', 1), ('e', 2)]);
    assert_eq!(counter(&events, "events_unknown_kinds"), 1);
    // Relayed as it came.
    assert!(events.logs[&node("b", 1)].get(1).is_some());
}

#[test]
fn what_is_too_much_is_refused_here_and_from_others() {
    let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new()));
    let too_much = [
        EventDraft {
            target: vec![0; TARGET_BYTES_MAX + 1].into(),
            ..EventDraft::default()
        },
        EventDraft {
            child: "c".repeat(CHILD_BYTES_MAX + 1),
            ..EventDraft::default()
        },
        EventDraft {
            attributes: many(ATTRIBUTES_MAX + 1).collect(),
            ..EventDraft::default()
        },
        EventDraft {
            attributes: [("k".to_owned(), "v".repeat(ATTRIBUTES_BYTES_MAX))].into(),
            ..EventDraft::default()
        },
    ];
    let mut events = events();
    for draft in too_much {
        let envelope = Envelope {
            target: draft.target.clone(),
            child: draft.child.clone(),
            attributes: draft.attributes.clone(),
            ..envelope("b", 1, 1)
        };
        let draft = EventDraft {
            name: "deploy".to_owned(),
            ..draft
        };
        let refused = events.publish(at(1), draft, &peers());
        assert!(matches!(refused, Err(EventError::TooMuch { .. })));
        let raw = Bytes::from(envelope.encode_to_vec());
        let refused = Envelope::view(&raw, node("b", 1), 1);
        assert_eq!(refused, Err(BadEnvelope::Oversized));
    }
    assert_eq!(counter(&events, "events_published"), 0);
    // A reserved name is for queries only, from others too.
    let named = Envelope {
        name: "_muster_x".to_owned(),
        ..envelope("b", 1, 1)
    };
    send(&mut events, node("b", 1), 1, &named);
    assert_eq!(counter(&events, "events_dropped_bad_name"), 1);
    send(&mut events, node("b", 1), 1, &Envelope { kind: 1, ..named });
    assert_eq!(said(&mut events), [('q', 1), ('p', 1)]);
}
