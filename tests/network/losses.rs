//! Packets that are lost or come twice.

use std::time::Duration;

use muster_tests::harness::wait;
use tokio::time::Instant;

use crate::scene::{Record, Scene, everybody_has, subscribed};

/// How long packets are lost.
const SPAN: Duration = Duration::from_secs(30);

/// Enough for events to be asked for again and again.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_packet_in_ten_is_lost_and_nobody_fails() {
    let scene = Scene::of(6).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    for host in scene.lan.hosts() {
        host.lose(0.1);
    }
    let end = Instant::now() + SPAN;
    let mut sent = Vec::new();
    let mut turn = 0;
    while Instant::now() < end {
        sent.extend(scene.send(turn % 6, 5).await);
        turn += 1;
    }
    everybody_has(&recorder, &sent, PATIENCE).await;
    let lost: u64 = scene
        .lan
        .hosts()
        .iter()
        .map(|h| h.met("filter", "DROP"))
        .sum();
    assert!(lost > 100, "{lost} packets were lost");
    let record = Record::of(recorder).await;
    let all = [0, 1, 2, 3, 4, 5];
    record.nobody_failed(&all, &all);
}

#[tokio::test]
async fn packets_that_come_twice_are_events_that_come_once() {
    let scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    for (n, host) in scene.lan.hosts().iter().enumerate() {
        for (other, to) in scene.lan.hosts().iter().enumerate() {
            if n != other {
                host.double(to, 0.5);
            }
        }
    }
    let mut sent = Vec::new();
    for origin in 0..5 {
        sent.extend(scene.send(origin, 40).await);
    }
    everybody_has(&recorder, &sent, PATIENCE).await;
    let doubled = async || {
        let hosts = scene.lan.hosts().iter();
        let doubled: u64 = hosts.map(|host| host.met("mangle", "TEE")).sum();
        if doubled > 100 { Ok(()) } else { Err(doubled) }
    };
    wait::until("packets that come twice", PATIENCE, doubled).await;
    // The checker finds what comes twice.
    let record = Record::of(recorder).await;
    let all = [0, 1, 2, 3, 4];
    record.nobody_failed(&all, &all);
    assert_eq!(record.events.len(), 5);
}
