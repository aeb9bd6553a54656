//! The program `muster`: what it prints and how it exits.

mod deliveries;
mod events;
mod files;
mod members;
mod node;
mod roles;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value;
use tonic::Status;

use crate::events::{begin, id, item};
use crate::fake::{Fake, Script};
use crate::members::snapshot;
use crate::roles::set;

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?}", self.out))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn muster(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command
        .args(args)
        .env_remove("MUSTER_SOCKET")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Ran {
    finish(muster(args))
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs against the daemon, by the environment variable.
pub(crate) fn with(fake: &Fake, args: &[&str]) -> Ran {
    let mut command = muster(args);
    command.env("MUSTER_SOCKET", fake.socket());
    finish(command)
}

pub(crate) fn with_input(fake: &Fake, args: &[&str], input: &[u8]) -> Ran {
    let mut command = muster(args);
    command
        .env("MUSTER_SOCKET", fake.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The program may end before it has read all.
    let _closed = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn exit_codes() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.members.push_back(Script::then_end(snapshot(&[], "t")));
        plan.members
            .push_back(Script::then_fail([], Status::invalid_argument("bad regex")));
        plan.members.push_back(Script::then_hang([]));
        plan.resolve.push_back(Script::then_hang([set("e", &[])]));
    });
    let empty = with(&fake, &["members"]);
    assert_eq!(
        (empty.code, empty.err.as_str()),
        (3, "muster: no member matches\n")
    );
    let refused = with(&fake, &["members", "--name", "("]);
    assert_eq!(
        (refused.code, refused.err.as_str()),
        (2, "muster: bad regex\n")
    );
    let late = with(&fake, &["members", "--timeout", "50ms"]);
    assert_eq!(
        (late.code, late.err.as_str()),
        (5, "muster: no answer within 50ms\n")
    );
    let nobody = with(&fake, &["resolve", "web"]);
    assert_eq!(
        (nobody.code, nobody.err.as_str()),
        (3, "muster: web: no member serves it\n")
    );
    let missing = with(&fake, &["force-leave", "n9"]);
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (3, "muster: no member is named n9\n")
    );
    let alive = with(&fake, &["force-leave", "n1"]);
    assert_eq!(
        (alive.code, alive.err.as_str()),
        (1, "muster: n1 is alive\n")
    );
    for usage in [
        &["membres"][..],
        &["members", "--status", "dead"],
        &["--timeout", "soon", "members"],
        &["--socket", "http://localhost", "members"],
        &["event"],
        &["event", "--batch", "-", "name"],
        &["tags", "--set", "a=1", "--delete", "a"],
        &["join"],
    ] {
        assert_eq!(with(&fake, usage).code, 2, "{usage:?}");
    }
    for ok in [&["--help"][..], &["--version"], &["members", "--help"]] {
        assert_eq!(run(ok).code, 0, "{ok:?}");
    }
}

#[test]
fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().unwrap();
    for command in [
        &["members"][..],
        &["watch", "members"],
        &["watch", "events"],
        &["watch", "role", "web"],
        &["event", "x"],
        &["resolve", "web"],
        &["roles"],
        &["info"],
        &["health"],
        &["leave"],
        &["wait", "--members", "1", "--timeout", "100ms"],
    ] {
        let ran = run(&[&["--socket", socket], command].concat());
        assert_eq!(ran.code, 4, "{command:?}: {}", ran.err);
        assert!(
            ran.err.contains("is musterd running?"),
            "{command:?}: {}",
            ran.err
        );
        assert_eq!(ran.out, "", "{command:?}");
    }
    let version = run(&["--socket", socket, "version", "--format", "json"]);
    assert_eq!((version.code, &version.json()["daemon"]), (0, &Value::Null));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let fake = Fake::start();
    fake.plan(|plan| {
        let many: Vec<_> = (2..20_000).map(|n| item("a", n, &[b'x'; 100])).collect();
        let mut messages = vec![begin(&[id("a", 1)])];
        messages.extend(many);
        plan.events.push_back(Script::then_hang(messages));
    });
    let mut child = muster(&["watch", "events"])
        .env("MUSTER_SOCKET", fake.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_watch_that_is_stopped_by_a_signal_has_succeeded() {
    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM] {
        for what in [&["events"][..], &["members"], &["role", "web"]] {
            let fake = Fake::start();
            fake.plan(|plan| {
                let event = [begin(&[]), item("a", 1, b"x")];
                plan.events.push_back(Script::then_hang(event));
                let members = snapshot(&["a"], "t");
                plan.members.push_back(Script::then_hang(members));
                plan.resolve
                    .push_back(Script::then_hang([set("e", &["a"])]));
            });
            let mut child = muster(&["watch"])
                .args(what)
                .env("MUSTER_SOCKET", fake.socket())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdout.read_line(&mut String::new()).unwrap();
            kill_process(Pid::from_child(&child), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{what:?} {signal:?}");
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        }
    }
}
