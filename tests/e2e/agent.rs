//! Running an agent: reload, tags that stay, the live log, signals, and the command line
//! of serf.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::process::clean_command;
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Muster, Process, address};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{BIN, daemon};

/// A key of these tests.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn logs(node: &muster_tests::harness::Daemon, text: &str) {
    wait::holds(text, SOON, async || node.log().contains(text)).await;
}

#[tokio::test]
async fn a_reload_with_mistakes_keeps_the_old_and_a_good_one_applies_what_it_can() {
    let dir = temp_dir();
    let file = dir.path().join("musterd.toml");
    std::fs::write(&file, "tag = { zone = \"a\" }\n").unwrap();
    let mut node = daemon("one").arg("--config").arg(&file).ready().await;
    let muster = node.muster();

    std::fs::write(
        &file,
        "tag = { zone = \"b\" }\nno-such = 1\ndrain-timeout = \"x\"\n",
    )
    .unwrap();
    node.signal(Signal::HUP);
    logs(&node, "was not reloaded: the old one stays").await;
    for mistake in ["no-such", "drain-timeout"] {
        assert!(node.log().contains(mistake), "{}", node.log());
    }
    let refused = muster.run(&["reload"]).await.expect_code(1);
    assert!(refused.stderr.contains("no-such"), "{}", refused.stderr);
    assert_eq!(muster.json(&["tags"]).await["tags"], json!({"zone": "a"}));

    let good = "tag = { zone = \"b\" }\nlog-filter = \"info,musterd=debug\"\nreap-left = \"7m\"\n";
    std::fs::write(&file, good).unwrap();
    let told = muster.json(&["reload"]).await;
    let applied = told["applied"].as_array().unwrap();
    assert_eq!(applied.len(), 2, "{told}");
    assert_eq!(told["waiting"], json!(["reap-left: \"10m\" -> \"7m\""]));
    assert_eq!(muster.json(&["tags"]).await["tags"], json!({"zone": "b"}));
    let info = muster.json(&["info"]).await;
    assert_eq!(info["log_filter"], "info,musterd=debug");
    logs(&node, "reload: tag: \"zone=a\" -> \"zone=b\"").await;
    // What waits for a restart is told again.
    let again = muster.json(&["reload"]).await;
    assert_eq!(
        (
            again["applied"].as_array().unwrap().len(),
            &again["waiting"]
        ),
        (0, &told["waiting"])
    );
}

#[tokio::test]
async fn tags_changed_at_run_time_survive_reloads_and_restarts() {
    let dir = temp_dir();
    let file = dir.path().join("tags.json");
    let mut node = daemon("one")
        .tag("zone", "a")
        .tag("disk", "ssd")
        .arg("--tags-file")
        .arg(&file)
        .ready()
        .await;
    let muster = node.muster();
    drop(
        muster
            .ok(&[
                "tags", "--set", "zone=b", "--set", "run=1", "--delete", "disk",
            ])
            .await,
    );
    let expected = json!({"run": "1", "zone": "b"});
    for _ in 0..2 {
        node.signal(Signal::HUP);
        drop(muster.ok(&["reload"]).await);
        assert_eq!(muster.json(&["tags"]).await["tags"], expected);
    }
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.kill().await;
    node.restart().await;
    assert_eq!(muster.json(&["tags"]).await["tags"], expected);

    // Half of a file is a mistake at the start, and stays where it is.
    node.kill().await;
    std::fs::write(&file, "{\"zone\": \"").unwrap();
    let (code, log) = daemon("two").arg("--tags-file").arg(&file).refused().await;
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("tags.json") && log.contains("no JSON"),
        "{log}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"zone\": \"");
}

