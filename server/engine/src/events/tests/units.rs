//! One node and what it says, step by step.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::api::Limits;
use crate::event::{EventDraft, EventError};
use crate::events::wire::{
    Batch, Call, Entry, Envelope, Mark, PullAnswer, PullRequest, Range, Section, Want,
    answer_is_sane,
};
use crate::events::{Events, EventsOutput, Peers};
use crate::ident::{NodeRef, name_hash};
use crate::time::{Now, Time};

pub(super) struct Fixed(pub(super) Vec<NodeRef>);

impl Peers for Fixed {
    fn live(&self) -> &[NodeRef] {
        &self.0
    }
    fn name_of(&self, hash: u64) -> Option<Arc<str>> {
        ["a", "b", "c"]
            .into_iter()
            .find(|n| name_hash(n) == hash)
            .map(Arc::from)
    }
}

pub(super) fn node(name: &str, boot: u64) -> NodeRef {
    NodeRef {
        hash: name_hash(name),
        boot,
    }
}

pub(super) fn at(ms: u64) -> Now {
    Now {
        at: Time::from_micros(ms * 1_000),
        unix_ms: ms,
    }
}

pub(super) fn peers() -> Fixed {
    let mut live = vec![node("b", 1), node("c", 1)];
    live.sort_unstable();
    Fixed(live)
}

pub(super) fn events() -> Events {
    Events::new(node("a", 1), Arc::from("a"), &Limits::default(), 1)
}

pub(super) fn drain(events: &mut Events) -> Vec<EventsOutput> {
    std::iter::from_fn(|| events.poll()).collect()
}

pub(super) fn counter(events: &Events, name: &str) -> u64 {
    let mut all = Vec::new();
    events.counters(&mut all);
    all.into_iter().find(|(n, _)| *n == name).unwrap().1
}

pub(super) fn envelope(origin: &str, boot: u64, sequence: u64) -> Envelope {
    Envelope {
        origin: origin.to_owned(),
        boot,
        sequence,
        lamport: 7,
        name: "deploy".to_owned(),
        payload: Bytes::from_static(b"x"),
        ..Envelope::default()
    }
}

fn section(key: NodeRef, sequence: u64, raw: &[u8]) -> Bytes {
    let entry = Entry {
        sequence,
        envelope: Bytes::copy_from_slice(raw),
    };
    let section = Section {
        batches: vec![Batch {
            hash: key.hash,
            boot: key.boot,
            entries: vec![entry],
        }],
        ..Section::default()
    };
    Bytes::from(section.encode_to_vec())
}

pub(super) fn send(events: &mut Events, key: NodeRef, sequence: u64, envelope: &Envelope) {
    let section = section(key, sequence, &envelope.encode_to_vec());
    events.on_section(at(1_000), node("b", 1), section, &peers());
}

