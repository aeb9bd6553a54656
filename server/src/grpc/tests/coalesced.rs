use std::time::Duration;

use muster_engine::{Event as Sent, Origin};
use pb::watch_events_response::Event;
use tokio::time::Instant;
use tonic::Streaming;

use super::super::*;
use super::harness::{Served, next, reason, serve};
use crate::hub::EventUpdate;
use crate::hub::testing::{event, gap, origin};

type Watching = Streaming<pb::WatchEventsResponse>;

fn coalescing() -> pb::WatchEventsRequest {
    pb::WatchEventsRequest {
        coalesce: Some(pb::EventCoalescing::default()),
        ..Default::default()
    }
}

async fn begun(served: &Served, request: pb::WatchEventsRequest) -> (Watching, Vec<u8>) {
    let answer = served.events().watch_events(request).await.unwrap();
    let mut stream = answer.into_inner();
    match next(&mut stream).await.event {
        Some(Event::Begin(begin)) => (stream, begin.token.to_vec()),
        other => panic!("no begin: {other:?}"),
    }
}

/// An event that may be merged.
fn mergeable(of: &Origin, sequence: u64, name: &str) -> EventUpdate {
    EventUpdate::Event(Arc::new(Sent {
        origin: of.clone(),
        sequence,
        lamport: sequence,
        name: name.to_owned(),
        coalesce: true,
        ..Sent::default()
    }))
}

/// `a5+2` is event 5 of a that took the place of two.
async fn brief(stream: &mut Watching) -> String {
    match next(stream).await.event.unwrap() {
        Event::Item(item) => {
            let id = item.id.unwrap();
            match item.merged {
                0 => format!("{}{}", id.origin, id.sequence),
                merged => format!("{}{}+{merged}", id.origin, id.sequence),
            }
        }
        Event::Gap(gap) => format!("{}{}!", gap.origin, gap.last_sequence),
        Event::Heartbeat(_) => "heartbeat".to_owned(),
        Event::Begin(_) => "begin".to_owned(),
    }
}

/// Nothing comes for so many milliseconds.
async fn quiet_for(stream: &mut Watching, ms: u64) {
    let time = Duration::from_millis(ms);
    let message = tokio::time::timeout(time, stream.message()).await;
    assert!(message.is_err(), "{message:?}");
}

async fn briefs(stream: &mut Watching, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(brief(stream).await);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_a_name_comes_after_a_quiet_second() {
    let served = serve().await;
    let (mut stream, _) = begun(&served, coalescing()).await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    let began = Instant::now();
    served.hub.push_events(vec![
        mergeable(&a, 1, "deploy"),
        mergeable(&b, 2, "reload"),
        mergeable(&a, 2, "deploy"),
        mergeable(&b, 3, "deploy"),
    ]);
    quiet_for(&mut stream, 900).await;
    assert_eq!(briefs(&mut stream, 2).await, ["b2", "b3+2"]);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_merged_does_not_wait_and_keeps_its_place() {
    let served = serve().await;
    let (mut stream, _) = begun(&served, coalescing()).await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    served.hub.push_events(vec![
        mergeable(&a, 1, "deploy"),
        event(&b, 1, "other", b""),
        event(&a, 2, "other", b""),
        mergeable(&a, 3, "deploy"),
        gap(&a, 4, 6),
    ]);
    let expected = ["b1", "a1", "a2", "a3", "a6!"];
    assert_eq!(briefs(&mut stream, 5).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_them_waits_no_longer_than_the_window() {
    let served = serve().await;
    let (mut stream, _) = begun(&served, coalescing()).await;
    let a = origin("a", 1);
    for sequence in 1..=6 {
        served
            .hub
            .push_events(vec![mergeable(&a, sequence, "deploy")]);
        quiet_for(&mut stream, 490).await;
    }
    assert_eq!(brief(&mut stream).await, "a6+5");
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_before_what_waits() {
    let served = serve().await;
    let request = pb::WatchEventsRequest {
        heartbeat_interval: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        coalesce: Some(pb::EventCoalescing {
            window: None,
            quiet: Some(prost_types::Duration {
                seconds: 3,
                nanos: 0,
            }),
        }),
        ..Default::default()
    };
    let (mut stream, _) = begun(&served, request).await;
    let (a, b) = (origin("a", 1), origin("b", 1));
    served.hub.push_events(vec![
        event(&a, 1, "other", b""),
        event(&b, 1, "other", b""),
        mergeable(&a, 2, "deploy"),
        mergeable(&a, 3, "deploy"),
    ]);
    assert_eq!(briefs(&mut stream, 2).await, ["a1", "b1"]);
    let Some(Event::Heartbeat(heartbeat)) = next(&mut stream).await.event else {
        panic!("no heartbeat");
    };
    let token = events::token::decode(&heartbeat.token).unwrap();
    assert_eq!((token.get(&a), token.get(&b)), (Some(2), Some(1)));
    let resumed = pb::WatchEventsRequest {
        resume_token: heartbeat.token,
        ..Default::default()
    };
    let (mut resumed, _) = begun(&served, resumed).await;
    assert_eq!(brief(&mut resumed).await, "a3");
}

#[tokio::test(start_paused = true)]
async fn windows_have_bounds() {
    let served = serve().await;
    for seconds in [0, 61, -1] {
        let window = Some(prost_types::Duration { seconds, nanos: 0 });
        let coalesce = Some(pb::EventCoalescing {
            window,
            quiet: None,
        });
        let request = pb::WatchEventsRequest {
            coalesce,
            ..Default::default()
        };
        let refused = served.events().watch_events(request).await.unwrap_err();
        assert_eq!(reason(&refused), "BAD_WINDOW");
    }
}