#[tokio::test]
async fn the_monitor_shows_log_members_and_events() {
    let node = daemon("one").ready().await;
    let muster = node.muster();
    let mut monitor = muster.start(&["monitor", "--format", "json", "--log-level", "debug"]);
    let up = monitor
        .json_line_where(|line| line["message"] == "musterd is up")
        .await;
    assert_eq!((&up["type"], &up["level"]), (&json!("log"), &json!("info")));
    let other = daemon("two").join(node.addr()).ready().await;
    let joined = monitor
        .json_line_where(|line| line["type"] == "member")
        .await;
    assert_eq!(
        (&joined["change"], &joined["member"]["name"]),
        (&json!("added"), &json!("two"))
    );
    drop(other.muster().ok(&["event", "deploy", "7"]).await);
    let event = monitor
        .json_line_where(|line| line["type"] == "event")
        .await;
    assert_eq!(
        (&event["name"], &event["payload"]),
        (&json!("deploy"), &json!("7"))
    );
    assert_eq!(monitor.interrupt().await, Some(0));
    let ended = muster.ok(&["monitor", "--no-follow"]).await;
    assert!(ended.contains("musterd is up"), "{ended}");
}

#[tokio::test]
async fn usr1_writes_the_state_to_standard_error() {
    let mut node = daemon("one").arg("--log-filter=off").ready().await;
    node.signal(Signal::USR1);
    logs(&node, "dump: # EOF").await;
    for part in [
        "dump: member one 127.",
        "dump: members 1 shown",
        "dump: muster_build_info",
    ] {
        assert!(node.log().contains(part), "{part}: {}", node.log());
    }
}

#[tokio::test]
async fn lines_for_the_journal_carry_their_priority() {
    let dir = Arc::new(temp_dir());
    let home = dir.path().join("one");
    std::fs::create_dir(&home).unwrap();
    // Where the harness sends standard error.
    let stderr = std::fs::File::create(home.join("one.err")).unwrap();
    let meta = stderr.metadata().unwrap();
    let stream = format!("{}:{}", meta.dev(), meta.ino());
    let node = daemon("one").dir(&dir).env("JOURNAL_STREAM", &stream);
    let node = node.env("MUSTER_NO_SUCH", "1").ready().await;
    logs(&node, "<6>musterd::daemon: musterd is up name=\"one\"").await;
    logs(
        &node,
        "<4>musterd::daemon: environment variable MUSTER_NO_SUCH",
    )
    .await;
}

/// A directory with the link `serf`, and `muster` beside it.
fn links() -> (TempDir, PathBuf) {
    let dir = temp_dir();
    let serf = dir.path().join("serf");
    symlink(BIN.musterd, &serf).unwrap();
    (dir, serf)
}

fn agent(dir: &Path, serf: &Path, name: &str, addr: SocketAddr, more: &[&str]) -> Process {
    let bind = format!("-bind={addr}");
    let mut args = vec!["agent", "-node", name, &bind];
    args.extend(more);
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let socket = dir.join(format!("{name}.sock")).display().to_string();
    // Not that of another agent on this machine.
    let rpc = address::fresh().to_string();
    let env = [
        ("MUSTER_SOCKET".to_owned(), socket),
        ("MUSTER_SERF_RPC".to_owned(), rpc),
    ];
    Process::start(name, serf.as_os_str(), &args, &env, dir, Stdio::null())
}

fn muster(dir: &Path, name: &str) -> Muster {
    Muster::new(BIN, dir).socket(&dir.join(format!("{name}.sock")))
}

async fn two_members(dir: &Path, name: &str) {
    let muster = muster(dir, name);
    let args = ["wait", "--members", "2", "--timeout", "15s"];
    wait::until("two members", SOON, async || {
        let ran = muster.run(&args).await;
        (ran.code == Some(0)).then_some(()).ok_or(ran.stderr)
    })
    .await;
}

#[tokio::test]
async fn an_agent_of_serf_without_a_key_ends_and_says_what_to_add() {
    let (dir, serf) = links();
    let mut refused = agent(dir.path(), &serf, "none", address::fresh(), &[]);
    assert_eq!(refused.wait_exit(SOON).await.code(), Some(78));
    let told = refused.stderr_text();
    assert!(told.contains("-encrypt"), "{told}");
}

