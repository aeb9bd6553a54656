//! Watching events: nothing twice, nothing lost in silence.

use muster::{Code, Error, EventPositions, EventUpdate, EventWatch, EventWatchOptions, pb};
use pb::watch_events_response::Event as Wire;
use prost::Message as _;
use tonic::Status;

use crate::fake::{Fake, Script};

pub(crate) fn id(origin: &str, sequence: u64) -> pb::EventId {
    pb::EventId {
        origin: origin.into(),
        boot: 7,
        sequence,
    }
}

fn token(positions: &[pb::EventId]) -> bytes::Bytes {
    let positions = positions.to_vec();
    pb::EventToken { positions }.encode_to_vec().into()
}

pub(crate) fn begin(positions: &[pb::EventId]) -> pb::WatchEventsResponse {
    wire(Wire::Begin(pb::EventBegin {
        token: token(positions),
    }))
}

fn heartbeat(positions: &[pb::EventId]) -> pb::WatchEventsResponse {
    wire(Wire::Heartbeat(pb::EventHeartbeat {
        token: token(positions),
    }))
}

pub(crate) fn item(origin: &str, sequence: u64, payload: &[u8]) -> pb::WatchEventsResponse {
    wire(Wire::Item(pb::Event {
        id: Some(id(origin, sequence)),
        name: "deploy".into(),
        payload: payload.to_vec().into(),
        ..pb::Event::default()
    }))
}

pub(crate) fn gap(origin: &str, first: u64, last: u64) -> pb::WatchEventsResponse {
    wire(Wire::Gap(pb::EventGap {
        origin: origin.into(),
        boot: 7,
        first_sequence: first,
        last_sequence: last,
        reason: pb::EventGapReason::FellBehind.into(),
    }))
}

fn wire(event: Wire) -> pb::WatchEventsResponse {
    pb::WatchEventsResponse { event: Some(event) }
}

/// The next thing that is not about the connection: `e<origin><n>`, `g<first>-<last>`.
async fn next(watch: &mut EventWatch) -> String {
    loop {
        match watch.next().await.unwrap() {
            EventUpdate::Event(event) => {
                let id = event.id.unwrap();
                return format!("e{}{}", id.origin, id.sequence);
            }
            EventUpdate::Gap(gap) => {
                return format!("g{}-{}", gap.first_sequence, gap.last_sequence);
            }
            EventUpdate::Subscribed => return "subscribed".into(),
            EventUpdate::Reconnected => return "back".into(),
            EventUpdate::Disconnected(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn asked(fake: &Fake, stream: usize) -> (EventPositions, bool) {
    fake.plan(|plan| {
        let request = &plan.event_requests[stream];
        let positions = EventPositions::decode(&request.resume_token).unwrap();
        (positions, request.replay_buffered)
    })
}

#[tokio::test]
async fn ids_since_the_last_token_are_folded_in_on_resumption() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.events.push_back(Script::then_end([
            begin(&[id("a", 3), id("b", 1)]),
            item("a", 4, b""),
            item("c", 1, b""),
            gap("b", 2, 6),
        ]));
        // It hands over two events again, and a gap that overlaps.
        plan.events.push_back(Script::then_hang([
            begin(&[id("a", 4), id("b", 6), id("c", 1)]),
            item("a", 4, b""),
            gap("b", 4, 9),
            item("b", 9, b""),
            item("a", 5, b""),
        ]));
    });
    let mut watch = fake.client().watch_events(EventWatchOptions::default());
    for expected in ["subscribed", "ea4", "ec1", "g2-6", "back", "g7-9", "ea5"] {
        assert_eq!(next(&mut watch).await, expected);
    }
    assert_eq!(watch.repeated(), 2);
    let (positions, replay) = asked(&fake, 1);
    let expected = token(&[id("a", 4), id("b", 6), id("c", 1)]);
    assert_eq!(positions, EventPositions::decode(&expected).unwrap());
    assert!(!replay);
    assert_eq!(watch.positions().unwrap().get("a", 7), Some(5));
}

#[tokio::test]
async fn a_heartbeats_token_replaces_what_was_folded() {
    let mut fake = Fake::start();
    fake.plan(|plan| {
        let messages = [
            begin(&[id("a", 1)]),
            item("a", 2, b""),
            heartbeat(&[id("a", 2), id("z", 9)]),
        ];
        plan.events.push_back(Script::then_end(messages));
    });
    let mut watch = fake.client().watch_events(EventWatchOptions::default());
    assert_eq!(next(&mut watch).await, "subscribed");
    assert_eq!(next(&mut watch).await, "ea2");
    let EventUpdate::Disconnected(lost) = watch.next().await.unwrap() else {
        panic!("expected a loss");
    };
    assert!(matches!(lost.error, Error::Ended { .. }));
    // Any daemon of the cluster accepts it, also one that starts later.
    fake = fake.restart();
    fake.plan(|plan| {
        plan.events.push_back(Script::then_hang([
            begin(&[id("a", 2), id("z", 9)]),
            item("z", 10, b""),
        ]));
    });
    assert_eq!(next(&mut watch).await, "back");
    assert_eq!(next(&mut watch).await, "ez10");
    let (positions, _) = asked(&fake, 0);
    assert_eq!(positions.get("z", 7), Some(9));
}

#[tokio::test]
async fn an_empty_position_resumes_after_nothing_and_not_from_now() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.events.push_back(Script::then_end([begin(&[])]));
        plan.events
            .push_back(Script::then_hang([begin(&[]), item("a", 1, b"")]));
    });
    let mut watch = fake.client().watch_events(EventWatchOptions::default());
    for expected in ["subscribed", "back", "ea1"] {
        assert_eq!(next(&mut watch).await, expected);
    }
    assert!(!asked(&fake, 0).1, "the first stream starts from now");
    let token = fake.plan(|plan| plan.event_requests[1].resume_token.clone());
    assert!(!token.is_empty(), "the second must not");
}

