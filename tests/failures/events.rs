//! User events that get lost, late, or merged.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use muster_tests::harness::cluster::see_alive;
use muster_tests::serf::rpc::Rpc;

use crate::scene::{Scene, daemon};

const BURST: usize = 3_000;

/// A stream without an event for this long has no more.
const SILENCE: Duration = Duration::from_secs(10);

fn of_burst(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

#[tokio::test]
async fn a_burst_of_3000_events_is_lost_for_the_most_part_and_disordered() {
    let scene = Scene::new();
    let one = scene.agent("one", &[]).await;
    let two = scene.joined("two", &one, &[]).await;
    let mut followed = Rpc::connect(two.rpc).unwrap().follow().unwrap();
    followed.give_up_after(SILENCE).unwrap();
    let reader = thread::spawn(move || {
        let mut numbers = Vec::new();
        while let Ok(payload) = followed.next() {
            numbers.extend(of_burst(&payload));
        }
        numbers
    });
    let mut sender = Rpc::connect(one.rpc).unwrap();
    for number in 0..BURST {
        sender
            .event("burst", number.to_string().as_bytes())
            .unwrap();
    }
    let seen = tokio::task::spawn_blocking(|| reader.join().unwrap()).await;
    let seen = seen.unwrap();
    assert!(
        seen.len() < BURST || !seen.is_sorted(),
        "serf delivered all of {BURST} in order"
    );

    let one = daemon("one").ready().await;
    let two = daemon("two").join(one.addr()).ready().await;
    see_alive(&one, 2).await;
    let muster = two.muster();
    let mut watch = muster.start(&["--format", "json", "watch", "events"]);
    watch
        .json_line_where(|line| line["type"] == "subscribed")
        .await;
    let mut batch = String::new();
    for number in 0..BURST {
        writeln!(batch, "[\"burst\", \"{number}\"]").unwrap();
    }
    let sent = one.muster().stdin(&batch);
    sent.ok(&["event", "--batch", "-"]).await;
    for number in 0..BURST {
        let line = watch
            .json_line_where(|line| line.get("payload").is_some())
            .await;
        assert_eq!(line["payload"], number.to_string());
    }
}

#[tokio::test]
async fn events_above_a_datagram_wait_for_the_next_full_sync() {
    let scene = Scene::new();
    fs::write(scene.path("big.json"), "{\"user_event_size_limit\": 9216}").unwrap();
    let config = format!("-config-file={}", scene.text("big.json"));
    let log = format!("-event-handler={}", scene.handler("user", "serf.log"));
    let one = scene.agent("one", std::slice::from_ref(&config)).await;
    let two = scene.joined("two", &one, &[config, log]).await;
    let big = "x".repeat(4_000);
    assert!(one.serf("event", &["big", &big]).status.success());
    assert!(one.serf("event", &["small", "y"]).status.success());
    scene.logged("serf.log", " y").await;
    let seen = scene.lines("serf.log");
    assert!(!seen.iter().any(|line| line.contains("xxx")), "{seen:?}");
    drop((one, two));

    let handler = scene.handler("user", "muster.log");
    let one = daemon("one").ready().await;
    let two = daemon("two").join(one.addr()).arg("--event-handler");
    let _two = two.arg(handler).ready().await;
    see_alive(&one, 2).await;
    one.muster().ok(&["event", "big", &big]).await;
    one.muster().ok(&["event", "small", "y"]).await;
    scene.logged("muster.log", " y").await;
    let seen = scene.lines("muster.log");
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(
        seen[0].contains(&big),
        "the big one came second: {}",
        seen[0]
    );
}

#[tokio::test]
async fn equal_events_of_two_nodes_at_one_tick_are_one() {
    const ROUNDS: usize = 20;
    let scene = Scene::new();
    let log = format!("-event-handler={}", scene.handler("user", "serf.log"));
    let one = scene.agent("one", &[log]).await;
    let two = scene.joined("two", &one, &[]).await;
    let three = scene.joined("three", &one, &[]).await;
    two.sees("three", "alive").await;
    for _ in 0..ROUNDS {
        thread::scope(|scope| {
            for agent in [&two, &three] {
                scope.spawn(|| {
                    let sent = agent.serf("event", &["-coalesce=false", "tick", "same"]);
                    assert!(sent.status.success());
                });
            }
        });
    }
    let seen = scene.settled("serf.log").await.len();
    assert!(seen < 2 * ROUNDS, "serf told {seen} apart");

    let handler = scene.handler("user", "muster.log");
    let one = daemon("one")
        .arg("--event-handler")
        .arg(handler)
        .ready()
        .await;
    let two = daemon("two").join(one.addr()).ready().await;
    let three = daemon("three").join(one.addr()).ready().await;
    see_alive(&one, 3).await;
    see_alive(&two, 3).await;
    for _ in 0..ROUNDS {
        let (at_two, at_three) = (two.muster(), three.muster());
        let event = ["event", "tick", "same"];
        tokio::join!(at_two.ok(&event), at_three.ok(&event));
    }
    assert_eq!(scene.settled("muster.log").await.len(), 2 * ROUNDS);
}

#[tokio::test]
async fn events_of_one_name_are_merged_unasked() {
    const EVENTS: usize = 20;
    let scene = Scene::new();
    let log = format!("-event-handler={}", scene.handler("user", "serf.log"));
    let agent = scene.agent("one", &[log]).await;
    for number in 0..EVENTS {
        let payload = format!("v{number}");
        assert!(agent.serf("event", &["deploy", &payload]).status.success());
    }
    let seen = scene.settled("serf.log").await.len();
    assert!(seen < EVENTS, "serf ran its handler {seen} times");

    let handler = scene.handler("user", "muster.log");
    let one = daemon("one")
        .arg("--event-handler")
        .arg(handler)
        .ready()
        .await;
    for number in 0..EVENTS {
        let payload = format!("v{number}");
        one.muster().ok(&["event", "deploy", &payload]).await;
    }
    scene.logged("muster.log", "v19").await;
    let wanted: Vec<_> = (0..EVENTS).map(|n| format!("user v{n}")).collect();
    let seen = scene.lines("muster.log");
    let seen: Vec<_> = seen.iter().map(|line| line.trim_end_matches(';')).collect();
    assert_eq!(seen, wanted);
}
