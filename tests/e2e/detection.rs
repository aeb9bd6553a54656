//! Deaths, pauses and restarts of real processes, as every other daemon shows them.

use std::time::Duration;

use muster_proto::v1::watch_members_response::Event;
use muster_proto::v1::{ExplainMemberRequest, MemberStatus, WatchMembersRequest};
use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use muster_tests::harness::{Cluster, Daemon};
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::cluster_of;

/// What one daemon showed of a member, in order, each with when.
type Story = Vec<(Instant, MemberStatus, u64)>;

/// Follows what a daemon shows of a member until it was shown so.
async fn follow(
    daemon: &Daemon,
    name: &'static str,
    last: impl Fn(&Story) -> bool + Send + 'static,
) -> JoinHandle<Story> {
    let mut api = daemon.api().await;
    let mut watch = api.watch_members(WatchMembersRequest::default()).await;
    loop {
        if let Some(Event::SnapshotEnd(_)) = watch.next().await.event {
            break;
        }
    }
    tokio::spawn(async move {
        let mut story = Story::new();
        while !last(&story) {
            let Some(Event::Delta(delta)) = watch.next().await.event else {
                continue;
            };
            for member in delta.changes.into_iter().filter_map(|change| change.member) {
                let known = story.last().map(|(_, status, boot)| (*status, *boot));
                if member.name == name && known != Some((member.status(), member.boot)) {
                    story.push((Instant::now(), member.status(), member.boot));
                }
            }
        }
        story
    })
}

fn shown(story: &Story, status: MemberStatus) -> usize {
    story
        .iter()
        .filter(|(_, shown, _)| *shown == status)
        .count()
}

/// A cluster in which everybody holds its streams.
async fn watching(size: usize) -> Cluster {
    let cluster = cluster_of(size).start().await;
    let streams = (size - 1).min(3) as u64;
    for daemon in cluster.nodes() {
        let mut api = daemon.api().await;
        wait::until("the streams", SOON, async || {
            let counters = api.info().await.counters;
            match counters.get("watch_streams_open").copied() {
                Some(open) if open == streams => Ok(()),
                open => Err(format!("{open:?} of {streams}")),
            }
        })
        .await;
    }
    cluster
}

async fn counter(daemon: &Daemon, name: &str) -> u64 {
    let counters = daemon.api().await.info().await.counters;
    counters.get(name).copied().unwrap_or_default()
}

