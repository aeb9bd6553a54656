//! The command line: every command, its JSON, its exit codes.

use std::process::Stdio;
use std::time::Duration;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::see;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::process::clean_command;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use muster_tests::harness::{Muster, Security};
use serde_json::{Value, json};

use crate::{BIN, cluster_of, daemon};

#[tokio::test]
async fn members_are_listed_as_a_table_and_as_json() {
    let cluster = cluster_of(3)
        .each(|n, builder| {
            if n == 1 {
                builder.role("web").tag("zone", "a")
            } else {
                builder
            }
        })
        .start()
        .await;
    let muster = cluster.node(0).muster();
    let table = muster.ok(&["members"]).await;
    for word in ["node-0", "node-1", "node-2", "alive", "web", "zone=a"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "colours in a pipe:\n{table}");
    let list = muster.json(&["members"]).await;
    let members = list["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(
        (&members[1]["name"], &members[1]["status"]),
        (&json!("node-1"), &json!("alive"))
    );
    assert_eq!(members[1]["tags"], json!({"zone": "a"}));
    assert_eq!(members[1]["roles"][0]["role"], "web");
    let one = muster.json(&["members", "--role", "web"]).await;
    assert_eq!(one["members"].as_array().unwrap().len(), 1);
    drop(
        muster
            .run(&["members", "--status", "failed"])
            .await
            .expect_code(3),
    );
    says(
        &muster
            .run(&["members", "--tag", "zone=("])
            .await
            .expect_code(2)
            .stderr,
        "zone",
    );
}

#[tokio::test]
async fn roles_resolve_as_words_and_as_json() {
    let node = daemon("one").role("web=10.0.0.1:80").ready().await;
    let muster = node.muster();
    assert!(muster.ok(&["resolve", "web"]).await.contains("10.0.0.1"));
    let answer = muster.json(&["resolve", "web"]).await;
    assert_eq!(answer["role"], "web");
    let endpoint = &answer["endpoints"][0];
    assert_eq!(
        (&endpoint["member"], &endpoint["address"], &endpoint["port"]),
        (&json!("one"), &json!("10.0.0.1"), &json!(80))
    );
    muster.run(&["resolve", "nobody"]).await.expect_code(3);
    muster.run(&["resolve", "-bad"]).await.expect_code(2);
    let roles = muster.json(&["roles"]).await;
    assert_eq!(
        (&roles["roles"][0]["role"], &roles["roles"][0]["alive"]),
        (&json!("web"), &json!(1))
    );
}

#[tokio::test]
async fn events_are_sent_and_watched() {
    let cluster = cluster_of(2).start().await;
    let mut watch = cluster
        .node(1)
        .muster()
        .start(&["watch", "events", "--format", "json"]);
    subscribed(&cluster.node(1).muster(), 1).await;
    let muster = cluster.node(0).muster();
    muster.ok(&["event", "deploy", "version 7"]).await;
    muster
        .clone()
        .stdin("from a pipe")
        .ok(&["event", "deploy", "-"])
        .await;
    let first = watch.json_line_where(|line| line["type"] == "event").await;
    assert_eq!(
        (&first["name"], &first["payload"], &first["origin"]),
        (&json!("deploy"), &json!("version 7"), &json!("node-0"))
    );
    let second = watch.json_line_where(|line| line["type"] == "event").await;
    assert_eq!(
        (&second["payload"], &second["sequence"]),
        (&json!("from a pipe"), &json!(2))
    );
    watch.interrupt().await;
    says(
        &muster
            .run(&["event", "bad name"])
            .await
            .expect_code(1)
            .stderr,
        "bad event name",
    );
    muster.run(&["event"]).await.expect_code(2);
}

/// An error that names what was wrong.
fn says(stderr: &str, word: &str) {
    assert!(stderr.contains(word), "{word} is missing in: {stderr}");
}

