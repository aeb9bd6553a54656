//! Containers that write to `/serfnode/parent`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Binaries, Daemon, Engine, wait};
use serde_json::Value;
use tempfile::TempDir;

/// Busybox alone.
const IMAGE: &str = "shell";

/// Longest time for what a busy machine does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the measurement.
const ROUNDS: usize = 40;

const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// A handler that keeps the time (seconds, in hundredths) and the payload of every event.
const HANDLER: &str =
    "#!/bin/sh\nread line\nread now rest < /proc/uptime\necho \"$now $line\" >> \"$OUT\"\n";

/// An engine, the node that follows it, and a member that listens.
struct Rig {
    engine: Engine,
    dir: TempDir,
    one: Daemon,
    two: Daemon,
}

impl Rig {
    async fn start() -> Self {
        let engine = Engine::start().await;
        shell_image(&engine);
        let dir = temp_dir();
        let handlers = dir.path().join("handlers");
        fs::create_dir(&handlers).unwrap();
        for event in ["ping", "hello"] {
            let path = handlers.join(event);
            fs::write(&path, HANDLER).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let host = format!("unix://{}", engine.socket().display());
        let one = Daemon::builder(BIN, "one")
            .arg("--docker-host")
            .arg(host)
            .arg("--legacy-root")
            .arg(dir.path().join("root"));
        let one = one.ready().await;
        let two = Daemon::builder(BIN, "two")
            .join(one.addr())
            .arg("--docker")
            .arg("off")
            .arg("--handler-dir")
            .arg(handlers)
            .env("OUT", &dir.path().join("out").display().to_string());
        let two = two.ready().await;
        see_alive(&one, 2).await;
        Self {
            engine,
            dir,
            one,
            two,
        }
    }

    /// Where the directory that all share is.
    fn shared(&self) -> PathBuf {
        self.dir.path().join("root/serfnode")
    }

    /// A child that runs a script and sees `directory` as `/serfnode`, read-only.
    fn child(&self, name: &str, directory: &Path, more: &[&str], script: &str) -> String {
        let volume = format!("{}:/serfnode:ro", directory.display());
        let run = [
            "run",
            "-d",
            "--name",
            name,
            "-l",
            "muster.child",
            "-v",
            &volume,
        ];
        let command = [IMAGE, "sh", "-c", script];
        self.engine.docker(&[&run[..], more, &command].concat())
    }

    fn out(&self) -> String {
        fs::read_to_string(self.dir.path().join("out")).unwrap_or_default()
    }

    async fn heard(&self, count: usize) -> Vec<String> {
        wait::until("the events", PATIENCE, async || {
            let lines: Vec<String> = self.out().lines().map(str::to_owned).collect();
            if lines.len() >= count {
                Ok(lines)
            } else {
                Err(lines.len())
            }
        })
        .await
    }
}

fn shell_image(engine: &Engine) {
    let root = temp_dir();
    for directory in ["bin", "etc", "proc", "sys", "dev", "serfnode"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "usleep"] {
        symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    engine.import(IMAGE, root.path());
}

#[tokio::test]
async fn children_send_events_that_name_them() {
    let rig = Rig::start().await;
    let mut events = rig
        .two
        .muster()
        .start(&["--format", "json", "watch", "events"]);
    let wait_open = "while ! [ -p /serfnode/parent ]; do sleep 0.1; done;";
    let hello = |who: &str| {
        format!(
            "{wait_open} echo '[\"hello\", {{\"from\": \"{who}\"}}]' > /serfnode/parent; sleep 600"
        )
    };
    let own = rig.shared().join("children/web");
    fs::create_dir_all(&own).unwrap();
    rig.child("web", &own, &["--read-only", "-u", "1000"], &hello("web"));
    let event = events.json_line_where(|line| line["name"] == "hello").await;
    assert_eq!(event["child"], "web");
    let strict = ["-l", "muster.events=goodbye"];
    let own = rig.shared().join("children/strict");
    fs::create_dir_all(&own).unwrap();
    rig.child("strict", &own, &strict, &hello("strict"));
    wait::until("the refusal", PATIENCE, async || {
        let metric = rig.one.muster().ok(&["info", "--metrics"]).await;
        match metric.contains("reason=\"not_allowed\"} 1") {
            true => Ok(()),
            false => Err(metric),
        }
    })
    .await;
    rig.child("any", &rig.shared(), &[], &hello("any"));
    let event = events.json_line_where(|line| line["name"] == "hello").await;
    assert!(
        event["child"].as_str().unwrap_or_default().is_empty(),
        "{event}"
    );
    let lines = rig.heard(2).await;
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("{\"from\": \"web\"}")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn what_becomes_of_children_is_told() {
    let rig = Rig::start().await;
    let line = ["--format", "json", "watch", "events", "supervisor"];
    let mut events = rig.two.muster().start(&line);
    rig.child(
        "web",
        &rig.shared(),
        &["--restart", "on-failure:1"],
        "sleep 1; exit 3",
    );
    let mut told = Vec::new();
    while told
        .last()
        .is_none_or(|last| last != "PROCESS_STATE_FATAL" && last != "PROCESS_STATE_EXITED")
    {
        let event = events
            .json_line_where(|line| line["name"] == "supervisor")
            .await;
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&payload["processname"], &payload["node"]),
            (&"web".into(), &"one".into())
        );
        told.push(payload["eventname"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        told[..2],
        ["PROCESS_STATE_STARTING", "PROCESS_STATE_RUNNING"]
    );
}

/// From `echo` in a container to the handler in another member.
#[tokio::test]
async fn how_long_from_echo_to_handler() {
    let rig = Rig::start().await;
    let script = format!(
        "n=0; while [ $n -lt {ROUNDS} ]; do read now rest < /proc/uptime; \
         echo \"[\\\"ping\\\", {{\\\"at\\\": $now}}]\" > /serfnode/parent; \
         n=$((n+1)); sleep 0.13; done"
    );
    rig.child("web", &rig.shared(), &[], &script);
    let lines = rig.heard(ROUNDS).await;
    assert_eq!(lines.len(), ROUNDS);
    let mut took: Vec<f64> = lines
        .iter()
        .map(|line| {
            let (ended, payload) = line.split_once(' ').unwrap();
            let began: Value = serde_json::from_str(payload).unwrap();
            (ended.parse::<f64>().unwrap() - began["at"].as_f64().unwrap()) * 1_000.0
        })
        .collect();
    took.sort_unstable_by(f64::total_cmp);
    let (median, worst) = (took[ROUNDS / 2], took[ROUNDS - 1]);
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    println!(
        "echo in a container to the handler in another member: median {median:.0} ms, mean \
         {mean:.1} ms, worst {worst:.0} ms of {ROUNDS}"
    );
}
