//! Keys that change while the cluster runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::wait::{self, DETECTION, SOON};
use muster_tests::harness::{Cluster, Daemon, DaemonBuilder, Security};
use serde_json::Value;

use crate::{cluster_of, daemon};

/// The text of a key file.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// A keyring file with the key of a key file.
fn keyring_file(home: &Path, name: &str, key_file: &Path) -> PathBuf {
    let path = home.join(name);
    fs::write(&path, format!("[\"{}\"]", text(key_file))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The keys of a keyring file.
fn keys_in(path: &Path) -> Vec<String> {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

async fn list(node: &Daemon) -> Value {
    node.muster().json(&["keys", "list"]).await
}

/// Waits until every one of `nodes` seals with `id` and holds `keys` keys.
async fn settled(node: &Daemon, id: &str, keys: usize) {
    wait::until("one key everywhere", SOON, async || {
        let ran = node
            .muster()
            .run(&["keys", "list", "--format", "json"])
            .await;
        let report: Value =
            serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran:?}"))?;
        let members = report["members"].as_array().cloned().unwrap_or_default();
        let good = members.iter().all(|member| {
            let held = member["keys"].as_array().map_or(0, Vec::len);
            member["primary"] == id && held == keys && member["ok"] == true
        });
        if good { Ok(()) } else { Err(ran.stdout) }
    })
    .await;
}

/// Nobody has ever shown anybody as failed or suspected.
fn nobody_failed(nodes: &[&Daemon]) {
    for node in nodes {
        let log = node.log();
        assert!(!log.contains("failed"), "{}:\n{log}", node.name());
    }
}

/// Names of the members that the watch of a node ever showed as failed.
async fn ever_failed(node: &Daemon) -> BTreeSet<String> {
    let members = node.api().await.list().await.unwrap();
    members
        .iter()
        .filter(|member| {
            let change = member.status_change.as_ref();
            change.is_some_and(|change| change.reason.contains("suspicion"))
        })
        .map(|member| member.name.clone())
        .collect()
}

async fn trio(each: impl Fn(usize, DaemonBuilder) -> DaemonBuilder + Send + 'static) -> Cluster {
    cluster_of(3).each(each).start().await
}

#[tokio::test]
async fn a_node_that_was_down_during_a_rotation_is_back_with_the_new_key() {
    let dir = temp_dir();
    let key = write_key(dir.path(), "old.key");
    let rings: Vec<PathBuf> = (0..3)
        .map(|n| keyring_file(dir.path(), &format!("ring-{n}"), &key))
        .collect();
    let files = rings.clone();
    let mut cluster = trio(move |n, builder| {
        builder
            .security(Security::Unset)
            .arg("--keyring-file")
            .arg(&files[n])
    })
    .await;
    cluster.node_mut(2).kill().await;
    let failed = MemberStatus::Failed;
    cluster.sees(0, "node-2", failed, DETECTION).await;

    let rotated = cluster
        .node(0)
        .muster()
        .json(&["keys", "rotate", "--overlap", "1h"])
        .await;
    assert_eq!(rotated["ok"], true, "{rotated}");
    let (new, old) = (&rotated["id"], &rotated["retired_id"]);
    assert_eq!(keys_in(&rings[0]).len(), 2);
    assert_eq!(keys_in(&rings[2]).len(), 1, "it was down");

    // Back with its old file, and nothing but its old key.
    cluster.node_mut(2).restart().await;
    let all = [cluster.node(0), cluster.node(1), cluster.node(2)];
    for node in all {
        see_alive(node, 3).await;
    }
    settled(cluster.node(2), new.as_str().unwrap(), 2).await;
    assert_eq!(
        keys_in(&rings[2])[0],
        keys_in(&rings[0])[0],
        "primary first"
    );
    let mode = fs::metadata(&rings[2]).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    // The old one goes, and everybody stays.
    let old = old.as_str().unwrap();
    let removed = cluster
        .node(1)
        .muster()
        .json(&["keys", "remove", old])
        .await;
    assert_eq!(removed["ok"], true, "{removed}");
    settled(cluster.node(0), new.as_str().unwrap(), 1).await;
    for node in all {
        see_alive(node, 3).await;
    }
    for (n, ring) in rings.iter().enumerate() {
        assert_eq!(keys_in(ring).len(), 1, "node-{n}");
    }
}

#[tokio::test]
async fn a_retired_key_goes_by_itself_and_a_rotation_outlives_a_restart() {
    let mut cluster = cluster_of(3)
        .each(|_, builder| builder.data_dir())
        .start()
        .await;
    let rotated = cluster
        .node(0)
        .muster()
        .json(&["keys", "rotate", "--overlap", "2s"])
        .await;
    let new = rotated["id"].as_str().unwrap().to_owned();
    settled(cluster.node(1), &new, 1).await;
    // All at once, with the old key file: what they kept is what counts.
    for n in 0..3 {
        cluster.node_mut(n).kill().await;
    }
    for n in 0..3 {
        cluster.node_mut(n).restart().await;
    }
    let all = [cluster.node(0), cluster.node(1), cluster.node(2)];
    for node in all {
        see_alive(node, 3).await;
    }
    settled(cluster.node(2), &new, 1).await;
    let warnings = cluster.node(0).api().await.info().await.warnings.join("\n");
    assert!(warnings.contains("changed at run time"), "{warnings}");
}

#[tokio::test]
async fn the_pipes_of_a_removed_key_are_closed_and_no_secret_is_shown() {
    let cluster = cluster_of(3).start().await;
    let node = cluster.node(0);
    let dir = temp_dir();
    let secret = dir.path().join("new.key");
    let out = secret.to_str().unwrap();
    let installed = node.muster().json(&["keys", "install", "--out", out]).await;
    let new = installed["id"].as_str().unwrap();
    let before = list(node).await;
    assert_eq!(before["keys"].as_array().unwrap().len(), 2);
    let old = before["members"][0]["primary"].as_str().unwrap().to_owned();
    node.muster().ok(&["keys", "use", new]).await;
    let table = node.muster().ok(&["keys", "remove", &old]).await;
    assert!(
        table.contains("removed") && table.contains("3 of 3"),
        "{table}"
    );
    let counters = node.api().await.info().await.counters;
    let closed = counters["pipes_closed_key_removed"];
    let others = cluster.node(1).api().await.info().await.counters["pipes_closed_key_removed"];
    assert!(closed + others > 0, "no pipe was open under the old key");
    see_alive(node, 3).await;

    let secrets = [text(&secret), text(cluster.key_file())];
    let ps = Command::new("ps").args(["axww", "-o", "args"]).output();
    let ps = ps.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).into(),
    );
    let told = [
        table,
        installed.to_string(),
        list(node).await.to_string(),
        ps,
    ];
    let logs = cluster.nodes().iter().map(Daemon::log);
    for told in told.into_iter().chain(logs) {
        for secret in &secrets {
            assert!(!told.contains(secret.as_str()), "{told}");
        }
    }
}

