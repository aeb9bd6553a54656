//! Disks that are full or take no writes: a daemon goes on in memory, says so, and keeps
//! everything again when it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use muster_proto::v1::UpdateTagsRequest;
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Daemon, DaemonBuilder};

use crate::scene::{Record, Scene, everybody_has, subscribed};

/// A disk that refused is tried again every 10 s.
const TRIED_AGAIN: Duration = Duration::from_secs(45);

/// With a data directory on a disk of its own, of 256 KiB, after this preparation.
fn on_small_disk(builder: DaemonBuilder, first: &str) -> DaemonBuilder {
    let script =
        format!("mkdir -p data && mount -t tmpfs -o size=256k tmpfs data && {first} exec \"$@\"");
    let words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    builder.data_dir().under(&words)
}

/// The data directory as the daemon sees it.
fn data(daemon: &Daemon) -> PathBuf {
    let home = daemon.socket().parent().unwrap().join("data");
    let inside = format!("/proc/{}/root{}", daemon.pid(), home.display());
    PathBuf::from(inside)
}

fn fill(at: &Path) {
    let error = fs::write(at.join("fill"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}

/// Lays a read-only view over the data directory, or takes it away.
fn read_only(daemon: &Daemon, on: bool) {
    let data = daemon.socket().parent().unwrap().join("data");
    let script = if on {
        "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\""
    } else {
        "umount \"$0\""
    };
    let done = Command::new("nsenter")
        .arg(format!("--mount=/proc/{}/ns/mnt", daemon.pid()))
        .args(["sh", "-c", script])
        .arg(data)
        .status();
    assert!(done.unwrap().success());
}

async fn set_tag(daemon: &Daemon, value: &str) {
    let set = [("colour".to_owned(), value.to_owned())].into();
    let request = UpdateTagsRequest {
        set,
        remove: Vec::new(),
    };
    let mut api = daemon.api().await;
    api.node.update_tags(request).await.unwrap();
}

async fn warns(daemon: &Daemon, of: &[&str], limit: Duration) {
    let mut api = daemon.api().await;
    wait::until(&format!("warnings of {of:?}"), limit, async || {
        let warnings = api.info().await.warnings;
        let has = |words: &&&str| warnings.iter().any(|warning| warning.contains(**words));
        let found = of.iter().filter(has).count();
        // Beside these, nothing is said of what is not written.
        let all = warnings
            .iter()
            .filter(|w| w.contains("kept") || w.contains("written"));
        if found == of.len() && all.count() == of.len() {
            Ok(())
        } else {
            Err(format!("{warnings:?}"))
        }
    })
    .await;
}

/// A snapshot that can be read.
fn snapshot(daemon: &Daemon) -> Result<muster_engine::Snapshot, String> {
    let bytes = fs::read(data(daemon).join("snapshot")).map_err(|error| error.to_string())?;
    let body = bytes.get(16..).ok_or("it is cut")?;
    prost::Message::decode(body).map_err(|error| error.to_string())
}

/// When its snapshot was written, once it is there.
async fn saved(daemon: &Daemon) -> u64 {
    let found = async || snapshot(daemon).map(|snapshot| snapshot.saved_unix_ms);
    wait::until("a snapshot", SOON, found).await
}

#[tokio::test]
async fn a_disk_that_fills_up_stops_nothing_and_is_used_again_when_there_is_room() {
    let scene = Scene::started(4, |n, builder| match n {
        1 => on_small_disk(builder, "")
            .arg("--tags-file")
            .arg("data/tags.json"),
        _ => builder,
    });
    scene.together().await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let troubled = &scene.daemons[1];
    let before = saved(troubled).await;
    fill(&data(troubled));
    set_tag(troubled, "red").await;
    warns(
        troubled,
        &["the snapshot is not written", "the tags are not kept"],
        TRIED_AGAIN,
    )
    .await;
    let health = troubled.muster().run(&["health"]).await;
    let said = format!("{}{}", health.stdout, health.stderr);
    assert!(said.contains("No space left"), "{said}");
    // What was there is whole, and the daemon does its work.
    assert_eq!(snapshot(troubled).unwrap().saved_unix_ms, before);
    let mut sent = scene.send(1, 50).await;
    sent.extend(scene.send(2, 50).await);
    everybody_has(&recorder, &sent, SOON).await;
    fs::remove_file(data(troubled).join("fill")).unwrap();
    warns(troubled, &[], TRIED_AGAIN).await;
    wait::until("a newer snapshot", TRIED_AGAIN, async || {
        match snapshot(troubled) {
            Ok(found) if found.saved_unix_ms > before => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    let tags = fs::read_to_string(data(troubled).join("tags.json")).unwrap();
    assert!(tags.contains("red"), "{tags}");
    let record = Record::of(recorder).await;
    record.nobody_failed(&[0, 1, 2, 3], &[0, 1, 2, 3]);
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_for_a_while_is_the_same() {
    let scene = Scene::started(3, |n, builder| match n {
        1 => on_small_disk(builder, ""),
        _ => builder,
    });
    scene.together().await;
    let troubled = &scene.daemons[1];
    let before = saved(troubled).await;
    read_only(troubled, true);
    set_tag(&scene.daemons[0], "red").await;
    warns(troubled, &["the snapshot is not written"], TRIED_AGAIN).await;
    scene.send(1, 50).await;
    assert_eq!(snapshot(troubled).unwrap().saved_unix_ms, before);
    read_only(troubled, false);
    warns(troubled, &[], TRIED_AGAIN).await;
    assert!(snapshot(troubled).unwrap().saved_unix_ms > before);
}

#[tokio::test]
async fn a_daemon_starts_on_a_full_disk_and_keeps_its_boot_when_there_is_room() {
    let full = "cat /dev/zero > data/fill 2>&-; true;";
    let scene = Scene::started(3, |n, builder| match n {
        2 => on_small_disk(builder, full),
        _ => builder,
    });
    scene.together().await;
    let troubled = &scene.daemons[2];
    let lost = ["the boot number is not kept", "the snapshot is not written"];
    warns(troubled, &lost, TRIED_AGAIN).await;
    fs::remove_file(data(troubled).join("fill")).unwrap();
    warns(troubled, &[], TRIED_AGAIN).await;
    assert!(data(troubled).join("boot").exists());
}
