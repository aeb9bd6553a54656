//! Daemons that come back with what their disk kept.

use std::path::PathBuf;
use std::sync::Arc;

use muster_proto::v1::{MemberStatus, WatchEventsRequest};
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Cluster, Daemon, EventLog, Security, address};
use rustix::process::Signal;

use crate::{cluster_of, daemon};

fn snapshot_of(daemon: &Daemon) -> PathBuf {
    daemon.socket().with_file_name("data").join("snapshot")
}

/// Waits until the snapshot of a daemon names so many others.
async fn kept(daemon: &Daemon, others: usize) {
    let path = snapshot_of(daemon);
    wait::until("the snapshot", SOON, async || {
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        let body = bytes.get(16..).ok_or("it is cut")?;
        let snapshot: muster_engine::Snapshot =
            prost::Message::decode(body).map_err(|error| error.to_string())?;
        match snapshot.addresses.len() {
            found if found == others => Ok(()),
            found => Err(format!("it has {found} addresses")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_was_killed_at_once_reforms_without_seeds() {
    let dir = Arc::new(temp_dir());
    let key = write_key(dir.path(), "key");
    let base = |name: &str| {
        daemon(name)
            .dir(&dir)
            .security(Security::KeyFile(key.clone()))
            .data_dir()
    };
    let mut daemons = vec![base("node-0").ready().await];
    let first = daemons[0].addr();
    for n in 1..4 {
        // Only now, and by hand: no restart has a seed.
        let daemon = base(&format!("node-{n}")).ready().await;
        daemon.muster().ok(&["join", &first.to_string()]).await;
        daemons.push(daemon);
    }
    for daemon in &daemons {
        see_alive(daemon, 4).await;
    }
    for daemon in &daemons {
        kept(daemon, 3).await;
    }
    for daemon in &mut daemons {
        daemon.kill().await;
    }
    // One comes back somewhere else.
    let moved = base("node-2").bind(address::fresh());
    daemons[2] = moved.ready().await;
    for n in [0, 1, 3] {
        daemons[n].restart().await;
    }
    for daemon in &daemons {
        see_alive(daemon, 4).await;
    }
}

#[tokio::test]
async fn a_daemon_that_left_stays_left_unless_told_to_rejoin() {
    let dir = Arc::new(temp_dir());
    let base = |name: &str| daemon(name).dir(&dir).data_dir();
    let alpha = base("alpha").ready().await;
    let mut beta = base("beta").ready().await;
    beta.muster().ok(&["join", &alpha.addr().to_string()]).await;
    see_alive(&alpha, 2).await;
    beta.signal(Signal::TERM);
    assert_eq!(beta.wait_exit(SOON).await.code(), Some(0));
    see(&alpha, "beta", MemberStatus::Left, SOON).await;
    let boot = see(&alpha, "beta", MemberStatus::Left, SOON).await.boot;

    beta.restart().await;
    wait::until("the log", SOON, async || {
        let log = beta.log();
        if log.contains("joins by its seeds only") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    // Long enough for many tries of a daemon that would try.
    wait::stays(
        "being alone",
        std::time::Duration::from_secs(3),
        async || {
            let members = beta.api().await.list().await?;
            match members.len() {
                1 => Ok(()),
                count => Err(format!("{count} members")),
            }
        },
    )
    .await;
    beta.kill().await;
    beta.restart_with(&[("MUSTER_REJOIN", "true")]).await;
    let back = see(&alpha, "beta", MemberStatus::Alive, SOON).await;
    assert!(back.boot > boot);
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_a_full_disk_is_a_warning() {
    let dir = Arc::new(temp_dir());
    let base = |name: &str| daemon(name).dir(&dir).data_dir();
    let alpha = base("alpha").ready().await;
    let mut beta = base("beta").join(alpha.addr()).ready().await;
    kept(&beta, 1).await;
    beta.kill().await;
    let path = snapshot_of(&beta);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    std::os::unix::fs::symlink("/dev/full", path.with_extension("tmp")).unwrap();
    beta.restart().await;
    see_alive(&alpha, 2).await;
    assert_eq!(
        std::fs::read(path.with_extension("bad")).unwrap(),
        &whole[..whole.len() / 2]
    );
    wait::until("the warning", SOON, async || {
        let log = beta.log();
        if log.contains("the snapshot is not written") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let info = beta.muster().ok(&["info"]).await;
    assert!(info.contains("the snapshot is not written"), "{info}");
    assert!(info.contains("No space left"), "{info}");
}

#[tokio::test]
async fn a_snapshot_of_serf_leads_to_the_cluster() {
    let dir = Arc::new(temp_dir());
    let alpha = daemon("alpha").dir(&dir).ready().await;
    let path = dir.path().join("serf.snapshot");
    std::fs::write(
        &path,
        format!(
            "alive: alpha {}\nevent-clock: 3\nalive: cut 10.",
            alpha.addr()
        ),
    )
    .unwrap();
    let beta = daemon("beta").dir(&dir).arg("--snapshot").arg(&path);
    let beta = beta.ready().await;
    see_alive(&beta, 2).await;
    assert!(path.with_extension("snapshot.serf").exists());
}

#[tokio::test]
async fn events_sent_meanwhile_arrive_and_none_comes_twice() {
    let mut cluster = cluster_of(3)
        .each(|_, builder| builder.data_dir())
        .start()
        .await;
    let send = async |cluster: &Cluster, name: &str| {
        cluster.node(0).muster().ok(&["event", name, "x"]).await;
    };
    send(&cluster, "before-1").await;
    send(&cluster, "before-2").await;
    let names = async |node: &Daemon, count: usize| {
        let request = WatchEventsRequest {
            replay_buffered: true,
            ..Default::default()
        };
        let (mut watch, token) = node.api().await.watch_events(request).await;
        let mut log = EventLog::from_token(&token).expect("begin has a bad token");
        while log.events().len() < count {
            log.apply(&watch.next().await)
                .expect("the promise is broken");
        }
        let names: Vec<String> = log
            .events()
            .iter()
            .map(|event| event.name.clone())
            .collect();
        (names, log.missed())
    };
    assert_eq!(names(cluster.node(2), 2).await.0, ["before-1", "before-2"]);
    // A clean end, and one that leaves no time to write anything.
    cluster.node_mut(2).signal(Signal::INT);
    assert_eq!(cluster.node_mut(2).wait_exit(SOON).await.code(), Some(0));
    send(&cluster, "meanwhile").await;
    cluster
        .node_mut(2)
        .restart_with(&[("MUSTER_REJOIN", "true")])
        .await;
    send(&cluster, "after").await;
    let found = tokio::time::timeout(SOON, names(cluster.node(2), 2)).await;
    assert_eq!(
        found.expect("events are missing"),
        (vec!["meanwhile".to_owned(), "after".to_owned()], 0)
    );
}
