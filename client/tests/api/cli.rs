//! The program `muster`: what it prints and how it exits.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use muster::pb;
use muster_proto::token::{KeyBytes, Token};
use serde_json::{Value, json};
use tonic::Status;

use crate::events::{begin, gap, id, item};
use crate::fake::{Fake, Script};
use crate::members::{delta, member, snapshot};
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
fn members_in_both_formats() {
    let fake = Fake::start();
    fake.plan(|plan| {
        for _ in 0..3 {
            plan.members
                .push_back(Script::then_end(snapshot(&["a", "b"], "t")));
        }
    });
    let ran = with(&fake, &["members", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let members = &ran.json()["members"];
    assert_eq!(
        (&members[0]["name"], &members[0]["status"]),
        (&json!("a"), &json!("alive"))
    );
    let socket = format!("unix://{}", fake.socket().display());
    let ran = run(&["--socket", &socket, "members"]);
    let table: Vec<&str> = ran.out.lines().collect();
    assert_eq!(table[0], "NAME  ADDRESS         STATUS  ROLES  SINCE  TAGS");
    assert_eq!(table[1], "a     127.0.0.1:7946  alive          -");
    assert!(!ran.out.contains('\u{1b}'), "no colour in a pipe");
    let args = [
        "members", "--status", "failed", "--status", "left", "--role", "web", "--name", "n.*",
        "--tag", "zone=a|b",
    ];
    with(&fake, &args);
    let filter = fake.plan(|plan| plan.member_requests[2].filter.clone().unwrap());
    assert_eq!(filter.statuses, [5, 4]);
    assert_eq!(
        (filter.roles[0].as_str(), filter.name_regex.as_str()),
        ("web", "n.*")
    );
    assert_eq!(filter.tags["zone"], "a|b");
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
fn watching_members() {
    use pb::MemberChangeKind::{Removed, Updated};
    let script = || {
        let mut failed = member("b", pb::MemberStatus::Failed);
        failed.status_change = Some(pb::StatusChange {
            by: "c".into(),
            at: None,
            reason: "did not answer probes".into(),
        });
        let mut messages = snapshot(&["a", "b"], "t1");
        messages.push(delta("t2", &[(Updated, failed.clone())]));
        messages.push(delta("t3", &[(Removed, failed)]));
        Script::then_fail(messages, Status::invalid_argument("the end of the script"))
    };
    let fake = Fake::start();
    fake.plan(|plan| {
        let refused = || Script::then_fail([], Status::invalid_argument("again"));
        plan.members
            .extend([script(), refused(), script(), refused()]);
    });
    let ran = with(&fake, &["watch", "members", "--format", "json"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let lines = ran.lines();
    let types: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(types, ["snapshot", "updated", "removed", "disconnected"]);
    assert_eq!(lines[0]["members"][1]["name"], "b");
    assert_eq!(lines[0]["reason"], "initial");
    assert_eq!(lines[1]["previous_status"], "alive");
    assert_eq!(lines[1]["member"]["status"], "failed");
    let ran = with(&fake, &["watch", "members"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines,
        [
            "- a alive 127.0.0.1:7946",
            "- b alive 127.0.0.1:7946",
            "- b failed 127.0.0.1:7946 was alive (did not answer probes, says c)",
            "- b failed 127.0.0.1:7946 removed",
        ]
    );
    assert!(ran.err.contains("trying again"), "{}", ran.err);
}

#[test]
fn watching_events() {
    let script = || {
        Script::then_hang([
            begin(&[id("a", 1)]),
            item("a", 2, b"\x1b[2Jhi"),
            gap("a", 3, 5),
            item("a", 6, b"\xff"),
        ])
    };
    let fake = Fake::start();
    fake.plan(|plan| plan.events.extend([script(), script(), script()]));
    let ran = with(
        &fake,
        &["watch", "events", "--count", "2", "--format", "json"],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines = ran.lines();
    let types: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(types, ["subscribed", "event", "gap", "event"]);
    assert_eq!(lines[1]["payload"], "\u{1b}[2Jhi");
    assert_eq!(lines[2]["last_sequence"], 5);
    assert_eq!(lines[3]["payload_base64"], "/w==");
    let ran = with(
        &fake,
        &["watch", "events", "dep*", "--count", "2", "--replay"],
    );
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "- a deploy \\u{1b}[2Jhi");
    assert_eq!(
        lines[1],
        "events 3 to 5 of a are lost: this watch fell behind"
    );
    assert_eq!(lines[2], "- a deploy (1 bytes that are no text)");
    assert!(fake.plan(|plan| plan.event_requests[1].replay_buffered));
    let ran = with(&fake, &["watch", "events", "--timeout", "200ms"]);
    assert_eq!((ran.code, ran.out.lines().count()), (5, 3));
}

#[test]
fn watching_and_resolving_roles() {
    let fake = Fake::start();
    fake.plan(|plan| {
        let sets = || Script::then_hang([set("e1", &["a"]), set("e2", &[])]);
        plan.resolve
            .extend([sets(), sets(), sets(), sets(), sets()]);
        plan.roles
            .push_back(Script::then_end([pb::WatchRolesResponse {
                position: None,
                roles: vec![pb::RoleSummary {
                    role: "web".into(),
                    alive: 2,
                    oldest_member: "a".into(),
                    ..pb::RoleSummary::default()
                }],
                heartbeat: false,
            }]));
    });
    let ran = with(&fake, &["resolve", "web", "--format", "json"]);
    let object = ran.json();
    assert_eq!(object["role"], "web");
    let endpoint = &object["endpoints"][0];
    assert_eq!(endpoint["member"], "a");
    assert_eq!(endpoint["address"], "127.0.0.1");
    assert_eq!(endpoint["port"], 8080);
    let ran = with(
        &fake,
        &["resolve", "web", "--policy", "random", "--client-key", "k"],
    );
    assert!(
        ran.out.contains("a       127.0.0.1:8080  alive"),
        "{}",
        ran.out
    );
    assert_eq!(
        fake.plan(|plan| plan.resolve_requests[1].policy()),
        pb::SelectionPolicy::Random
    );
    with(&fake, &["resolve", "web", "--nearest", "--near", "b"]);
    let asked = fake.plan(|plan| plan.resolve_requests[2].clone());
    assert_eq!(asked.policy(), pb::SelectionPolicy::Nearest);
    assert_eq!(asked.near, "b");
    let ran = with(&fake, &["watch", "role", "web", "--timeout", "200ms"]);
    assert_eq!(ran.out, "web: a 127.0.0.1:8080\nweb: no member serves it\n");
    let ran = with(
        &fake,
        &[
            "watch",
            "role",
            "web",
            "--timeout",
            "200ms",
            "--format",
            "json",
        ],
    );
    assert_eq!(ran.lines()[0]["type"], "set");
    assert_eq!(ran.lines()[0]["endpoints"][0]["port"], 8080);
    let ran = with(&fake, &["roles"]);
    assert_eq!(
        ran.out,
        "ROLE  ALIVE  SUSPECT  FAILED  OLDEST\nweb   2      0        0       a\n"
    );
}

#[test]
fn sending_one_event() {
    let fake = Fake::start();
    let ran = with(&fake, &["event", "deploy", "x", "--format", "json"]);
    assert_eq!(
        ran.json(),
        json!({"receipt": "replicated", "origin": "n1", "boot": 7, "sequence": 1})
    );
    let ran = with(&fake, &["event", "deploy", "--receipt", "accepted"]);
    assert_eq!(ran.out, "accepted: 1 of n1\n");
    let ran = with_input(&fake, &["event", "deploy", "-"], b"\xff\x00\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let payloads = fake.plan(|plan| {
        let sent = plan.sent.iter();
        sent.map(|request| request.payload.to_vec())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        payloads,
        [b"x".to_vec(), b"".to_vec(), b"\xff\x00\n".to_vec()]
    );
    let ran = with(&fake, &["event", "bad name"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (1, "muster: \"bad name\" is no event name\n")
    );
    let ran = with(&fake, &["event", "die"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "muster: dying\n"));
    let ran = with_input(&fake, &["event", "deploy", "-"], &vec![0; (1 << 20) + 1]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("larger than 1048576"), "{}", ran.err);
}

#[test]
fn a_batch_names_the_lines_that_were_refused() {
    let fake = Fake::start();
    let input = b"[\"deploy\", {\"n\": 1}]\n\nnonsense\n[\"bad\", 1]\n[\"deploy\", \"text\"]";
    let ran = with_input(&fake, &["event", "--batch", "-"], input);
    assert_eq!(ran.code, 1);
    let mut lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.pop(), Some("3 sent, 2 refused"));
    // A line that cannot be read and a receipt may be told in any order.
    lines.sort_unstable();
    assert!(
        lines[0].starts_with("line 3: refused: expected [\"name\"],"),
        "{lines:?}"
    );
    assert_eq!(lines[1], "line 4: refused: \"bad\" is no event name");
    let payloads = fake.plan(|plan| {
        let sent = plan.sent.drain(..);
        sent.map(|request| request.payload.to_vec())
            .collect::<Vec<_>>()
    });
    assert_eq!(payloads, [b"{\"n\": 1}".to_vec(), b"text".to_vec()]);

    let many: String = (0..3000).map(|n| format!("[\"deploy\", {n}]\n")).collect();
    let path = fake.directory().join("batch");
    std::fs::write(&path, many).unwrap();
    let ran = with(
        &fake,
        &[
            "event",
            "--format",
            "json",
            "--batch",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        ran.json(),
        json!({"type": "summary", "sent": 3000, "refused": 0, "undelivered": 0})
    );
    let sequences = fake.plan(|plan| plan.sent.iter().map(|r| r.sequence).collect::<Vec<_>>());
    assert_eq!(sequences, (1..=3000).collect::<Vec<u64>>());

    let ran = with_input(
        &fake,
        &["event", "--batch", "-"],
        b"[\"deploy\"]\n\n[\"die\"]\n",
    );
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the first is of line 3"), "{}", ran.err);
}

#[test]
fn steering_the_node() {
    let fake = Fake::start();
    let ran = with(&fake, &["join", "dead:1", "10.0.0.2:7946"]);
    assert_eq!(
        ran.out,
        "joined 1 member\n  dead:1: failed: timed out\n  10.0.0.2:7946: n2\n"
    );
    let ran = with(&fake, &["join", "dead:1"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (1, "muster: nobody answered: dead: timed out\n")
    );
    let ran = with(
        &fake,
        &["tags", "--set", "zone=a", "--set", "x=", "--format", "json"],
    );
    assert_eq!(ran.json(), json!({"tags": {"x": "", "zone": "a"}}));
    assert_eq!(with(&fake, &["tags", "--delete", "x"]).out, "zone=a\n");
    assert_eq!(
        with(&fake, &["tags"]).out,
        "",
        "the fake's own entry has none"
    );
    assert_eq!(with(&fake, &["force-leave", "n2"]).out, "n2 is left\n");
    assert_eq!(
        with(&fake, &["force-leave", "n2", "--prune"]).out,
        "n2 is forgotten\n"
    );
    let ran = with(&fake, &["log-level", "debug", "--format", "json"]);
    assert_eq!(ran.json(), json!({"previous": "info", "filter": "debug"}));
    assert_eq!(with(&fake, &["log-level", "!"]).code, 2);
    let ran = with(&fake, &["rtt", "a", "b"]);
    assert_eq!(ran.out, "Estimated a <-> b rtt: 0.610 ms\n");
    let ran = with(&fake, &["rtt", "a"]);
    assert_eq!(ran.out, "Estimated a <-> me rtt: 0.610 ms\n");
    let ran = with(&fake, &["rtt", "far"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(with(&fake, &["leave", "--stay"]).out.contains("stays up"));
}

#[test]
fn asking_the_node() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.info = pb::GetInfoResponse {
            self_: Some(member("n1", pb::MemberStatus::Alive)),
            version: "9.9.9".into(),
            cluster: "demo".into(),
            warnings: vec!["name conflict".into()],
            counters: [("members_alive".to_owned(), 5)].into(),
            ..pb::GetInfoResponse::default()
        };
    });
    let info = with(&fake, &["info", "--format", "json"]).json();
    assert_eq!(
        (&info["cluster"], &info["self"]["name"]),
        (&json!("demo"), &json!("n1"))
    );
    assert_eq!(info["counters"]["members_alive"], 5);
    let text = with(&fake, &["info"]).out;
    assert!(text.contains("WARNING       name conflict\n"), "{text}");
    assert!(with(&fake, &["info", "--metrics"]).out.ends_with("# EOF\n"));
    assert_eq!(
        with(&fake, &["version"]).out.lines().nth(1),
        Some("musterd 9.9.9")
    );
    let health = with(&fake, &["health"]);
    assert_eq!(
        (health.code, health.out.as_str()),
        (0, "serving\nwarning: name conflict\n")
    );
    fake.plan(|plan| plan.not_serving = true);
    let health = with(&fake, &["health", "--format", "json"]);
    assert_eq!(
        (health.code, &health.json()["status"]),
        (1, &json!("not_serving"))
    );
}

#[test]
fn waiting_for_members() {
    let fake = Fake::start();
    fake.plan(|plan| {
        let mut messages = snapshot(&["a"], "t");
        let added = pb::MemberChangeKind::Added;
        messages.push(delta(
            "t2",
            &[(added, member("b", pb::MemberStatus::Alive))],
        ));
        plan.members.push_back(Script::then_hang(messages));
        plan.members
            .push_back(Script::then_hang(snapshot(&["a"], "t")));
    });
    let ran = with(&fake, &["wait", "--members", "2"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "2 members are alive\n"));
    let ran = with(
        &fake,
        &[
            "wait",
            "--members",
            "2",
            "--role",
            "web",
            "--timeout",
            "100ms",
        ],
    );
    assert_eq!(ran.code, 5);
    assert!(
        ran.err
            .contains("only 1 of 2 members with role web are alive"),
        "{}",
        ran.err
    );
    let filter = fake.plan(|plan| plan.member_requests[1].filter.clone().unwrap());
    assert_eq!(
        (filter.statuses, filter.roles),
        (vec![1], vec!["web".to_owned()])
    );
}

#[test]
fn keys_and_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(&["keygen"]);
    assert_eq!(KeyBytes::parse(&ran.out).unwrap().as_bytes().len(), 32);
    assert_ne!(ran.out, run(&["keygen"]).out);
    let path = directory.path().join("key");
    let file = path.to_str().unwrap();
    assert_eq!(run(&["keygen", "--out", file]).code, 0);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        run(&["keygen", "--out", file]).code,
        1,
        "a key is never overwritten"
    );
    let ran = run(&[
        "token",
        "--cluster",
        "prod",
        "--seed",
        "10.0.0.1:7946",
        "--key-file",
        file,
    ]);
    assert_eq!(
        (ran.code, ran.err.as_str(), ran.out.lines().count()),
        (0, "", 1)
    );
    let token = Token::decode(&ran.out).unwrap();
    assert_eq!(
        (token.cluster.as_str(), token.seeds[0].as_str()),
        ("prod", "10.0.0.1:7946")
    );
    let key = std::fs::read_to_string(&path).unwrap();
    assert_eq!(token.key, KeyBytes::parse(&key).unwrap());
    assert_eq!(run(&["token"]).code, 0);
    assert_eq!(run(&["token", "--cluster", ""]).code, 2);
    assert_eq!(run(&["token", "--key-file", "/nonexistent"]).code, 1);
}

#[test]
fn files_for_other_programs() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    let ran = run(&["proto", place.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 8));
    let written = std::fs::read_to_string(place.join("muster/v1/common.proto")).unwrap();
    assert!(written.contains("package muster.v1;"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell]).out.contains("force-leave"),
            "{shell}"
        );
    }
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

#[test]
fn a_demo_without_a_daemon_says_what_to_do_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = muster(&["demo", "--plain", "--musterd", "/bin/false"]);
    command.env("TMPDIR", directory.path());
    let ran = finish(command);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("n1 ended at once"), "{}", ran.err);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    let ran = run(&["demo", "--musterd", "/nonexistent"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "muster: /nonexistent is no program\n")
    );
}
