//! Networks that pass no UDP.

use std::time::Duration;

use muster_proto::v1::{Member, MemberStatus};
use muster_tests::check::members::ever;
use muster_tests::harness::Daemon;
use muster_tests::harness::cluster::{node, see};
use muster_tests::harness::muster::Running;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use tokio::time::Instant;

use crate::scene::{Record, Scene, everybody_has, send, subscribed};

/// How long the cluster lives without datagrams: several times the patience of suspicion.
const SPAN: Duration = Duration::from_secs(30);

/// Until each has probed each other one twice, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const NO_UDP: &str = "-A INPUT -i eth0 -p udp -j DROP";

/// Why a member is failed whose watchers told each other what they saw.
const BY_WATCHERS: &str = "its streams broke and connections are refused";

async fn counter(daemon: &Daemon, name: &str) -> u64 {
    let counters = daemon.api().await.info().await.counters;
    counters.get(name).copied().unwrap_or_default()
}

/// Waits until a daemon reaches so many members over TCP alone.
async fn reaches_by_tcp(daemon: &Daemon, count: u64) {
    let what = format!("{} members that {} reaches by TCP", count, daemon.name());
    wait::until(&what, PATIENCE, async || {
        match counter(daemon, "members_by_tcp").await {
            found if found == count => Ok(()),
            found => Err(found),
        }
    })
    .await;
}

/// What is shown of each member, with the reason.
fn statuses(members: &[Member]) -> Vec<(&str, MemberStatus, &str)> {
    let shown = members.iter().map(|member| {
        let reason = member.status_change.as_ref();
        let reason = reason.map_or("", |change| change.reason.as_str());
        (member.name.as_str(), member.status(), reason)
    });
    shown.collect()
}

/// A handler at each daemon that answers with its name.
async fn all_say_who(daemons: &[Daemon]) -> Vec<Running> {
    let mut handlers = Vec::new();
    for daemon in daemons {
        let script = format!("printf {}", daemon.name());
        let args = ["serve-query", "who", "--", "sh", "-c", &script];
        let handler = daemon.muster().start(&args);
        wait::holds("a registered handler", SOON, async || {
            handler.stderr_text().contains("serving")
        })
        .await;
        handlers.push(handler);
    }
    handlers
}

/// Asks, and demands an answer of each of so many.
#[expect(
    clippy::print_stderr,
    reason = "a figure for whoever asks with --nocapture"
)]
async fn all_answer(asker: &Daemon, count: usize) {
    let began = Instant::now();
    let text = asker.muster().ok(&["query", "who", "hello"]).await;
    eprintln!(
        "{count} answers to {} in {:?}",
        asker.name(),
        began.elapsed()
    );
    for n in 0..count {
        let line = format!("answer from {0}: {0}", node(n));
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
}

/// Kills a daemon and waits until these know, by the words of its watchers.
#[expect(
    clippy::print_stderr,
    reason = "a figure for whoever asks with --nocapture"
)]
async fn killed_is_known(scene: &mut Scene, dead: usize, others: &[usize]) {
    scene.daemons[dead].kill().await;
    let began = Instant::now();
    for &n in others {
        let status = MemberStatus::Failed;
        let member = see(&scene.daemons[n], &node(dead), status, DETECTION).await;
        assert_eq!(member.status_change.unwrap().reason, BY_WATCHERS);
    }
    eprintln!(
        "kill -9 of {} is known to all after {:?}",
        node(dead),
        began.elapsed()
    );
}

#[tokio::test]
async fn a_cluster_whose_udp_is_cut_off_works_and_says_so() {
    let mut scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let handlers = all_say_who(&scene.daemons).await;
    for daemon in &scene.daemons {
        assert_eq!(counter(daemon, "datagrams_carried_sent").await, 0);
    }
    for host in scene.lan.hosts() {
        host.firewall(NO_UDP);
    }
    for daemon in &scene.daemons {
        reaches_by_tcp(daemon, 4).await;
    }
    let mut api = scene.daemons[0].api().await;
    let mut everybody = async || {
        let members = api.list().await?;
        let alive = members.iter().filter(|m| m.status() == MemberStatus::Alive);
        match alive.count() {
            5 => Ok(()),
            _ => Err(format!("{:?}", statuses(&members))),
        }
    };
    // A suspicion of when the datagrams ended may be on its way still.
    wait::until("everybody alive", SOON, &mut everybody).await;
    wait::stays("everybody alive", SPAN, everybody).await;
    let began = Instant::now();
    let sent = scene.send(1, 20).await;
    eprintln!("20 receipts one after the other in {:?}", began.elapsed());
    everybody_has(&recorder, &sent, PATIENCE).await;
    all_answer(&scene.daemons[2], 5).await;
    assert!(counter(&scene.daemons[1], "datagrams_carried_sent").await > 0);
    drop(handlers);
    killed_is_known(&mut scene, 4, &[0, 1, 2, 3]).await;
    for host in scene.lan.hosts() {
        host.open();
    }
    for daemon in &scene.daemons[..4] {
        reaches_by_tcp(daemon, 0).await;
    }
    send(&scene.daemons[0], 5).await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
    for history in &record.members[..4] {
        let failed = ever(history, MemberStatus::Failed);
        assert_eq!(failed.keys().collect::<Vec<_>>(), ["node-4"], "{failed:?}");
    }
}

#[tokio::test]
async fn daemons_that_never_had_udp_work() {
    let mut scene = Scene::blocked(4, NO_UDP).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let sent = scene.send(2, 5).await;
    everybody_has(&recorder, &sent, PATIENCE).await;
    let handlers = all_say_who(&scene.daemons).await;
    all_answer(&scene.daemons[0], 4).await;
    drop(handlers);
    killed_is_known(&mut scene, 1, &[0, 2, 3]).await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 2, 3], &[0, 2, 3]);
}

#[tokio::test]
async fn a_host_that_lets_no_udp_in_is_told_all_over_tcp() {
    let mut scene = Scene::of(4).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    scene.lan.host(2).firewall(NO_UDP);
    for (n, daemon) in scene.daemons.iter().enumerate() {
        reaches_by_tcp(daemon, if n == 2 { 3 } else { 1 }).await;
    }
    for n in [2, 0] {
        let sent = scene.send(n, 5).await;
        everybody_has(&recorder, &sent, PATIENCE).await;
    }
    let handlers = all_say_who(&scene.daemons).await;
    all_answer(&scene.daemons[2], 4).await;
    all_answer(&scene.daemons[3], 4).await;
    drop(handlers);
    killed_is_known(&mut scene, 2, &[0, 1, 3]).await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 3], &[0, 1, 3]);
}
