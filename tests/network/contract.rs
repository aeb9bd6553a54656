//! Many watchers, of every habit, through faults at random; then their histories are held
//! to the contract.
//!
//! The seed is printed; `MUSTER_SEED` sets it, `MUSTER_CONTRACT_SECONDS` the time.

use std::time::Duration;

use muster_proto::v1::watch_members_response::Event;

use muster_proto::v1::{MemberFilter, MemberStatus, UpdateTagsRequest};
use muster_tests::check::{self, Step, told};
use muster_tests::harness::Recorder;
use muster_tests::harness::recorder::{Habit, Place};
use muster_tests::harness::wait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::scene::{Record, Scene, faulty_send};

/// How long faults come, unless set.
const SPAN: Duration = Duration::from_secs(30);

/// Daemons.
const SIZE: u8 = 5;

/// Octets in a tag of each: a snapshot then takes several messages, between which a daemon
/// can die.
const BULK: usize = 24 << 10;

/// All histories are at one position at the end within this time.
const SETTLED: Duration = Duration::from_secs(60);

/// Consumers that may never get to the end: what they did see is checked as well.
const TARDY: [&str; 2] = ["slow", "stops"];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn watchers(scene: &Scene) -> Recorder {
    let mut recorder = scene.recorder();
    let places: Vec<Place> = scene.daemons.iter().map(Place::from).collect();
    let hops = |reopen_after| Habit {
        reopen_after,
        ..Habit::default()
    };
    let slow = Habit {
        reopen_after: 0,
        pause: Duration::from_millis(300),
    };
    let stops = Habit {
        reopen_after: 9,
        pause: Duration::from_millis(1_500),
    };
    let status = |status: MemberStatus| MemberFilter {
        statuses: vec![status.into()],
        ..MemberFilter::default()
    };
    let tagged = MemberFilter {
        tags: [("turn".to_owned(), "odd".to_owned())].into(),
        ..MemberFilter::default()
    };
    let named = MemberFilter {
        names: vec!["node-1".to_owned(), "node-3".to_owned()],
        ..MemberFilter::default()
    };
    let all = MemberFilter::default;
    // At one daemon, with its own tokens; and from daemon to daemon, with foreign ones.
    recorder.members("resumes", &places[..1], all(), hops(7));
    recorder.members("resumes-2", &places[2..3], all(), hops(3));
    recorder.members("hops", &places, all(), hops(6));
    recorder.members("cuts", &places[4..], all(), hops(3));
    recorder.members("slow", &places[1..2], all(), slow);
    recorder.members("stops", &places[2..3], all(), stops);
    recorder.members("alive", &places[..1], status(MemberStatus::Alive), hops(11));
    recorder.members(
        "failed",
        &places[1..2],
        status(MemberStatus::Failed),
        hops(5),
    );
    recorder.members("tagged", &places[2..3], tagged, hops(0));
    recorder.members("named", &places[..1], named, slow);
    let ticks = || vec!["tick".to_owned()];
    recorder.events("resumes", &places[..1], Vec::new(), hops(7));
    recorder.events("hops", &places, Vec::new(), hops(20));
    recorder.events("slow", &places[1..2], Vec::new(), slow);
    recorder.events("stops", &places[2..3], Vec::new(), stops);
    recorder.events("ticks", &places[..1], ticks(), hops(13));
    recorder
}

/// One fault, and its end.
async fn trouble(scene: &mut Scene, rng: &mut StdRng, turn: usize) {
    let one = rng.random_range(0..usize::from(SIZE));
    let span = Duration::from_millis(rng.random_range(100..2_500));
    match rng.random_range(0..8) {
        0 => {
            scene.daemons[one].pause();
            tokio::time::sleep(span).await;
            scene.daemons[one].resume();
        }
        1 | 2 => {
            scene.daemons[one].kill().await;
            tokio::time::sleep(span / 4).await;
            scene.daemons[one].restart().await;
        }
        3 => {
            scene.lan.split(1 + one % 4);
            tokio::time::sleep(span).await;
        }
        4 => {
            scene.lan.host(one).firewall("-A INPUT -i eth0 -j DROP");
            tokio::time::sleep(span).await;
        }
        5 => {
            for host in scene.lan.hosts() {
                host.lose(0.2);
            }
            tokio::time::sleep(span).await;
        }
        6 => {
            scene.lan.cable(one, false);
            tokio::time::sleep(span).await;
            scene.lan.cable(one, true);
        }
        _ => {
            let value = if turn % 2 == 1 { "odd" } else { "even" };
            let set = [("turn".to_owned(), value.to_owned())].into();
            let request = UpdateTagsRequest {
                set,
                remove: Vec::new(),
            };
            let mut api = scene.daemons[one].api().await;
            api.node.update_tags(request).await.unwrap();
        }
    }
    scene.lan.heal();
}

