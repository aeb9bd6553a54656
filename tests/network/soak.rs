//! A while of ordinary trouble, after which nothing has grown.

use std::fs;
use std::time::Duration;

use muster_tests::check;
use muster_tests::harness::Daemon;
use tokio::time::Instant;

use crate::scene::{Record, Scene, subscribed};

/// How long it takes unless `MUSTER_SOAK_SECONDS` says otherwise.
const SPAN: Duration = Duration::from_secs(30);

/// What is remembered of events and past runs may grow by so much after the first half, in
/// KiB; from there on it is bounded.
const GROWTH_KIB_MAX: u64 = 12 << 10;

/// Descriptors that may be open beside those of the middle: pipes come and go.
const DESCRIPTORS_MORE_MAX: usize = 12;

fn span() -> Duration {
    let wanted = std::env::var("MUSTER_SOAK_SECONDS").ok();
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted.map_or(SPAN, Duration::from_secs)
}

/// KiB of resident memory, and open descriptors.
fn size(daemon: &Daemon) -> (u64, usize) {
    let pid = daemon.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let resident = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (resident.unwrap(), descriptors)
}

#[tokio::test]
async fn memory_and_descriptors_stay_flat_under_events_and_restarts() {
    let mut scene = Scene::started(5, |_, builder| builder.data_dir());
    scene.together().await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let begin = Instant::now();
    let mut middle = None;
    let mut turn = 0;
    while begin.elapsed() < span() {
        // The first three live through all of it.
        let victim = 3 + turn % 2;
        scene.daemons[victim].kill().await;
        scene.send(turn % 3, 100).await;
        scene.daemons[victim].restart().await;
        scene.together().await;
        scene.send(victim, 20).await;
        turn += 1;
        if middle.is_none() && begin.elapsed() > span() / 2 {
            middle = Some([0, 1, 2].map(|n| size(&scene.daemons[n])));
        }
    }
    let last = scene.send(0, 1).await;
    everybody_has_of_the_first_three(&recorder, &last).await;
    let end = [0, 1, 2].map(|n| size(&scene.daemons[n]));
    let middle = middle.expect("one turn took longer than the second half");
    eprintln!("{turn} restarts; KiB and descriptors: {middle:?}, then {end:?}");
    for (n, (before, after)) in middle.iter().zip(&end).enumerate() {
        assert!(
            after.0 <= before.0 + GROWTH_KIB_MAX,
            "node-{n} grew from {} to {} KiB",
            before.0,
            after.0
        );
        assert!(
            after.1 <= before.1 + DESCRIPTORS_MORE_MAX,
            "node-{n} had {} descriptors, then {}",
            before.1,
            after.1
        );
    }
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2], &[0, 1, 2]);
}

/// The others forget when they are killed what they have not handed over.
async fn everybody_has_of_the_first_three(
    recorder: &muster_tests::harness::Recorder,
    sent: &[muster_proto::v1::EventId],
) {
    muster_tests::harness::wait::until("the last event", Duration::from_secs(60), async || {
        let (_members, events) = recorder.so_far();
        let late = events[..3]
            .iter()
            .find(|history| !check::events::missing(history, sent).is_empty());
        late.map_or(Ok(()), |history| Err(history.consumer.clone()))
    })
    .await;
}