fn draft(size: usize) -> EventDraft {
    EventDraft::new("deploy", vec![0; size])
}

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
fn lamport_time_follows_serfs_rules_and_ignores_liars() {
    let mut events = events();
    assert_eq!(
        events.publish(at(1), draft(1), &peers()).unwrap().lamport,
        1
    );
    assert_eq!(
        events.publish(at(1), draft(1), &peers()).unwrap().lamport,
        2
    );
    send(
        &mut events,
        node("b", 1),
        1,
        &Envelope {
            lamport: 40,
            ..envelope("b", 1, 1)
        },
    );
    assert_eq!(
        events.publish(at(1), draft(1), &peers()).unwrap().lamport,
        41
    );
    send(
        &mut events,
        node("b", 1),
        2,
        &Envelope {
            lamport: u64::MAX,
            ..envelope("b", 1, 2)
        },
    );
    assert_eq!(
        events.publish(at(1), draft(1), &peers()).unwrap().lamport,
        42
    );
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

/// Answers every pull with nothing until no time is left.
fn answer_nothing(events: &mut Events, from_ms: u64, until_ms: u64) -> (u32, u32) {
    let (mut pulls, mut gaps) = (0, 0);
    for ms in from_ms..until_ms {
        if events.next_deadline().is_some_and(|at_| at_ <= at(ms).at) {
            events.tick(at(ms), &peers());
        }
        for output in drain(events) {
            match output {
                EventsOutput::Pull { id, body, .. } => {
                    pulls += 1;
                    let request = PullRequest::decode(body).unwrap();
                    let ranges = request.wants.iter().map(|want| Range {
                        hash: want.hash,
                        boot: want.boot,
                        ..Range::default()
                    });
                    let answer = PullAnswer {
                        ranges: ranges.collect(),
                    };
                    let answer = Bytes::from(answer.encode_to_vec());
                    events.on_pull_answer(at(ms), id, Ok(answer), &peers());
                }
                EventsOutput::Gap(_) => gaps += 1,
                _ => {}
            }
        }
    }
    (pulls, gaps)
}

#[test]
fn a_false_claim_costs_a_few_pulls_and_nothing_else() {
    let mut events = events();
    let claim = Section {
        marks: vec![Mark {
            hash: node("b", 1).hash,
            boot: 1,
            position: 1 << 60,
        }],
        ..Section::default()
    };
    let claim = Bytes::from(claim.encode_to_vec());
    events.on_section(at(1_000), node("c", 1), claim, &peers());
    let (pulls, gaps) = answer_nothing(&mut events, 1_000, 20_000);
    assert!((1..=3).contains(&pulls), "{pulls}");
    assert_eq!(gaps, 0);
    assert!(events.hunts.by_log.is_empty());
    assert_eq!(events.next_deadline(), None);
    send(&mut events, node("b", 1), 1, &envelope("b", 1, 1));
    assert_eq!(counter(&events, "events_delivered"), 1);
}

#[test]
fn a_hole_that_nobody_can_fill_is_one_gap_after_ten_answered_rounds() {
    let mut events = events();
    let key = node("b", 1);
    send(&mut events, key, 4, &envelope("b", 1, 4));
    drain(&mut events);
    // Cut off: nobody answers, and that does not count.
    for ms in 1_000..16_000 {
        if events.next_deadline().is_some_and(|at_| at_ <= at(ms).at) {
            events.tick(at(ms), &peers());
        }
        for output in drain(&mut events) {
            assert!(!matches!(output, EventsOutput::Gap(_)));
            if let EventsOutput::Pull { id, .. } = output {
                let error = Err(crate::api::ExchangeError::Timeout);
                events.on_pull_answer(at(ms), id, error, &peers());
            }
        }
    }
    let (pulls, gaps) = answer_nothing(&mut events, 16_000, 24_500);
    assert_eq!(gaps, 0);
    assert!(pulls > 8, "{pulls}");
    assert_eq!(answer_nothing(&mut events, 24_500, 28_000).1, 1);
    assert_eq!(counter(&events, "events_gap_events"), 3);
    assert_eq!(counter(&events, "events_delivered"), 1);
    // What comes later is dropped and counted.
    send(&mut events, key, 2, &envelope("b", 1, 2));
    assert_eq!(counter(&events, "events_dropped_late"), 1);
    assert_eq!(counter(&events, "events_delivered"), 1);
}

#[test]
fn a_boot_waits_for_the_one_before() {
    let mut events = events();
    send(&mut events, node("b", 1), 1, &envelope("b", 1, 1));
    send(&mut events, node("b", 2), 1, &envelope("b", 2, 1));
    assert_eq!(counter(&events, "events_delivered"), 1);
    answer_nothing(&mut events, 1_001, 1_900);
    assert_eq!(counter(&events, "events_delivered"), 1);
    send(&mut events, node("b", 1), 2, &envelope("b", 1, 2));
    assert_eq!(counter(&events, "events_delivered"), 2);
    answer_nothing(&mut events, 1_901, 4_500);
    assert_eq!(counter(&events, "events_delivered"), 3);
    // Too late, but not silent.
    send(&mut events, node("b", 1), 3, &envelope("b", 1, 3));
    assert_eq!(counter(&events, "events_delivered"), 3);
    assert_eq!(counter(&events, "events_gaps"), 1);
    assert_eq!(counter(&events, "events_dropped_old_boot"), 1);
}

#[test]
fn an_answer_is_cut_at_its_size_and_always_has_an_event() {
    let mut events = events();
    for _ in 0..20 {
        events.publish(at(1), draft(64 << 10), &peers()).unwrap();
    }
    let want = |after| Want {
        hash: node("a", 1).hash,
        boot: 1,
        after,
        upto: 0,
    };
    let mut after = 0;
    let mut answers = 0;
    while after < 20 {
        let request = PullRequest {
            wants: vec![want(after)],
        };
        let body = Bytes::from(request.encode_to_vec());
        let answer = events.on_pull_request(at(2), body, &peers()).unwrap();
        assert!(answer.len() < 400 << 10);
        let range = PullAnswer::decode(answer).unwrap().ranges.remove(0);
        after = range.entries.last().unwrap().sequence;
        assert_eq!(range.more, after < 20);
        answers += 1;
    }
    assert_eq!(answers, 5);
}

#[test]
fn answers_of_empty_messages_are_refused_before_they_are_decoded() {
    // 200,000 empty ranges, and one range of 200,000 empty entries.
    let ranges = [0x0a, 0].repeat(200_000);
    assert!(!answer_is_sane(&ranges));
    let entries = [0x3a, 0].repeat(200_000);
    let mut body = vec![0x0a];
    prost::encoding::encode_varint(entries.len() as u64, &mut body);
    body.extend_from_slice(&entries);
    assert!(!answer_is_sane(&body));
    assert!(answer_is_sane(&[]));
    let real = PullAnswer {
        ranges: vec![Range {
            entries: vec![Entry {
                sequence: 1,
                envelope: Bytes::from(envelope("b", 1, 1).encode_to_vec()),
            }],
            ..Range::default()
        }],
    };
    assert!(answer_is_sane(&real.encode_to_vec()));
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
