//! Handlers that hold each other up, or run for what is long past.

use std::fs;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::wait::DETECTION;
use rustix::process::Signal;

use crate::scene::{Scene, daemon};

#[tokio::test]
async fn one_slow_handler_holds_up_all_others() {
    let scene = Scene::new();
    // Ends with the test, and not by a time that a busy machine may reach first.
    let slow = |done: &str| {
        let done = scene.text(done);
        format!("user:slow=while [ ! -e {done} ]; do sleep 0.1; done")
    };
    let args = [
        format!("-event-handler={}", slow("serf.done")),
        format!(
            "-event-handler={}",
            scene.handler("member-failed", "serf.log")
        ),
    ];
    let one = scene.agent("one", &args).await;
    let mut two = scene.joined("two", &one, &[]).await;
    assert!(one.serf("event", &["slow"]).status.success());
    two.process.signal(Signal::KILL);
    one.sees("two", "failed").await;
    assert_eq!(scene.settled("serf.log").await, Vec::<String>::new());
    fs::write(scene.path("serf.done"), "").unwrap();
    scene.logged("serf.log", "member-failed").await;
    drop((one, two));

    let one = daemon("one")
        .arg("--event-handler")
        .arg(slow("muster.done"))
        .arg("--event-handler")
        .arg(scene.handler("member-failed", "muster.log"))
        .ready()
        .await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    see_alive(&one, 2).await;
    one.muster().ok(&["event", "slow"]).await;
    two.kill().await;
    scene.logged("muster.log", "member-failed two").await;
    assert!(!scene.path("muster.done").exists());
    fs::write(scene.path("muster.done"), "").unwrap();
}

#[tokio::test]
async fn one_that_comes_back_runs_its_handlers_for_all_that_was() {
    const EVENTS: usize = 40;
    let scene = Scene::new();
    // So that the peer dials the dead one soon.
    fs::write(scene.path("soon.json"), "{\"reconnect_interval\": \"1s\"}").unwrap();
    let soon = format!("-config-file={}", scene.text("soon.json"));
    let log = format!("-event-handler={}", scene.handler("user", "serf.log"));
    let one = scene.agent("one", &[soon]).await;
    let mut two = scene.joined("two", &one, &[]).await;
    for number in 0..EVENTS {
        let args = ["-coalesce=false", "past", &number.to_string()];
        assert!(one.serf("event", &args).status.success());
    }
    two.process.signal(Signal::KILL);
    one.sees("two", "failed").await;
    let bind = two.bind;
    drop(two);
    let two = muster_tests::serf::Agent::start_at(bind, "two", &[log], &scene.path(""));
    one.sees("two", "alive").await;
    let replayed = scene.settled("serf.log").await.len();
    assert!(replayed > 0, "serf replayed nothing");
    drop((one, two));

    let one = daemon("one").ready().await;
    let two = daemon("two").data_dir();
    let mut two = two
        .arg("--event-handler")
        .arg(scene.handler("user", "muster.log"));
    two = two.join(one.addr());
    let mut two = two.ready().await;
    see_alive(&one, 2).await;
    for number in 0..EVENTS {
        one.muster()
            .ok(&["event", "past", &number.to_string()])
            .await;
    }
    scene.logged("muster.log", " 39").await;
    two.kill().await;
    see(&one, "two", MemberStatus::Failed, DETECTION).await;
    two.restart().await;
    see(&one, "two", MemberStatus::Alive, DETECTION).await;
    one.muster().ok(&["event", "after"]).await;
    scene.logged("muster.log", "user").await;
    let lines = scene.settled("muster.log").await;
    let past: Vec<_> = lines.iter().filter(|line| line.contains(" 39")).collect();
    assert_eq!(past.len(), 1, "{lines:?}");
    assert_eq!(lines.len(), EVENTS + 1, "{lines:?}");
}
