//! Processes that stop, die again and again, or read a wrong clock.

use std::time::Duration;

use muster_proto::v1::MemberStatus;
use muster_tests::check::members::{ever, statuses};
use muster_tests::harness::cluster::{see, summary};
use muster_tests::harness::wait::{self, DETECTION, SOON};
use tokio::time::Instant;

use crate::scene::{Record, Scene, everybody_has, faketime, subscribed};

/// A pause that nobody notices.
const SHORT: Duration = Duration::from_secs(3);

/// Kills of one daemon.
const KILLS: usize = 20;

/// How long a daemon is back after its pause, at most; seconds less on an idle machine.
const BACK: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_pause_of_3_seconds_harms_nobody() {
    let mut scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    scene.daemons[2].pause();
    tokio::time::sleep(SHORT).await;
    scene.daemons[2].resume();
    let sent = scene.send(2, 10).await;
    everybody_has(&recorder, &sent, SOON).await;
    scene.together().await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_long_pause_is_one_end_and_one_return_and_the_same_run() {
    let mut scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let before = see(&scene.daemons[0], "node-2", MemberStatus::Alive, SOON).await;
    scene.daemons[2].pause();
    for n in [0, 1, 3, 4] {
        see(&scene.daemons[n], "node-2", MemberStatus::Failed, DETECTION).await;
    }
    scene.daemons[2].resume();
    let resumed = Instant::now();
    for n in [0, 1, 3, 4] {
        let after = see(&scene.daemons[n], "node-2", MemberStatus::Alive, BACK).await;
        assert_eq!(
            (after.boot, after.started_at),
            (before.boot, before.started_at)
        );
    }
    eprintln!("back for all after {:?}", resumed.elapsed());
    scene.together().await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 3, 4], &[0, 1, 3, 4]);
    for n in [0, 1, 3, 4] {
        let seen = statuses(&record.members[n], "node-2");
        let ends = seen.iter().filter(|s| **s == MemberStatus::Failed).count();
        assert_eq!(
            (ends, seen.last()),
            (1, Some(&MemberStatus::Alive)),
            "{seen:?}"
        );
    }
}

/// Each run is a newer boot; nobody ever sees two of the name, and no old one comes back.
#[tokio::test]
async fn a_daemon_that_is_killed_20_times_is_one_member_at_any_time() {
    let mut scene = Scene::started(5, |_, builder| builder.data_dir());
    scene.together().await;
    let others: Vec<usize> = vec![0, 1, 3, 4];
    let recorder = muster_tests::harness::Recorder::of(others.iter().map(|n| &scene.daemons[*n]));
    subscribed(&recorder).await;
    let mut boot = see(&scene.daemons[0], "node-2", MemberStatus::Alive, SOON)
        .await
        .boot;
    let mut slowest = Duration::ZERO;
    for _ in 0..KILLS {
        scene.daemons[2].kill().await;
        let from = Instant::now();
        scene.daemons[2].restart().await;
        let mut newest = boot;
        for n in &others {
            let mut api = scene.daemons[*n].api().await;
            let found = wait::until("the next run", SOON, async || {
                let members = api.list().await?;
                let mut runs = members.iter().filter(|m| m.name == "node-2");
                match (runs.next(), runs.next()) {
                    (Some(one), None) if one.boot > boot && one.status() == MemberStatus::Alive => {
                        Ok(one.boot)
                    }
                    _ => Err(summary(&members)),
                }
            });
            newest = newest.max(found.await);
        }
        slowest = slowest.max(from.elapsed());
        boot = newest;
    }
    eprintln!("the slowest of {KILLS} restarts was known to all after {slowest:?}");
    scene.together().await;
    let record = Record::of(recorder).await;
    for (n, history) in record.members.iter().enumerate() {
        let mut last = 0;
        for moment in muster_tests::check::members::runs(history, "node-2") {
            assert_eq!(moment.len(), 1, "at consumer {n}");
            assert!(
                moment[0] >= last,
                "at consumer {n}: {} after {last}",
                moment[0]
            );
            last = moment[0];
        }
        let failed = ever(history, MemberStatus::Failed);
        assert!(failed.keys().all(|name| name == "node-2"), "{failed:?}");
    }
}

/// The clock of a running daemon jumps an hour ahead, two back, and to the truth.
#[tokio::test]
async fn a_clock_that_jumps_an_hour_changes_nothing() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&clock, "+0").unwrap();
    let (library, path) = (faketime(), clock.path().display().to_string());
    let scene = Scene::started(4, |n, builder| match n {
        3 => builder
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &path)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        _ => builder,
    });
    scene.together().await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let mut sent = Vec::new();
    for offset in ["+3600", "-3600", "+0"] {
        std::fs::write(&clock, offset).unwrap();
        // Long enough for a timer that follows the wrong clock.
        let end = Instant::now() + Duration::from_secs(6);
        while Instant::now() < end {
            sent.extend(scene.send(3, 10).await);
            sent.extend(scene.send(0, 10).await);
        }
    }
    everybody_has(&recorder, &sent, SOON).await;
    // It did jump: the daemon stamps what it receives by that clock.
    let record = Record::of(recorder).await;
    let stamps = record.events[3]
        .messages()
        .filter_map(|message| match &message.event {
            Some(muster_proto::v1::watch_events_response::Event::Item(event)) => {
                event.received_at.map(|at| at.seconds)
            }
            _ => None,
        });
    let stamps: Vec<i64> = stamps.collect();
    let span = stamps.iter().max().unwrap() - stamps.iter().min().unwrap();
    assert!(span > 7_000, "its clock moved by {span} s");
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
}
