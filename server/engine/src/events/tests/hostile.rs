//! Bytes from anybody.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use proptest::prelude::*;

use super::fixtures::{at, drain, events, node, peers};
use crate::api::Limits;
use crate::event::EventDraft;
use crate::events::{Events, EventsOutput, LOGS_MAX};

/// Sections, pull requests and answers as they really travel.
static REAL: LazyLock<Vec<(u8, Bytes)>> = LazyLock::new(real);

fn real() -> Vec<(u8, Bytes)> {
    let mut origin = Events::new(node("b", 1), Arc::from("b"), &Limits::default(), 2);
    let mut bodies = Vec::new();
    let take = |events: &mut Events, bodies: &mut Vec<(u8, Bytes)>| {
        for output in drain(events) {
            match output {
                EventsOutput::Send { section, .. } => bodies.push((0, section)),
                EventsOutput::Pull { body, .. } => bodies.push((1, body)),
                _ => {}
            }
        }
    };
    for nth in 0..100 {
        let draft = EventDraft::new("deploy", vec![7; nth * 30]);
        origin.publish(at(nth as u64), draft, &peers()).unwrap();
        origin.tick(at(nth as u64), &peers());
        take(&mut origin, &mut bodies);
    }
    let mut other = events();
    // Every fourth one is heard: the rest has to be pulled.
    for (nth, (_, section)) in bodies.clone().into_iter().step_by(4).enumerate() {
        let now = 200 + 30 * nth as u64;
        other.on_section(at(now), node("b", 1), section, &peers());
        other.tick(at(now + 25), &peers());
        take(&mut other, &mut bodies);
    }
    let requests: Vec<Bytes> = bodies
        .iter()
        .filter(|b| b.0 == 1)
        .map(|b| b.1.clone())
        .collect();
    for request in requests {
        let answer = origin.on_pull_request(at(300), request, &peers()).unwrap();
        bodies.push((2, answer));
    }
    assert!((0..3).all(|kind| bodies.iter().any(|b| b.0 == kind)));
    bodies
}

/// Feeds one body to every door of a node; its memory stays bounded.
fn feed(events: &mut Events, ms: u64, kind: u8, body: Bytes) {
    match kind {
        0 => events.on_section(at(ms), node("b", 1), body, &peers()),
        1 => {
            if let Some(answer) = events.on_pull_request(at(ms), body, &peers()) {
                assert!(answer.len() <= crate::api::EXCHANGE_BYTES_MAX);
            }
        }
        _ => {
            let open = drain(events).into_iter().find_map(|output| match output {
                EventsOutput::Pull { id, .. } => Some(id),
                _ => None,
            });
            events.on_pull_answer(at(ms), open.unwrap_or(99), Ok(body), &peers());
        }
    }
    if events.next_deadline().is_some_and(|due| due <= at(ms).at) {
        events.tick(at(ms), &peers());
    }
    let limits = Limits::default();
    let window = limits.events_per_origin;
    assert!(events.bytes <= limits.event_bytes_total);
    assert!(events.logs.len() <= LOGS_MAX);
    let slots: usize = events
        .logs
        .values()
        .map(crate::events::log::Log::slots)
        .sum();
    assert!(slots <= events.logs.len() * 2 * window);
    let bytes: usize = events
        .logs
        .values()
        .map(crate::events::log::Log::bytes)
        .sum();
    assert_eq!(bytes, events.bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn random_bytes_do_no_harm(
        bodies in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 0..300)), 1..20)
    ) {
        let mut events = events();
        for (nth, (kind, body)) in bodies.into_iter().enumerate() {
            feed(&mut events, 1_000 + nth as u64 * 30, kind, Bytes::from(body));
        }
    }

    #[test]
    fn mutated_bodies_do_no_harm(
        picks in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0_u8..4),
            1..60,
        )
    ) {
        let mut events = events();
        for (nth, (which, place, value, how)) in picks.into_iter().enumerate() {
            let (kind, body) = which.get(&REAL).clone();
            let mut body = body.to_vec();
            let place = place.index(body.len());
            match how {
                0 => body[place] = value,
                1 => body[place] ^= 1 << (value % 8),
                2 => body.truncate(place),
                _ => {
                    let tail = body.split_off(place);
                    body.extend([value; 3]);
                    body.extend(tail);
                }
            }
            feed(&mut events, 1_000 + nth as u64 * 30, kind, Bytes::from(body));
        }
    }
}