/// Waits until the last streams say that nothing is newer than what they told.
async fn settled(scene: &Scene, recorder: &Recorder) {
    scene.together().await;
    let last = scene.send(0, 3).await;
    wait::until("the watchers to have all", SETTLED, async || {
        let (_members, events) = recorder.so_far();
        for history in events
            .iter()
            .filter(|one| !TARDY.contains(&one.consumer.as_str()))
        {
            let missing = check::events::missing(history, &last);
            if !missing.is_empty() {
                return Err(format!("{} lacks {missing:?}", history.consumer));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn watches_keep_their_contract_through_faults_at_random() {
    let seed = number("MUSTER_SEED").unwrap_or_else(rand::random);
    let span = number("MUSTER_CONTRACT_SECONDS").map_or(SPAN, Duration::from_secs);
    println!("MUSTER_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let bulk = "x".repeat(BULK);
    let mut scene = Scene::started(SIZE, |_, builder| builder.data_dir().tag("bulk", &bulk));
    scene.together().await;
    let recorder = watchers(&scene);
    let end = Instant::now() + span;
    let mut turn = 0;
    while Instant::now() < end {
        turn += 1;
        let origin = rng.random_range(0..usize::from(SIZE));
        let count = rng.random_range(1..60);
        faulty_send(&scene.daemons[origin], count).await;
        trouble(&mut scene, &mut rng, turn).await;
    }
    settled(&scene, &recorder).await;
    let (members, events) = recorder.finish().await;
    let (mut breaches, saw) = check::members::check(&members);
    let (more, events_seen) = check::events::check(&events);
    breaches.extend(more);
    println!("{turn} faults; {saw:?}; {events_seen:?}");
    assert!(
        breaches.is_empty(),
        "MUSTER_SEED={seed}\n{}",
        told(&breaches)
    );
    assert!(
        saw.snapshots > 20 && saw.resumed > 3 && saw.deltas > 50,
        "{saw:?}"
    );
    assert!(
        events_seen.events > 500 && events_seen.resumed > 3,
        "{events_seen:?}"
    );
}

/// Deaths between the parts of a snapshot.
const DEATHS: usize = 4;

#[tokio::test]
async fn a_daemon_that_dies_between_the_parts_of_a_snapshot_leaves_no_half_a_copy() {
    let bulk = "x".repeat(BULK);
    let mut scene = Scene::started(SIZE, |_, builder| builder.data_dir().tag("bulk", &bulk));
    scene.together().await;
    let mut recorder = scene.recorder();
    let reads = Habit {
        reopen_after: 0,
        pause: Duration::from_millis(200),
    };
    let place = [Place::from(&scene.daemons[1])];
    let slow = recorder.members("slow", &place, MemberFilter::default(), reads);
    for _ in 0..DEATHS {
        wait::until("the middle of a snapshot", SETTLED, async || {
            let history = recorder.of_members(slow);
            let Some(Step::Message(last)) = history.steps.last() else {
                return Err("no message".to_owned());
            };
            match &last.event {
                Some(Event::SnapshotBegin(_) | Event::SnapshotPart(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        scene.daemons[1].kill().await;
        scene.daemons[1].restart().await;
        scene.together().await;
    }
    wait::until("the whole of a snapshot", SETTLED, async || {
        let history = recorder.of_members(slow);
        let last = history
            .messages()
            .last()
            .and_then(|last| last.event.clone());
        match last {
            Some(Event::Delta(_) | Event::Heartbeat(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let record = Record::of(recorder).await;
    let (_breaches, saw) = check::members::check(&record.members);
    assert!(saw.cut > 0, "{saw:?}");
}
