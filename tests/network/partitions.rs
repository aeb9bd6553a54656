//! Networks that are cut, in one direction or both, and hosts that vanish.

use std::time::Duration;

use muster_proto::v1::MemberStatus;
use muster_tests::check::members::{ever, statuses};
use muster_tests::harness::cluster::{node, see, summary};
use muster_tests::harness::wait::{self, DETECTION, SOON};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::scene::{Record, Scene, everybody_has, subscribed};

/// How long a daemon is deaf.
const DEAF: Duration = Duration::from_secs(25);

/// The view is the same again after a cut heals within this time.
const HEALED: Duration = Duration::from_secs(45);

/// It sends and hears nothing: the danger of SWIM, for it finds everybody dead.
#[tokio::test]
async fn a_deaf_daemon_harms_nobody() {
    let scene = Scene::of(6).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    scene.lan.host(5).firewall("-A INPUT -i eth0 -j DROP");
    let mut deaf = scene.daemons[5].api().await;
    wait::until("the deaf daemon to say what it is", DETECTION, async || {
        let warnings = deaf.info().await.warnings;
        let degraded = warnings.iter().any(|warning| warning.contains("degraded"));
        if degraded {
            Ok(())
        } else {
            Err(format!("{warnings:?}"))
        }
    })
    .await;
    let end = Instant::now() + DEAF;
    let mut sent = Vec::new();
    while Instant::now() < end {
        sent.extend(scene.send(0, 5).await);
    }
    scene.lan.heal();
    scene.together().await;
    everybody_has(&recorder, &sent, HEALED).await;
    let record = Record::of(recorder).await;
    let healthy = [0, 1, 2, 3, 4];
    record.nobody_failed(&healthy, &healthy);
    let accused = ever(&record.members[5], MemberStatus::Suspect);
    assert!(!accused.is_empty(), "it heard somebody all the time");
}

#[tokio::test]
async fn a_cut_heals_without_a_restart_and_who_left_stays_left() {
    let mut scene = Scene::of(6).await;
    // Gone before the cut, known to all.
    scene.daemons[5].signal(Signal::TERM);
    scene.daemons[5].wait_exit(SOON).await;
    for n in 0..5 {
        see(&scene.daemons[n], "node-5", MemberStatus::Left, SOON).await;
    }
    let recorder = muster_tests::harness::Recorder::of(&scene.daemons[..5]);
    let during = muster_tests::harness::Recorder::of(&scene.daemons[..5]);
    subscribed(&recorder).await;
    subscribed(&during).await;
    scene.lan.split(2);
    for (here, there) in [(0, 4), (4, 0)] {
        see(
            &scene.daemons[here],
            &node(there),
            MemberStatus::Failed,
            DETECTION,
        )
        .await;
    }
    // Both sides go on; the smaller one has only one other to hold its events.
    let mut sent = scene.send(0, 20).await;
    sent.extend(scene.send(4, 20).await);
    // Within a side nobody was accused. After the heal fresh verdicts of the other side may
    // come by, until those whom they are about speak up.
    let record = Record::of(during).await;
    record.nobody_failed(&[0, 1], &[0, 1]);
    record.nobody_failed(&[2, 3, 4], &[2, 3, 4]);
    scene.lan.heal();
    for n in 0..5 {
        let mut api = scene.daemons[n].api().await;
        wait::until("one view again", HEALED, async || {
            let members = api.list().await?;
            let alive = members.iter().filter(|m| m.status() == MemberStatus::Alive);
            let left = members.iter().find(|m| m.name == "node-5");
            match (alive.count(), left.map(|m| m.status())) {
                (5, Some(MemberStatus::Left)) => Ok(()),
                _ => Err(summary(&members)),
            }
        })
        .await;
    }
    everybody_has(&recorder, &sent, HEALED).await;
    let record = Record::of(recorder).await;
    for history in &record.members {
        assert_eq!(statuses(history, "node-5"), [MemberStatus::Left]);
    }
}

#[tokio::test]
async fn a_host_that_vanishes_is_failed_with_a_reason_and_nobody_else() {
    let scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    scene.lan.cable(4, false);
    let from = Instant::now();
    for n in 0..4 {
        let member = see(&scene.daemons[n], "node-4", MemberStatus::Failed, DETECTION).await;
        let change = member.status_change.unwrap();
        assert!(!change.reason.is_empty(), "{change:?}");
    }
    let took = from.elapsed();
    eprintln!("all knew of the host's end after {took:?}");
    scene.lan.cable(4, true);
    scene.together().await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
    for n in 0..4 {
        let failed = ever(&record.members[n], MemberStatus::Failed);
        assert_eq!(failed.len(), 1, "{failed:?}");
        let downs = statuses(&record.members[n], "node-4");
        let count = downs.iter().filter(|s| **s == MemberStatus::Failed).count();
        assert_eq!(count, 1, "{downs:?}");
    }
}