#[tokio::test]
async fn changes_that_would_cut_members_off_are_refused() {
    let cluster = cluster_of(2).start().await;
    let node = cluster.node(0);
    let before = list(node).await;
    let primary = before["keys"][0]["id"].as_str().unwrap();
    let refused = |args: &[&str], code: i32, word: &'static str| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let muster = node.muster();
        async move {
            let ran = muster.run(&args).await.expect_code(code);
            assert!(ran.stderr.contains(word), "{ran:?}");
        }
    };
    refused(&["keys", "remove", primary], 1, "last one").await;
    refused(&["keys", "use", "0badcafe"], 3, "no key 0badcafe").await;
    refused(&["keys", "use", "nonsense"], 2, "8 hexadecimal digits").await;
    refused(&["keys", "encryption", "receive"], 1, "go to stage send").await;
    let installed = node.muster().json(&["keys", "install"]).await;
    assert_eq!(installed["keys"].as_array().unwrap().len(), 2);
    refused(&["keys", "remove", primary], 1, "is the primary").await;
    let ran = node
        .muster()
        .stdin("not a key\n")
        .run(&["keys", "install", "-"])
        .await;
    let ran = ran.expect_code(2);
    assert!(ran.stderr.contains("base64"), "{ran:?}");
    assert_eq!(list(node).await["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn encryption_is_turned_on_in_a_running_cluster() {
    let dir = temp_dir();
    let key = write_key(dir.path(), "new.key");
    let cluster = trio(|_, builder| builder.security(Security::Plaintext).data_dir()).await;
    let all = [cluster.node(0), cluster.node(1), cluster.node(2)];
    let key = key.to_str().unwrap();

    // Keys are never given in clear.
    let ran = cluster
        .node(0)
        .muster()
        .run(&["keys", "install", key])
        .await;
    let ran = ran.expect_code(1);
    assert!(ran.stderr.contains("--local"), "{ran:?}");
    for node in all {
        let ran = node
            .muster()
            .json(&["keys", "install", "--local", key])
            .await;
        assert_eq!(ran["members"][0]["stage"], "receive", "{ran}");
        wait::stays("everybody alive", Duration::from_secs(1), async || {
            everybody_alive(node).await
        })
        .await;
    }
    for stage in ["send", "on"] {
        let ran = cluster
            .node(1)
            .muster()
            .json(&["keys", "encryption", stage])
            .await;
        assert_eq!(ran["ok"], true, "{ran}");
        for node in all {
            wait::stays("everybody alive", Duration::from_secs(2), async || {
                everybody_alive(node).await
            })
            .await;
        }
    }
    for node in all {
        see_alive(node, 3).await;
    }
    for node in all {
        let info = node.api().await.info().await;
        assert!(info.encrypted, "{:?}", info.warnings);
        assert!(
            !info.warnings.join(" ").contains("plaintext"),
            "{:?}",
            info.warnings
        );
        assert_eq!(ever_failed(node).await, BTreeSet::new());
        assert!(
            node.log().contains("PLAINTEXT IS ACCEPTED"),
            "{}",
            node.log()
        );
    }
    nobody_failed(&all);
    // One without a key is out now.
    let stranger = daemon("stranger")
        .join(cluster.node(0).addr())
        .ready()
        .await;
    wait::stays(
        "being alone",
        Duration::from_secs(2),
        async || match stranger.api().await.list().await?.len() {
            1 => Ok(()),
            count => Err(format!("{count} members")),
        },
    )
    .await;
}

async fn everybody_alive(node: &Daemon) -> Result<(), String> {
    let members = node.api().await.list().await?;
    match members
        .iter()
        .filter(|member| member.status() == MemberStatus::Alive)
        .count()
    {
        3 => Ok(()),
        count => Err(format!("{count} of 3 alive")),
    }
}

#[tokio::test]
async fn bad_keyring_files_are_refused_by_name_and_place() {
    let dir = temp_dir();
    let key = write_key(dir.path(), "a.key");
    let good = keyring_file(dir.path(), "good", &key);
    let half = &fs::read(&good).unwrap()[..20];
    let cases = [
        ("half", half, 0o600, "line 1"),
        ("open", &fs::read(&good).unwrap()[..], 0o644, "chmod 600"),
        ("empty", b"[]", 0o600, "no key"),
    ];
    for (name, bytes, mode, word) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let builder = daemon("bad").security(Security::Unset);
        let (code, log) = builder.arg("--keyring-file").arg(&path).refused().await;
        assert_eq!(code, Some(78), "{log}");
        assert!(
            log.contains(word) && log.contains(path.to_str().unwrap()),
            "{log}"
        );
        assert!(!log.contains(&text(&key)[..8]), "{log}");
    }
    // It begins with the key of a key file where it is missing, and is written by the
    // first change.
    let path = dir.path().join("new");
    let builder = daemon("one").security(Security::KeyFile(key));
    let node = builder.arg("--keyring-file").arg(&path).ready().await;
    node.muster().ok(&["keys", "install"]).await;
    assert_eq!(keys_in(&path).len(), 2);
}
