//! What a node asks others for, and what it answers.

use bytes::Bytes;
use prost::Message as _;

use super::fixtures::{at, counter, draft, drain, envelope, events, node, peers, send};
use crate::events::wire::{
    Entry, Mark, PullAnswer, PullRequest, Range, Section, Want, answer_is_sane,
};
use crate::events::{Events, EventsOutput};

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
