//! A daemon that has no file descriptors left.

use std::os::unix::net::UnixStream;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::Daemon;
use muster_tests::harness::cluster::see;
use muster_tests::harness::wait::{self, SOON};

use crate::scene::{Record, Scene, everybody_has, subscribed};

/// Descriptors that the daemon may have: enough to live.
const LIMIT: usize = 64;

fn open(daemon: &Daemon) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
    files.unwrap().count()
}

#[tokio::test]
async fn a_daemon_without_file_descriptors_stays_a_member_and_serves_again() {
    let limit = format!("--nofile={LIMIT}:{LIMIT}");
    let scene = Scene::started(4, |n, builder| match n {
        1 => builder.data_dir().under(&["prlimit", &limit]),
        _ => builder,
    });
    scene.together().await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let starved = &scene.daemons[1];
    let mut api = starved.api().await;
    let hoard: Vec<UnixStream> = (0..2 * LIMIT)
        .map(|_| UnixStream::connect(starved.socket()).unwrap())
        .collect();
    // One or two are free for an instant now and then, where a pipe was closed.
    let full = async || open(starved) + 2 >= LIMIT;
    wait::holds("no descriptor left", SOON, full).await;
    let refused = async || api.metric("muster_grpc_accept_errors_total").await > 3.0;
    wait::holds("connections that wait", SOON, refused).await;
    // A connection that is open serves on, and so does gossip: others come and go.
    let sent = scene.send(0, 20).await;
    everybody_has(&recorder, &sent, SOON).await;
    assert_eq!(api.list().await.unwrap().len(), 4);
    // It waits between its tries.
    let errors = api.metric("muster_grpc_accept_errors_total").await;
    let up = api.info().await.started_at.unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = now.as_secs() - u64::try_from(up.seconds).unwrap() + 1;
    assert!(
        errors < 50.0 * seconds as f64,
        "{errors} tries in {seconds} s"
    );
    drop(hoard);
    // It has about 32 of its own beside four members and the clients of this test.
    let free = async || open(starved) < LIMIT * 3 / 4;
    wait::holds("free descriptors", SOON, free).await;
    assert_eq!(starved.api().await.list().await.unwrap().len(), 4);
    see(&scene.daemons[0], "node-1", MemberStatus::Alive, SOON).await;
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
}