/// Waits until the daemon serves that many streams: a watch that runs as another
/// process is subscribed then.
async fn subscribed(muster: &Muster, streams: u64) {
    wait::until("the watch to be subscribed", SOON, async || {
        let info = muster.json(&["info"]).await;
        let text = info.to_string();
        let open = info["counters"]["calls_open"].as_u64();
        if open.is_some_and(|open| open > streams) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test]
async fn a_payload_that_is_no_text_is_shown_in_base64() {
    let node = daemon("one").ready().await;
    let file = node.socket().with_file_name("payload");
    std::fs::write(&file, [0xff, 0x00, 0xfe]).unwrap();
    let script = format!("exec {} event raw - < {}", BIN.muster, file.display());
    let status = clean_command("sh".as_ref())
        .args(["-c", &script])
        .env("MUSTER_SOCKET", node.socket())
        .status()
        .unwrap();
    assert!(status.success());
    let line = node
        .muster()
        .ok(&[
            "watch", "events", "--replay", "--count", "1", "--format", "json",
        ])
        .await;
    let event: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert_eq!(event["payload_base64"], "/wD+");
    assert!(event.get("payload").is_none());
}

#[tokio::test]
async fn a_batch_goes_over_one_stream_in_order() {
    let node = daemon("one").ready().await;
    let lines: String = (0..50)
        .map(|n| format!("[\"step\", {{\"n\": {n}}}]\n"))
        .collect();
    node.muster()
        .stdin(&lines)
        .ok(&["event", "--batch", "-"])
        .await;
    let text = node
        .muster()
        .ok(&[
            "watch", "events", "--replay", "--count", "50", "--format", "json",
        ])
        .await;
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&Value> = events
        .iter()
        .filter(|line| line["type"] == "event")
        .collect();
    assert_eq!(events.len(), 50);
    for (n, event) in events.iter().enumerate() {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&event["name"], &payload),
            (&json!("step"), &json!({ "n": n }))
        );
    }
}

