//! A host whose clock was set back.

use std::path::PathBuf;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::harness::{Api, wait};

use crate::cluster_of;

/// Debian's place for the library of its package faketime.
fn libfaketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").expect("no /usr/lib");
    let mut files = places.filter_map(|place| {
        let file = place.ok()?.path().join("faketime/libfaketime.so.1");
        file.exists().then_some(file)
    });
    files
        .next()
        .expect("faketime is missing (Debian: faketime); tests/run.sh installs it")
}

/// Names of the members, the oldest first.
async fn by_age(api: &mut Api) -> Result<Vec<String>, String> {
    let mut members = api.list().await?;
    members.sort_by_key(|m| m.started_at.map(|t| (t.seconds, t.nanos)));
    Ok(members.into_iter().map(|m| m.name).collect())
}

/// It comes back under a higher boot, and does not claim to be the oldest.
#[tokio::test]
async fn a_clock_set_back_an_hour_makes_nobody_younger_or_older() {
    let mut cluster = cluster_of(3).staggered().start().await;
    let before = cluster.sees(0, "node-2", MemberStatus::Alive, SOON).await;
    let mut api = cluster.node(0).api().await;
    cluster.node_mut(2).kill().await;
    let library = libfaketime().display().to_string();
    let clock = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", "-1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    cluster.node_mut(2).restart_with(&clock).await;
    let after = wait::until("the newer boot", DETECTION, async || {
        let members = api.list().await?;
        let found = members.into_iter().find(|m| m.name == "node-2");
        let member = found.ok_or("it is not listed")?;
        if member.boot > before.boot && member.status() == MemberStatus::Alive {
            Ok(member)
        } else {
            Err(format!("{member:?}"))
        }
    })
    .await;
    assert!(
        after.boot < before.boot + 60_000,
        "one above what peers have seen, not a clock: {} after {}",
        after.boot,
        before.boot
    );
    // Seniority: those that were up longer stay older, at every daemon.
    for n in 0..3 {
        let mut api = cluster.node(n).api().await;
        wait::until("the order by age", SOON, async || {
            match by_age(&mut api).await? {
                names if names == ["node-0", "node-1", "node-2"] => Ok(()),
                names => Err(format!("{names:?}")),
            }
        })
        .await;
    }
    let log = cluster.node(2).log();
    assert!(log.contains("boot"), "{log}");
}
