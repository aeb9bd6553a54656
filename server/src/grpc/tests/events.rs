use muster_engine::Origin;
use pb::watch_events_response::Event;
use tonic::{Code, Status, Streaming};

use super::super::events::token;
use super::super::*;
use super::harness::{Served, next, reason, serve, silent};
use crate::hub::EventUpdate;
use crate::hub::ring::EVENTS_MAX;
use crate::hub::testing::{event, gap, origin};

type Watching = Streaming<pb::WatchEventsResponse>;

async fn watch(served: &Served, request: pb::WatchEventsRequest) -> Result<Watching, Status> {
    let answer = served.events().watch_events(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Opens a watch and takes its `begin`.
async fn begun(served: &Served, request: pb::WatchEventsRequest) -> (Watching, Vec<u8>) {
    let mut stream = watch(served, request).await.unwrap();
    match next(&mut stream).await.event {
        Some(Event::Begin(begin)) => (stream, begin.token.to_vec()),
        other => panic!("no begin: {other:?}"),
    }
}

fn resume(token: &[u8]) -> pb::WatchEventsRequest {
    pb::WatchEventsRequest {
        resume_token: token.to_vec().into(),
        ..Default::default()
    }
}

/// A message in short: `a5` is event 5 of a, `a5-9!` a gap that nobody holds,
/// `a5-9?` one of a slow consumer.
async fn brief(stream: &mut Watching) -> String {
    match next(stream).await.event.unwrap() {
        Event::Item(item) => {
            let id = item.id.unwrap();
            format!("{}{}", id.origin, id.sequence)
        }
        Event::Gap(gap) => {
            let mark = match gap.reason() {
                pb::EventGapReason::NotHeld => '!',
                pb::EventGapReason::FellBehind => '?',
                pb::EventGapReason::Unspecified => '0',
            };
            let (first, last) = (gap.first_sequence, gap.last_sequence);
            format!("{}{first}-{last}{mark}", gap.origin)
        }
        other @ (Event::Heartbeat(_) | Event::Begin(_)) => format!("{other:?}"),
    }
}

async fn briefs(stream: &mut Watching, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(brief(stream).await);
    }
    all
}

fn push(served: &Served, of: &Origin, sequences: std::ops::RangeInclusive<u64>) {
    let events = sequences.map(|n| event(of, n, "e", &n.to_le_bytes()));
    served.hub.push_events(events.collect());
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_now_and_follows_in_order() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 2));
    push(&served, &a, 1..=3);
    let (mut stream, _) = begun(&served, pb::WatchEventsRequest::default()).await;
    push(&served, &a, 4..=5);
    push(&served, &b, 1..=1);
    served
        .hub
        .push_events(vec![gap(&a, 6, 9), event(&a, 10, "e", b"")]);
    assert_eq!(
        briefs(&mut stream, 5).await,
        ["a4", "a5", "b1", "a6-9!", "a10"]
    );
    silent(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_told_whole() {
    let served = serve().await;
    let (mut stream, _) = begun(&served, pb::WatchEventsRequest::default()).await;
    served
        .hub
        .push_events(vec![event(&origin("a", 7), 1, "deploy", b"\x00\xff")]);
    let Some(Event::Item(item)) = next(&mut stream).await.event else {
        panic!("no event");
    };
    assert_eq!(
        (item.name.as_str(), &item.payload[..]),
        ("deploy", &b"\x00\xff"[..])
    );
    assert_eq!(item.lamport_time, 1);
    assert_eq!(item.id.unwrap().boot, 7);
    let received = item.received_at.unwrap();
    assert_eq!((received.seconds, received.nanos), (1, 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn patterns_choose_events_but_never_hide_gaps() {
    let served = serve().await;
    let ask = pb::WatchEventsRequest {
        names: vec!["deploy".to_owned(), "web.*".to_owned()],
        ..Default::default()
    };
    let (mut stream, _) = begun(&served, ask).await;
    let a = origin("a", 1);
    served.hub.push_events(vec![
        event(&a, 1, "deploy", b""),
        event(&a, 2, "other", b""),
        gap(&a, 3, 3),
        event(&a, 4, "web.up", b""),
    ]);
    assert_eq!(briefs(&mut stream, 3).await, ["a1", "a3-3!", "a4"]);
    let bad = pb::WatchEventsRequest {
        names: vec!["a b".to_owned()],
        ..Default::default()
    };
    assert_eq!(
        reason(&watch(&served, bad).await.unwrap_err()),
        "BAD_PATTERN"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_brings_back_what_was_missed() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    push(&served, &a, 1..=100);
    let (stream, token) = begun(&served, pb::WatchEventsRequest::default()).await;
    drop(stream);
    push(&served, &a, 101..=103);
    push(&served, &b, 1..=2);
    let (mut stream, again) = begun(&served, resume(&token)).await;
    assert_eq!(again, token, "begins where the token stands");
    assert_eq!(
        briefs(&mut stream, 5).await,
        ["a101", "a102", "a103", "b1", "b2"]
    );
    push(&served, &a, 104..=104);
    assert_eq!(brief(&mut stream).await, "a104");
    silent(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_empty_node_is_a_token() {
    let served = serve().await;
    let (stream, token) = begun(&served, pb::WatchEventsRequest::default()).await;
    drop(stream);
    assert!(!token.is_empty());
    push(&served, &origin("a", 1), 1..=2);
    let (mut stream, _) = begun(&served, resume(&token)).await;
    assert_eq!(briefs(&mut stream, 2).await, ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_resumes_from_every_event() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    for n in 1..=30 {
        push(&served, &a, n..=n);
        push(&served, &b, n..=n);
    }
    for (at_a, at_b) in [(0, 0), (1, 0), (7, 30), (29, 12), (30, 30), (35, 1)] {
        let positions = [(a.clone(), at_a), (b.clone(), at_b)];
        let token = token::encode(&positions.into_iter().collect());
        let (mut stream, _) = begun(&served, resume(&token)).await;
        let mut wanted = Vec::new();
        for n in 1..=30 {
            wanted.extend((n > at_a).then(|| format!("a{n}")));
            wanted.extend((n > at_b).then(|| format!("b{n}")));
        }
        assert_eq!(
            briefs(&mut stream, wanted.len()).await,
            wanted,
            "{at_a} {at_b}"
        );
        silent(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ahead_of_this_node_hands_nothing_over_twice() {
    let served = serve().await;
    let a = origin("a", 1);
    push(&served, &a, 1..=2);
    let positions = [(a.clone(), 5), (origin("gone", 1), 9)];
    let token = token::encode(&positions.into_iter().collect());
    let (mut stream, _) = begun(&served, resume(&token)).await;
    push(&served, &a, 3..=4);
    silent(&mut stream).await;
    served.hub.push_events(vec![
        event(&a, 5, "e", b""),
        gap(&a, 6, 8),
        event(&a, 9, "e", b""),
    ]);
    assert_eq!(briefs(&mut stream, 2).await, ["a6-8!", "a9"]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_cut_where_the_token_stands() {
    let served = serve().await;
    let a = origin("a", 1);
    served
        .hub
        .push_events(vec![gap(&a, 1, 8), event(&a, 9, "e", b"")]);
    let token = token::encode(&[(a, 3)].into_iter().collect());
    let (mut stream, _) = begun(&served, resume(&token)).await;
    assert_eq!(briefs(&mut stream, 2).await, ["a4-8!", "a9"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_ring_lost_is_one_gap_per_origin() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    push(&served, &b, 1..=4);
    let (stream, token) = begun(&served, pb::WatchEventsRequest::default()).await;
    drop(stream);
    push(&served, &b, 5..=6);
    push(&served, &a, 1..=EVENTS_MAX as u64 + 5);
    let (mut stream, _) = begun(&served, resume(&token)).await;
    assert_eq!(briefs(&mut stream, 3).await, ["a1-5?", "b5-6?", "a6"]);
    assert!(served.metrics.event_gaps.get() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_gets_gaps_and_goes_on() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    let (mut stream, _) = begun(&served, pb::WatchEventsRequest::default()).await;
    push(&served, &a, 1..=2);
    push(&served, &b, 1..=1);
    assert_eq!(briefs(&mut stream, 3).await, ["a1", "a2", "b1"]);
    // More than the windows and the ring hold, while nobody reads.
    let end = 2 * EVENTS_MAX as u64;
    for first in (3..end).step_by(1_000) {
        push(&served, &a, first..=(first + 999).min(end));
        tokio::task::yield_now().await;
    }
    let (mut expected, mut gaps) = (3, 0);
    while expected <= end {
        match next(&mut stream).await.event.unwrap() {
            Event::Item(item) => {
                assert_eq!(item.id.unwrap().sequence, expected);
                expected += 1;
            }
            Event::Gap(gap) => {
                assert_eq!(gap.reason(), pb::EventGapReason::FellBehind);
                assert_eq!(gap.first_sequence, expected);
                expected = gap.last_sequence + 1;
                gaps += 1;
            }
            other @ (Event::Heartbeat(_) | Event::Begin(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!(gaps, 1, "the ring went round once");
    push(&served, &b, 2..=2);
    assert_eq!(brief(&mut stream).await, "b2");
}

#[tokio::test(start_paused = true)]
async fn bases_are_silent_now_and_gaps_for_older_tokens() {
    let served = serve().await;
    let a = origin("a", 1);
    let (mut stream, token) = begun(&served, pb::WatchEventsRequest::default()).await;
    served.hub.push_events(vec![EventUpdate::Base {
        origin: a.clone(),
        sequence: 500,
    }]);
    push(&served, &a, 501..=501);
    assert_eq!(brief(&mut stream).await, "a501");
    let (mut old, _) = begun(&served, resume(&token)).await;
    assert_eq!(briefs(&mut old, 2).await, ["a1-500?", "a501"]);
}

#[tokio::test(start_paused = true)]
async fn replay_hands_over_all_that_is_left() {
    let served = serve().await;
    let a = origin("a", 1);
    push(&served, &a, 1..=EVENTS_MAX as u64 + 1);
    let ask = pb::WatchEventsRequest {
        replay_buffered: true,
        ..Default::default()
    };
    let (mut stream, token) = begun(&served, ask).await;
    assert_eq!(brief(&mut stream).await, "a2", "and no word on a1");
    let begin = token::decode(&token).unwrap();
    assert_eq!(begin.get(&a), Some(1));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_carry_every_position() {
    let served = serve().await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    push(&served, &a, 1..=3);
    let positions = [(origin("far", 4), 44)];
    let token = token::encode(&positions.into_iter().collect());
    let (mut stream, _) = begun(&served, resume(&token)).await;
    push(&served, &b, 1..=1);
    assert_eq!(briefs(&mut stream, 4).await, ["a1", "a2", "a3", "b1"]);
    let Some(Event::Heartbeat(beat)) = next(&mut stream).await.event else {
        panic!("no heartbeat");
    };
    let at = token::decode(&beat.token).unwrap();
    let far = origin("far", 4);
    assert_eq!(
        (at.get(&a), at.get(&b), at.get(&far)),
        (Some(3), Some(1), Some(44))
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_tokens_are_refused() {
    let served = serve().await;
    let refused = watch(&served, resume(b"\xff\xff")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason(&refused), "BAD_RESUME_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn many_pattern_sets_work() {
    let served = serve().await;
    let mut streams = Vec::new();
    for n in 0..limits::EVENT_GROUPS_MAX + 20 {
        let names = vec![format!("e{n}"), "all".to_owned()];
        let ask = pb::WatchEventsRequest {
            names,
            ..Default::default()
        };
        streams.push(begun(&served, ask).await.0);
    }
    assert_eq!(served.metrics.unshared.get(), 20);
    let a = origin("a", 1);
    served
        .hub
        .push_events(vec![event(&a, 1, "none", b""), event(&a, 2, "all", b"")]);
    for stream in &mut streams {
        assert_eq!(brief(stream).await, "a2");
    }
}