#[tokio::test]
async fn a_bad_line_of_a_batch_is_named_and_the_exit_code_tells() {
    let node = daemon("one").ready().await;
    let lines = "[\"good\", 1]\nnonsense\n[\"good\", 2]\n";
    let ran = node
        .muster()
        .stdin(lines)
        .run(&["event", "--batch", "-"])
        .await;
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(ran.stdout.contains("line 2"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_watch_of_members_prints_a_json_object_a_line() {
    let mut cluster = cluster_of(2).start().await;
    let mut watch = cluster
        .node(0)
        .muster()
        .start(&["watch", "members", "--format", "json"]);
    let first = watch.json_line().await;
    assert!(first.to_string().contains("node-1"), "{first}");
    cluster.node_mut(1).kill().await;
    let failed = tokio::time::timeout(
        DETECTION,
        watch.json_line_where(|line| line.to_string().contains("\"failed\"")),
    );
    failed.await.expect("no line tells of the failed member");
    watch.interrupt().await;
}

#[tokio::test]
async fn join_leave_and_force_leave_do_what_they_say() {
    let (first, mut second) = (
        daemon("first").ready().await,
        daemon("second").ready().await,
    );
    let muster = first.muster();
    muster.ok(&["join", &second.addr().to_string()]).await;
    muster
        .ok(&["wait", "--members", "2", "--timeout", "30s"])
        .await;
    says(
        &muster
            .run(&["force-leave", "second"])
            .await
            .expect_code(1)
            .stderr,
        "alive",
    );
    says(
        &muster
            .run(&["force-leave", "nobody"])
            .await
            .expect_code(3)
            .stderr,
        "nobody",
    );
    second.kill().await;
    see(&first, "second", MemberStatus::Failed, DETECTION).await;
    muster.ok(&["force-leave", "second"]).await;
    see(&first, "second", MemberStatus::Left, SOON).await;

    let nobody = daemon("nobody").addr().to_string();
    says(
        &muster.run(&["join", &nobody]).await.expect_code(1).stderr,
        &nobody,
    );
    let mut third = daemon("third").join(first.addr()).ready().await;
    third.muster().ok(&["leave"]).await;
    assert_eq!(third.wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn tags_are_printed_set_and_deleted() {
    let node = daemon("one").tag("zone", "a").ready().await;
    let muster = node.muster();
    assert!(muster.ok(&["tags"]).await.contains("zone"));
    muster
        .ok(&[
            "tags", "--set", "zone=b", "--set", "x=1", "--delete", "none",
        ])
        .await;
    muster.ok(&["tags", "--delete", "x"]).await;
    let me = &muster.json(&["members"]).await["members"][0];
    assert_eq!(me["tags"], json!({"zone": "b"}));
    drop(
        muster
            .run(&["tags", "--set", "nonsense"])
            .await
            .expect_code(2),
    );
}

#[tokio::test]
async fn info_health_and_version_describe_the_daemon() {
    let node = daemon("one").ready().await;
    let muster = node.muster();
    let info = muster.json(&["info"]).await;
    assert!(info.to_string().contains("\"one\""), "{info}");
    assert_eq!(
        (&info["cluster"], &info["encrypted"]),
        (&json!("test"), &json!(false))
    );
    assert!(muster.ok(&["info"]).await.contains("one"));
    assert!(muster.ok(&["info", "--metrics"]).await.ends_with("# EOF\n"));
    muster.ok(&["health"]).await;
    assert!(
        muster
            .ok(&["version"])
            .await
            .contains(env!("CARGO_PKG_VERSION"))
    );
    muster.ok(&["log-level", "debug"]).await;
}

#[tokio::test]
async fn a_wait_that_is_not_met_ends_with_5() {
    let node = daemon("one").ready().await;
    let muster = node.muster();
    muster
        .ok(&["wait", "--members", "1", "--timeout", "10s"])
        .await;
    let ran = muster
        .run(&["wait", "--members", "2", "--timeout", "300ms"])
        .await;
    assert!(ran.expect_code(5).stderr.contains('2'));
}

#[tokio::test]
async fn without_a_daemon_it_says_where_it_looked_and_ends_with_4() {
    let dir = temp_dir();
    let path = dir.path().join("none.sock");
    let muster = Muster::new(BIN, dir.path()).socket(&path);
    for command in [&["members"][..], &["info"], &["health"], &["event", "x"]] {
        let ran = muster.run(command).await.expect_code(4);
        assert!(ran.stderr.contains("none.sock"), "{}", ran.stderr);
    }
    let flag = path.display().to_string();
    let ran = Muster::new(BIN, dir.path())
        .run(&["--socket", &flag, "members"])
        .await;
    assert!(ran.expect_code(4).stderr.contains("none.sock"));
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_ends_with_5() {
    let mut node = daemon("one").ready().await;
    let muster = node.muster();
    node.pause();
    drop(
        muster
            .run(&["info", "--timeout", "500ms"])
            .await
            .expect_code(5),
    );
}

#[tokio::test]
async fn commands_without_a_daemon_work_without_one() {
    let dir = temp_dir();
    let muster = Muster::new(BIN, dir.path());
    let (a, b) = (muster.ok(&["keygen"]).await, muster.ok(&["keygen"]).await);
    assert_ne!(a, b);
    assert_eq!(a.trim_end().len(), 44, "32 bytes in base64");
    muster.ok(&["proto", "out"]).await;
    for (path, text) in muster_proto::PROTO_FILES {
        let written = std::fs::read_to_string(dir.path().join("out").join(path)).unwrap();
        assert_eq!(written, text, "{path}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            muster
                .ok(&["completions", shell])
                .await
                .contains("force-leave"),
            "{shell}"
        );
    }
    muster.run(&["no-such-command"]).await.expect_code(2);
    for word in ["members", "watch", "demo", "keygen"] {
        assert!(muster.ok(&["--help"]).await.contains(word), "{word}");
    }
}

#[tokio::test]
async fn a_pasted_token_is_all_that_a_new_host_needs() {
    let dir = temp_dir();
    let muster = Muster::new(BIN, dir.path());
    muster.ok(&["keygen", "--out", "cluster.key"]).await;
    let key = dir.path().join("cluster.key");
    let first = daemon("first")
        .security(Security::KeyFile(key))
        .ready()
        .await;
    let seed = first.addr().to_string();
    let args = [
        "token",
        "--cluster",
        "test",
        "--seed",
        &seed,
        "--key-file",
        "cluster.key",
    ];
    let token = muster.ok(&args).await;
    assert_eq!(token.lines().count(), 1);
    let file = dir.path().join("token");
    std::fs::write(&file, &token).unwrap();
    let by_file = daemon("by-file")
        .security(Security::Unset)
        .arg("--token-file")
        .arg(&file)
        .ready()
        .await;
    let by_env = daemon("by-env")
        .security(Security::Unset)
        .env("MUSTER_TOKEN", token.trim())
        .ready()
        .await;
    for node in [&first, &by_file, &by_env] {
        node.muster()
            .ok(&["wait", "--members", "3", "--timeout", "30s"])
            .await;
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_a_watch_quietly() {
    let node = daemon("one").ready().await;
    let script = format!("{} watch members --format json | head -n 1", BIN.muster);
    let mut child = clean_command("sh".as_ref())
        .args(["-c", &script])
        .env("MUSTER_SOCKET", node.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The watch notices when it writes next.
    let muster = node.muster();
    wait::until("the end of the pipe", SOON, async || {
        muster.ok(&["tags", "--set", "a=1"]).await;
        muster.ok(&["tags", "--delete", "a"]).await;
        child.try_wait().unwrap().ok_or("it runs")
    })
    .await;
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("panic") && !errors.contains("roken pipe"),
        "{errors}"
    );
    assert_eq!(
        output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
        1
    );
}

#[tokio::test]
async fn a_watch_survives_a_restart_of_the_daemon() {
    let mut node = daemon("one").ready().await;
    let mut watch = node
        .muster()
        .start(&["watch", "members", "--format", "json"]);
    watch.json_line().await;
    node.kill().await;
    node.restart().await;
    node.muster().ok(&["tags", "--set", "after=restart"]).await;
    let seen = watch.json_line_where(|line| line.to_string().contains("restart"));
    tokio::time::timeout(Duration::from_secs(30), seen)
        .await
        .expect("the watch did not come back");
}
