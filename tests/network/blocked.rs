//! Networks that pass no UDP.

use std::time::Duration;

use muster_proto::v1::MemberStatus;
use muster_tests::check::members::ever;
use muster_tests::harness::cluster::{node, see};
use muster_tests::harness::wait::{self, DETECTION};

use crate::scene::{Record, Scene, everybody_has, faulty_send, subscribed};

/// How long the cluster lives without datagrams: several times the patience of suspicion.
const SPAN: Duration = Duration::from_secs(30);

/// All that goes without datagrams goes slower.
const PATIENCE: Duration = Duration::from_secs(60);

const NO_UDP: &str = "-A INPUT -i eth0 -p udp -j DROP";

#[tokio::test]
async fn a_cluster_whose_udp_is_cut_off_lives_on_and_says_so() {
    let mut scene = Scene::of(5).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    for host in scene.lan.hosts() {
        host.firewall(NO_UDP);
    }
    let mut api = scene.daemons[0].api().await;
    wait::until(
        "members that are reached over TCP alone",
        PATIENCE,
        async || match api.info().await.counters.get("members_by_tcp") {
            Some(4) => Ok(()),
            found => Err(format!("{found:?}")),
        },
    )
    .await;
    let everybody = async || {
        let members = api.list().await?;
        let alive = members.iter().filter(|m| m.status() == MemberStatus::Alive);
        match alive.count() {
            5 => Ok(()),
            count => Err(format!("{count} are alive")),
        }
    };
    wait::stays("everybody alive", SPAN, everybody).await;
    let sent = faulty_send(&scene.daemons[1], 5).await;
    everybody_has(&recorder, &sent, PATIENCE).await;
    // A death is seen all the same.
    scene.daemons[4].kill().await;
    for n in 0..4 {
        see(&scene.daemons[n], &node(4), MemberStatus::Failed, DETECTION).await;
    }
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
    for history in &record.members[..4] {
        let failed = ever(history, MemberStatus::Failed);
        assert_eq!(failed.keys().collect::<Vec<_>>(), ["node-4"], "{failed:?}");
    }
}

#[tokio::test]
async fn daemons_that_never_had_udp_find_each_other() {
    let scene = Scene::blocked(4, NO_UDP).await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let sent = faulty_send(&scene.daemons[2], 5).await;
    everybody_has(&recorder, &sent, PATIENCE).await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
}
