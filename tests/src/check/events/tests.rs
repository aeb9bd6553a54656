use muster_proto::v1::{EventBegin, EventGapReason, EventHeartbeat};

use super::*;

fn id(sequence: u64) -> EventId {
    EventId {
        origin: "a".to_owned(),
        boot: 1,
        sequence,
    }
}

fn stand(at: &[u64]) -> bytes::Bytes {
    let positions = at.iter().map(|sequence| id(*sequence)).collect();
    EventToken { positions }.encode_to_vec().into()
}

fn say(event: Content) -> Step<WatchEventsResponse> {
    Step::Message(WatchEventsResponse { event: Some(event) })
}

fn opened(token: &[u8]) -> Step<WatchEventsResponse> {
    Step::Opened {
        daemon: "d".to_owned(),
        token: token.to_vec(),
    }
}

fn begin(at: &[u64]) -> Step<WatchEventsResponse> {
    say(Content::Begin(EventBegin { token: stand(at) }))
}

fn beat(at: &[u64]) -> Step<WatchEventsResponse> {
    say(Content::Heartbeat(EventHeartbeat { token: stand(at) }))
}

fn named(sequence: u64, name: &str) -> Event {
    Event {
        id: Some(id(sequence)),
        name: name.to_owned(),
        lamport_time: sequence,
        ..Event::default()
    }
}

fn item(sequence: u64) -> Step<WatchEventsResponse> {
    say(Content::Item(named(sequence, "tick")))
}

fn gap(first_sequence: u64, last_sequence: u64) -> Step<WatchEventsResponse> {
    say(Content::Gap(EventGap {
        origin: "a".to_owned(),
        boot: 1,
        first_sequence,
        last_sequence,
        reason: EventGapReason::FellBehind.into(),
    }))
}

fn history(steps: Vec<Step<WatchEventsResponse>>) -> EventHistory {
    EventHistory {
        steps,
        ..History::new("one", Vec::new())
    }
}

/// Three events, a gap, and a stream that goes on.
fn lawful() -> Vec<Step<WatchEventsResponse>> {
    let start = vec![opened(&[]), begin(&[1]), item(2), item(3), gap(4, 6)];
    let token = token(&history(start.clone()));
    let rest = [
        beat(&[6]),
        Step::Ended,
        opened(&token),
        begin(&[6]),
        item(7),
        beat(&[7]),
    ];
    [start, rest.to_vec()].concat()
}

fn found(histories: &[EventHistory]) -> Vec<Promise> {
    let (breaches, _seen) = check(histories);
    breaches.iter().map(|breach| breach.promise).collect()
}

#[test]
fn a_lawful_history_has_no_breach_and_is_counted() {
    let (breaches, seen) = check(&[history(lawful())]);
    assert_eq!(told(&breaches), "");
    let expected = Seen {
        events: 3,
        gaps: 1,
        resumed: 1,
    };
    assert_eq!(seen, expected);
}

fn told(breaches: &[Breach]) -> String {
    super::super::told(breaches)
}

#[test]
fn every_planted_breach_is_found() {
    let start = || vec![opened(&[]), begin(&[1]), item(2)];
    let cases: [(Promise, Vec<Step<WatchEventsResponse>>); 9] = [
        (Promise::Unique, vec![item(2)]),
        (Promise::Unique, vec![item(3), item(2)]),
        (Promise::GapFree, vec![item(4)]),
        (Promise::GapFree, vec![gap(4, 5)]),
        (Promise::Ordered, vec![gap(3, 2)]),
        (Promise::Ordered, vec![begin(&[2])]),
        (Promise::Resumable, vec![item(3), beat(&[2])]),
        (Promise::GapFree, vec![beat(&[5])]),
        (
            Promise::Resumable,
            vec![Step::Ended, opened(&[]), begin(&[2])],
        ),
    ];
    for (promise, planted) in cases {
        let steps = [start(), planted.clone()].concat();
        assert!(
            found(&[history(steps)]).contains(&promise),
            "{promise:?} is not found in {planted:?}"
        );
    }
}

#[test]
fn a_stream_that_does_not_go_on_where_its_token_stood_is_found() {
    let start = vec![opened(&[]), begin(&[1]), item(2)];
    let token = token(&history(start.clone()));
    for planted in [
        vec![begin(&[2]), item(4)],
        vec![begin(&[2]), item(2)],
        vec![begin(&[4])],
    ] {
        let steps = [
            start.clone(),
            vec![Step::Ended, opened(&token)],
            planted.clone(),
        ]
        .concat();
        assert!(!found(&[history(steps)]).is_empty(), "{planted:?}");
    }
}

#[test]
fn what_others_were_handed_is_missed_by_who_was_not() {
    let all = history(vec![opened(&[]), begin(&[1]), item(2), item(3), item(4)]);
    let only = |steps| EventHistory {
        steps,
        ..History::new("filtered", vec!["tick".to_owned()])
    };
    // It asked for less, but for these.
    let holed = only(vec![opened(&[]), begin(&[1]), item(2), item(4)]);
    assert_eq!(found(&[all.clone(), holed]), [Promise::GapFree]);
    let unasked = only(vec![
        opened(&[]),
        begin(&[1]),
        say(Content::Item(named(2, "other"))),
    ]);
    assert_eq!(found(&[unasked]), [Promise::Filtered]);
    // What it did not reach yet it did not miss.
    let behind = only(vec![opened(&[]), begin(&[1]), item(2)]);
    assert_eq!(found(&[all, behind]), []);
}

#[test]
fn one_event_with_two_contents_and_a_clock_that_goes_back_are_found() {
    let one = history(vec![opened(&[]), begin(&[1]), item(2)]);
    let mut other = one.clone();
    other.steps[2] = say(Content::Item(named(2, "tock")));
    assert_eq!(found(&[one.clone(), other]), [Promise::Atomic]);
    let mut late = named(3, "tick");
    late.lamport_time = 2;
    let mut back = one;
    back.steps.push(say(Content::Item(late)));
    assert_eq!(found(&[back]), [Promise::Ordered]);
}

#[test]
fn what_is_missing_is_named() {
    let history = history(lawful());
    let sent = [id(3), id(5), id(7), id(8)];
    assert_eq!(missing(&history, &sent), [id(8)]);
    assert_eq!(gaps(&history).len(), 1);
}