#[tokio::test]
async fn agents_of_serf_with_a_key_form_a_cluster() {
    let (dir, serf) = links();
    let dir = dir.path();
    let (one, two) = (address::fresh(), address::fresh());
    let mut first = agent(
        dir,
        &serf,
        "one",
        one,
        &["-encrypt", KEY, "-tag", "dc=east"],
    );
    let conf = dir.join("conf.d");
    std::fs::create_dir(&conf).unwrap();
    let json = json!({"start_join": [one.to_string()], "tags": {"dc": "west"}, "encrypt_key": KEY});
    std::fs::write(conf.join("a.json"), json.to_string()).unwrap();
    let conf = format!("-config-dir={}", conf.display());
    let mut second = agent(dir, &serf, "two", two, &[&conf, "-log-level=warn"]);
    two_members(dir, "one").await;
    two_members(dir, "two").await;
    let list = muster(dir, "two").json(&["members"]).await;
    assert_eq!(list["members"][0]["tags"], json!({"dc": "east"}));
    assert_eq!(list["members"][1]["tags"], json!({"dc": "west"}));
    // The key is not in the list of processes.
    for process in [&first, &second] {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap();
        assert!(
            !String::from_utf8_lossy(&line).contains("MDEyMz"),
            "{line:?}"
        );
    }

    // With serf's output and exit codes.
    let says = async |args: &[&str]| {
        muster(dir, "one")
            .run(&[&["serf"][..], args].concat())
            .await
    };
    let members = says(&["members", "-tag", "dc=w.*"])
        .await
        .expect_code(0)
        .stdout;
    assert_eq!(members, format!("two  {two}  alive  dc=west\n"));
    let none = says(&["members", "-name", "nobody"])
        .await
        .expect_code(0)
        .stdout;
    assert_eq!(none, "\n");
    let event = says(&["event", "-coalesce=false", "deploy", "1"])
        .await
        .expect_code(0)
        .stdout;
    assert_eq!(
        event,
        "Event 'deploy' dispatched! Coalescing enabled: false\n"
    );
    let set = says(&["tags", "-set", "x=1", "-delete", "dc"])
        .await
        .expect_code(0)
        .stdout;
    assert_eq!(set, "Successfully updated agent tags\n");
    drop(says(&["force-leave", "nobody"]).await.expect_code(1));
    drop(says(&["nonsense"]).await.expect_code(1));

    // A graceful leave is 0, anything else 1.
    second.signal(Signal::INT);
    assert_eq!(second.wait_exit(SOON).await.code(), Some(0));
    let left = says(&["members", "-status", "left"]).await.stdout;
    assert!(left.starts_with("two  "), "{left}");
    let leave = says(&["leave"]).await.expect_code(0).stdout;
    assert_eq!(leave, "Graceful leave complete\n");
    assert_eq!(first.wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn an_agent_of_serf_that_does_not_leave_exits_with_1() {
    let (dir, serf) = links();
    let dir = dir.path();
    let conf = dir.join("a.json");
    let json =
        json!({"leave_on_terminate": false, "skip_leave_on_interrupt": true, "encrypt_key": KEY});
    std::fs::write(&conf, json.to_string()).unwrap();
    let conf = format!("-config-file={}", conf.display());
    for signal in [Signal::TERM, Signal::INT] {
        let mut one = agent(dir, &serf, "one", address::fresh(), &[&conf]);
        let socket = dir.join("one.sock");
        wait::holds("the socket", SOON, async || socket.exists()).await;
        one.signal(signal);
        assert_eq!(one.wait_exit(SOON).await.code(), Some(1), "{signal:?}");
    }
}

#[tokio::test]
async fn commands_of_serf_that_need_no_daemon_answer_themselves() {
    let (_dir, serf) = links();
    let run = |args: &[&str]| {
        let mut command = clean_command(serf.as_os_str());
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, version, _) = run(&["version"]);
    assert_eq!(code, Some(0));
    assert!(
        version.contains("Agent Protocol: 5 (Understands back to: 2)"),
        "{version}"
    );
    let (_, key, _) = run(&["keygen"]);
    assert_eq!(key.trim().len(), 44, "{key}");
    assert_ne!(run(&["keygen"]).1, key);
    let (code, _, usage) = run(&["nonsense"]);
    assert_eq!(code, Some(127));
    assert!(usage.contains("reachability"), "{usage}");
    let (code, help, _) = run(&["agent", "-h"]);
    assert!(code == Some(0) && help.contains("-retry-join"), "{help}");
    let (code, _, error) = run(&["agent", "-nosuch", "-bind=nowhere:x", "-encrypt=c2hvcnQ="]);
    assert_eq!(code, Some(78));
    for part in ["-nosuch", "-bind", "-encrypt"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("c2hvcnQ"), "{error}");
}