#[tokio::test]
async fn a_caller_can_go_on_where_it_was() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.events
            .push_back(Script::then_hang([begin(&[id("a", 5)])]))
    });
    let mut resume = EventPositions::default();
    resume.fold(&id("a", 5));
    let mut watch = fake.client().watch_events(EventWatchOptions {
        names: vec!["dep*".into()],
        resume: Some(resume.clone()),
        replay: true,
        coalesce: None,
    });
    assert_eq!(next(&mut watch).await, "subscribed");
    assert_eq!(asked(&fake, 0), (resume, false));
    assert_eq!(
        fake.plan(|plan| plan.event_requests[0].names.clone()),
        ["dep*"]
    );
}

#[tokio::test]
async fn broken_rules_drop_the_stream_but_not_the_position() {
    let no_id = wire(Wire::Item(pb::Event::default()));
    let bad_token = wire(Wire::Heartbeat(pb::EventHeartbeat {
        token: b"\xff\xff".as_slice().into(),
    }));
    for broken in [item("a", 9, b""), no_id, bad_token, begin(&[id("a", 1)])] {
        let fake = Fake::start();
        let not_first = !matches!(
            broken.event,
            Some(Wire::Item(pb::Event { id: Some(_), .. }))
        );
        fake.plan(|plan| {
            let mut messages = vec![broken.clone()];
            if not_first {
                messages.insert(0, begin(&[id("a", 4)]));
            }
            plan.events.push_back(Script::then_hang(messages));
            plan.events
                .push_back(Script::then_hang([begin(&[id("a", 4)])]));
        });
        let mut watch = fake.client().watch_events(EventWatchOptions::default());
        let lost = loop {
            match watch.next().await.unwrap() {
                EventUpdate::Disconnected(lost) => break lost,
                EventUpdate::Subscribed => {}
                other => panic!("{broken:?}: {other:?}"),
            }
        };
        assert!(
            matches!(lost.error, Error::Protocol { .. }),
            "{:?}",
            lost.error
        );
        next(&mut watch).await;
        assert_eq!(asked(&fake, 1).0.get("a", 7), not_first.then_some(4));
    }
}

#[tokio::test]
async fn a_bad_pattern_is_final() {
    let fake = Fake::start();
    let refused = Status::invalid_argument("bad pattern");
    fake.plan(|plan| plan.events.push_back(Script::then_fail([], refused)));
    let mut watch = fake.client().watch_events(EventWatchOptions::default());
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument));
}
