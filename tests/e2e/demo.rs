//! `muster demo`: a cluster to look at, which leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::wait;
use muster_tests::harness::{Muster, Running};

use crate::BIN;

/// The line that a plain demo prints when its cluster is complete.
const ALL_SEEN: &str = "n1 sees n1 n2 n3 n4 n5\n";

fn demo(dir: &Path) -> Muster {
    Muster::new(BIN, dir)
        .env("TMPDIR", &dir.display().to_string())
        .env("XDG_RUNTIME_DIR", &dir.display().to_string())
}

/// A demo that runs until it is ended, once its members see each other.
async fn complete_demo(dir: &Path) -> Running {
    let running = demo(dir).start(&["demo", "--musterd", BIN.musterd, "--plain"]);
    wait::until("the five members", Duration::from_secs(30), async || {
        let text = running.stdout_text();
        if text.contains(ALL_SEEN) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    running
}

/// Daemons under test whose command line names this directory.
fn processes_in(dir: &Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").expect("no /proc");
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let words = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    words.filter(|line| line.contains(&needle)).collect()
}

/// Everything in a directory but the output of commands.
fn left_over(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is gone");
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names
        .filter(|name| !name.starts_with("muster-") || !name.contains('.'))
        .collect()
}

#[tokio::test]
async fn a_short_demo_shows_five_members_and_leaves_nothing_behind() {
    let dir = temp_dir();
    let ran = demo(dir.path())
        .run(&[
            "demo",
            "--musterd",
            BIN.musterd,
            "--plain",
            "--seconds",
            "8",
        ])
        .await
        .expect_code(0);
    for n in 1..=5 {
        assert!(
            ran.stdout.contains(&format!("n{n} listens on 127.0.0.1:")),
            "n{n} in:\n{}",
            ran.stdout
        );
    }
    assert!(ran.stdout.contains(ALL_SEEN), "{}", ran.stdout);
    assert_eq!(processes_in(dir.path()), Vec::<String>::new());
    assert_eq!(left_over(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn ctrl_c_ends_a_demo_and_leaves_nothing_behind() {
    let dir = temp_dir();
    let mut running = complete_demo(dir.path()).await;
    assert_eq!(running.interrupt().await, Some(0));
    assert_eq!(processes_in(dir.path()), Vec::<String>::new());
    assert_eq!(left_over(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_demo_takes_its_daemons_with_it() {
    let dir = temp_dir();
    let mut running = complete_demo(dir.path()).await;
    assert!(processes_in(dir.path()).len() >= 5);
    running.kill().await;
    wait::until(
        "the end of all daemons",
        Duration::from_secs(30),
        async || match processes_in(dir.path()) {
            left if left.is_empty() => Ok(()),
            left => Err(left.join("\n")),
        },
    )
    .await;
}
