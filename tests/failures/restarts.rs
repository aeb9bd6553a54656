//! Restarts that nobody notices, and clusters that do not come together again.

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::wait;
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::serf::Agent;
use rustix::process::Signal;

use crate::scene::{Scene, daemon};

#[tokio::test]
async fn a_quick_restart_is_no_news() {
    let scene = Scene::new();
    let events = "member-join,member-leave,member-failed,member-update";
    let log = format!("-event-handler={}", scene.handler(events, "serf.log"));
    let one = scene.agent("one", &[log]).await;
    let mut two = scene.joined("two", &one, &[]).await;
    scene.logged("serf.log", "two 127.").await;
    let before = scene.settled("serf.log").await;
    two.process.signal(Signal::KILL);
    let bind = two.bind;
    drop(two);
    let join = [format!("-join={}", one.bind)];
    let two = Agent::start_at(bind, "two", &join, &scene.path(""));
    two.ready().await;
    two.sees("one", "alive").await;
    assert_eq!(scene.settled("serf.log").await, before);
    drop((one, two));

    let handler = scene.handler(events, "muster.log");
    let one = daemon("one")
        .arg("--event-handler")
        .arg(handler)
        .ready()
        .await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    let first = see(&one, "two", MemberStatus::Alive, SOON).await;
    scene.logged("muster.log", "two 127.").await;
    let before = scene.lines("muster.log").len();
    two.kill().await;
    two.restart().await;
    wait::until("the higher boot", DETECTION, async || {
        let member = see(&one, "two", MemberStatus::Alive, DETECTION).await;
        match member.boot > first.boot {
            true => Ok(()),
            false => Err(format!("boot {}", member.boot)),
        }
    })
    .await;
    wait::until("a call of the handler", DETECTION, async || {
        let lines = scene.lines("muster.log");
        match lines.len() > before && lines[before..].iter().any(|line| line.contains(" two")) {
            true => Ok(()),
            false => Err(lines.join("\n")),
        }
    })
    .await;
}

#[tokio::test]
async fn those_that_saw_each_other_fail_never_meet_again() {
    let scene = Scene::new();
    let snapshot = |name: &str| format!("-snapshot={}", scene.text(&format!("{name}.snapshot")));
    let mut one = scene.agent("one", &[snapshot("one")]).await;
    let mut two = scene.joined("two", &one, &[snapshot("two")]).await;
    one.process.signal(Signal::KILL);
    two.sees("one", "failed").await;
    two.process.signal(Signal::KILL);
    let (at_one, at_two) = (one.bind, two.bind);
    drop((one, two));
    let two = Agent::start_at(at_two, "two", &[snapshot("two")], &scene.path(""));
    two.ready().await;
    let one = Agent::start_at(at_one, "one", &[], &scene.path(""));
    one.ready().await;
    let apart = async || match two.status_of("one").as_deref() {
        None | Some("failed") => Ok(()),
        Some(status) => Err(format!("serf's two sees one as {status}")),
    };
    wait::stays("serf's two being alone", SOON, apart).await;
    drop((one, two));

    let mut one = daemon("one").data_dir().ready().await;
    let mut two = daemon("two").data_dir().ready().await;
    one.muster().ok(&["join", &two.addr().to_string()]).await;
    see_alive(&one, 2).await;
    // Deaths are known sooner than a snapshot is due.
    for (daemon, other) in [(&one, "two"), (&two, "one")] {
        let snapshot = daemon.socket().with_file_name("data").join("snapshot");
        wait::holds("the snapshot", SOON, async || {
            let held = std::fs::read(&snapshot).unwrap_or_default();
            held.windows(other.len())
                .any(|part| part == other.as_bytes())
        })
        .await;
    }
    one.kill().await;
    see(&two, "one", MemberStatus::Failed, DETECTION).await;
    two.kill().await;
    two.restart().await;
    one.restart().await;
    see_alive(&two, 2).await;
}
