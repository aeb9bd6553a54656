use std::collections::BTreeMap;
use std::path::Path;

use muster_engine::{Config, Engine, Limits, Now, Time};

use super::*;

fn store(path: &Path, rejoin: bool) -> Snapshots {
    Snapshots::new(SnapshotConfig {
        file: Some(path.to_owned()),
        rejoin,
        cluster: "c".to_owned(),
    })
}

fn snapshot(addresses: &[&str]) -> Snapshot {
    let addresses: Vec<_> = addresses.iter().map(|addr| addr.parse().unwrap()).collect();
    Snapshot::of_addresses("c", &addresses)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_is_kept_without_a_file() {
    let none = Snapshots::new(SnapshotConfig {
        file: None,
        rejoin: false,
        cluster: "c".to_owned(),
    });
    assert!(none.load().snapshot.is_none());
    assert_eq!(none.warning(), None);
}

#[test]
fn what_was_written_is_found_and_garbage_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let file = StoredFile::new(path.clone());
    assert!(store(&path, false).load().snapshot.is_none());
    file.write(&snapshot(&["10.0.0.1:7946"])).unwrap();
    let found = store(&path, false).load().snapshot.unwrap();
    assert_eq!(found.addresses, ["10.0.0.1:7946"]);
    // Cut, overwritten, or of somebody else.
    let whole = std::fs::read(&path).unwrap();
    let mut other = snapshot(&[]);
    other.cluster = "d".to_owned();
    for bytes in [&whole[..whole.len() - 1], b"", b"garbage\n", b"\0\xFF"] {
        std::fs::write(&path, bytes).unwrap();
        assert!(store(&path, false).load().snapshot.is_none());
        assert_eq!(names(dir.path()), ["snapshot.bad"]);
    }
    file.write(&other).unwrap();
    assert!(store(&path, false).load().snapshot.is_none());
    assert_eq!(names(dir.path()), ["snapshot.bad"]);
}

#[test]
fn whoever_left_stays_left_unless_it_is_told_to_rejoin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let mut left = snapshot(&["10.0.0.1:7946"]);
    (left.left, left.lamport) = (true, 9);
    StoredFile::new(path.clone()).write(&left).unwrap();
    let restored = store(&path, false).load();
    assert!(restored.stays_left);
    let found = restored.snapshot.unwrap();
    assert_eq!((found.addresses.len(), found.lamport), (0, 9));
    let restored = store(&path, true).load();
    assert!(!restored.stays_left);
    assert_eq!(restored.snapshot.unwrap().addresses.len(), 1);
}

#[test]
fn a_snapshot_of_serf_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap");
    let text = "alive: a 127.9.9.1:7946\nalive: b [fd00::2]:7946\nevent-clock: 41\n";
    std::fs::write(&path, text).unwrap();
    for _ in 0..2 {
        let found = store(&path, false).load().snapshot.unwrap();
        assert_eq!(found.addresses, ["127.9.9.1:7946", "[fd00::2]:7946"]);
        assert_eq!((found.lamport, found.joined), (42, false));
        assert!(StoredFile::is_ours(&std::fs::read(&path).unwrap()));
    }
    assert_eq!(names(dir.path()), ["snap", "snap.serf"]);
    let kept = std::fs::read_to_string(dir.path().join("snap.serf")).unwrap();
    assert_eq!(kept, text);
}

#[test]
fn a_directory_in_its_place_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), false);
    assert!(store.load().snapshot.is_none());
    assert!(store.warning().unwrap().contains("cannot be read"));
}

fn keeper(path: &Path) -> Keeper {
    Keeper {
        store: store(path, false),
        file: StoredFile::new(path.to_owned()),
        hold: false,
        next: Instant::now(),
        failed: false,
    }
}

#[tokio::test]
async fn a_full_disk_is_a_warning_that_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/snapshot");
    let mut keeper = keeper(&path);
    keeper.write(snapshot(&["10.0.0.1:1"])).await;
    assert!(!keeper.failed && keeper.store.warning().is_none());
    let temporary = dir.path().join("sub/snapshot.tmp");
    std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
    keeper.write(snapshot(&["10.0.0.2:1"])).await;
    let warning = keeper.store.warning().unwrap();
    assert!(
        keeper.failed && warning.contains("No space left"),
        "{warning}"
    );
    assert!(
        keeper.next > Instant::now() + WRITE_EVERY,
        "it waits before the next try"
    );
    let found = store(&path, false).load().snapshot.unwrap();
    assert_eq!(found.addresses, ["10.0.0.1:1"], "the old one is whole");
    keeper.write(snapshot(&["10.0.0.3:1"])).await;
    assert!(!keeper.failed && keeper.store.warning().is_none());
}

#[tokio::test]
async fn what_a_left_node_knew_is_kept_until_it_meets_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let mut keeper = keeper(&path);
    keeper.write(snapshot(&["10.0.0.1:1"])).await;
    keeper.hold = true;
    keeper.write(snapshot(&[])).await;
    assert_eq!(
        store(&path, false).load().snapshot.unwrap().addresses.len(),
        1
    );
    keeper.write(snapshot(&["10.0.0.2:1"])).await;
    keeper.write(snapshot(&[])).await;
    assert_eq!(
        store(&path, false).load().snapshot.unwrap().addresses.len(),
        0
    );
}

#[test]
fn a_large_snapshot_is_written_less_often() {
    assert_eq!(pause(1_000), WRITE_EVERY);
    assert_eq!(pause(32 << 20), Duration::from_secs(128));
}

#[test]
fn an_engine_takes_in_whatever_decodes() {
    let now = Now {
        at: Time::from_micros(0),
        unix_ms: 1_000,
    };
    let config = Config {
        name: "one".to_owned(),
        cluster: "c".to_owned(),
        advertise: "10.0.0.1:7946".parse().unwrap(),
        boot: 1,
        tags: BTreeMap::new(),
        roles: Vec::new(),
        version: "0".to_owned(),
        keyring: None,
        limits: Limits::default(),
        reap_left: Duration::from_secs(1),
        reap_failed: Duration::from_secs(1),
        coordinates: true,
        retry_interval: Duration::from_secs(5),
    };
    let mut engine = Engine::new(config, 1, now);
    let mut odd = snapshot(&["10.0.0.2:1", "0.0.0.0:1", "[::1]:0"]);
    odd.addresses.push("nonsense".to_owned());
    (odd.saved_unix_ms, odd.lamport) = (u64::MAX, u64::MAX);
    engine.restore(now, &odd);
    let kept = engine.snapshot(now);
    assert_eq!(kept.addresses, ["10.0.0.2:1"]);
    assert!(kept.lamport < 10);
}