/// Kills one of so many and waits until all others know; how long each took.
async fn kill_one_of(size: usize) -> Vec<Duration> {
    let mut cluster = watching(size).await;
    let mut stories = Vec::new();
    for daemon in cluster
        .nodes()
        .iter()
        .filter(|daemon| daemon.name() != "node-1")
    {
        let failed = |story: &Story| shown(story, MemberStatus::Failed) > 0;
        stories.push(follow(daemon, "node-1", failed).await);
    }
    let began = Instant::now();
    cluster.node_mut(1).kill().await;
    let mut times = Vec::new();
    for story in stories {
        let story = timeout(DETECTION, story).await.unwrap().unwrap();
        let (at, ..) = story.last().unwrap();
        times.push(at.saturating_duration_since(began));
    }
    for n in (0..size).filter(|n| *n != 1) {
        let member = cluster.sees(n, "node-1", MemberStatus::Failed, SOON).await;
        let change = member.status_change.unwrap();
        assert_eq!(
            change.reason,
            "its streams broke and connections are refused"
        );
        assert_ne!(change.by, "node-1");
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn a_killed_process_is_known_to_all_by_its_streams() {
    for size in [2, 3, 8] {
        let times = kill_one_of(size).await;
        let (first, last) = (times[0], times[times.len() - 1]);
        println!(
            "{size} daemons: kill -9 known to the first after {first:?}, to all after {last:?}"
        );
    }
}

/// By hand: `MUSTER_E2E_DAEMONS=32 cargo test -p muster-tests --test e2e detection`.
#[tokio::test]
async fn as_many_daemons_as_the_environment_says() {
    let said = std::env::var("MUSTER_E2E_DAEMONS").ok();
    let size = said.map_or(4, |text| {
        text.parse().expect("MUSTER_E2E_DAEMONS is a number")
    });
    let times = kill_one_of(size).await;
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{size} daemons: kill -9 known to half after {median:?}, to all after {last:?}");
}

/// A daemon that ends of its own will says goodbye on its streams: nobody suspects it,
/// and its next run is a restart.
#[tokio::test]
async fn a_quick_restart_is_a_restart() {
    let mut cluster = cluster_of(4)
        .each(|_, daemon| daemon.arg("--leave-on-terminate").arg("false"))
        .start()
        .await;
    let before = cluster
        .sees(0, "node-2", MemberStatus::Alive, SOON)
        .await
        .boot;
    let newer = move |story: &Story| story.iter().any(|(_, _, boot)| *boot > before);
    let mut stories = Vec::new();
    for n in [0, 1, 3] {
        stories.push(follow(cluster.node(n), "node-2", newer).await);
    }
    cluster.node_mut(2).signal(Signal::TERM);
    cluster.node_mut(2).wait_exit(SOON).await;
    cluster.node_mut(2).restart().await;
    for story in stories {
        let story = timeout(DETECTION, story).await.unwrap().unwrap();
        assert_eq!(shown(&story, MemberStatus::Failed), 0, "{story:?}");
    }
    for n in [0, 1, 3] {
        assert_eq!(counter(cluster.node(n), "members_lost_on_streams").await, 0);
    }
}

#[tokio::test]
async fn a_process_stopped_for_five_seconds_is_never_failed() {
    let mut cluster = watching(4).await;
    let mut api = cluster.node(0).api().await;
    cluster.node_mut(2).pause();
    wait::stays("being no failure", Duration::from_secs(5), async || {
        let members = api.list().await?;
        match members.iter().find(|member| member.name == "node-2") {
            Some(member) if member.status() != MemberStatus::Failed => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.node_mut(2).resume();
    for n in 0..4 {
        see_alive(cluster.node(n), 4).await;
    }
    for n in [0, 1, 3] {
        assert_eq!(counter(cluster.node(n), "members_lost_on_streams").await, 0);
        assert_eq!(counter(cluster.node(n), "members_declared_failed").await, 0);
    }
}

#[tokio::test]
async fn a_process_stopped_for_long_is_down_once_and_up_once() {
    let mut cluster = watching(4).await;
    let mut stories = Vec::new();
    for n in [0, 1, 3] {
        let back = |story: &Story| {
            let failed = shown(story, MemberStatus::Failed) > 0;
            failed
                && story
                    .last()
                    .is_some_and(|last| last.1 == MemberStatus::Alive)
        };
        stories.push(follow(cluster.node(n), "node-2", back).await);
    }
    cluster.node_mut(2).pause();
    for n in [0, 1, 3] {
        cluster
            .sees(n, "node-2", MemberStatus::Failed, DETECTION)
            .await;
    }
    let began = Instant::now();
    cluster.node_mut(2).resume();
    for story in stories {
        let story = timeout(DETECTION, story).await.unwrap().unwrap();
        let boots: Vec<u64> = story.iter().map(|(_, _, boot)| *boot).collect();
        assert_eq!(shown(&story, MemberStatus::Failed), 1, "{story:?}");
        assert!(boots.windows(2).all(|pair| pair[0] == pair[1]), "{boots:?}");
    }
    println!("back everywhere {:?} after it went on", began.elapsed());
    for n in 0..4 {
        see_alive(cluster.node(n), 4).await;
    }
}

#[tokio::test]
async fn all_that_are_killed_at_once_come_back() {
    let mut cluster = watching(5).await;
    for n in 0..5 {
        cluster.node_mut(n).kill().await;
    }
    for n in 0..5 {
        cluster.node_mut(n).restart().await;
    }
    for n in 0..5 {
        see_alive(cluster.node(n), 5).await;
    }
}

#[tokio::test]
async fn what_was_seen_of_a_dead_member_is_explained() {
    let mut cluster = watching(3).await;
    cluster.node_mut(2).kill().await;
    cluster
        .sees(0, "node-2", MemberStatus::Failed, DETECTION)
        .await;
    let muster = cluster.node(0).muster();
    let told = muster.ok(&["explain", "node-2"]).await;
    println!("{told}");
    assert!(told.starts_with("node-2 is failed since"), "{told}");
    let (_, observed) = told.split_once('\n').unwrap();
    let seen = |text: &str| {
        let place = observed.find(text);
        place.unwrap_or_else(|| panic!("no {text:?}: {told}"))
    };
    assert!(seen("broke without a goodbye") < seen("refused a connection"));
    assert!(seen("refused a connection") < seen("its streams broke and connections are refused"));
    seen("node-1: accused");
    seen("look at its log");
    let json = muster.json(&["explain", "node-2"]).await;
    assert_eq!(json["status"], "failed");
    assert!(
        json["observations"]
            .as_array()
            .is_some_and(|all| all.len() >= 3)
    );
    muster.run(&["explain", "nobody"]).await.expect_code(3);
    let mut api = cluster.node(0).api().await;
    let name = "node-1".to_owned();
    let well = api.node.explain_member(ExplainMemberRequest { name }).await;
    assert!(well.unwrap().into_inner().advice.is_empty());
}
