//! `muster members`, `watch members` and `wait`.

use muster::pb;
use serde_json::{Value, json};
use tonic::Status;

use super::{run, with};
use crate::fake::{Fake, Script};
use crate::members::{delta, member, snapshot};

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
