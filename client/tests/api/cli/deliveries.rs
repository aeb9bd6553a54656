//! `muster event` and `muster watch events`: targets, deliveries, merging, positions.

use serde_json::json;

use muster::pb;

use super::{with, with_input};
use crate::events::{begin, id, item};
use crate::fake::{Fake, Script};

#[test]
fn targets_and_extras_travel() {
    let fake = Fake::start();
    for args in [
        &["--to-member", "a", "--to-member", "b", "--to-role", "web"][..],
        &["--to-tag", "zone=eu-.*", "--coalesce", "--attribute", "k=v"],
        &["--one-of-role", "db"],
        &[],
    ] {
        let ran = with(&fake, &[&["event", "deploy"], args].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    }
    let sent = fake.plan(|plan| plan.sent.clone());
    let target = sent[0].target.clone().unwrap();
    assert_eq!(target.names, ["a", "b"]);
    assert_eq!(target.roles, ["web"]);
    assert_eq!(sent[1].target.clone().unwrap().tags["zone"], "eu-.*");
    assert!(sent[1].coalesce && sent[1].attributes["k"] == "v");
    assert_eq!((&*sent[2].one_of_role, &sent[2].target), ("db", &None));
    assert_eq!((sent[3].coalesce, &sent[3].target), (false, &None));
    let both = ["event", "x", "--one-of-role", "db", "--to-role", "web"];
    assert_eq!(with(&fake, &both).code, 2);
}

#[test]
fn deliveries_are_a_line_each() {
    let fake = Fake::start();
    let delivered = ["event", "all", "--receipt", "delivered"];
    let ran = with(&fake, &[&delivered[..], &["--timeout", "2s"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        ran.out,
        "accepted: 1 of n1\ndelivered: n2\ndelivered to 1 of 1\n"
    );
    let timeout = fake.plan(|plan| plan.sent[0].receipt_timeout);
    assert_eq!(timeout.map(|timeout| timeout.seconds), Some(2));
    let half = ["event", "half", "--receipt", "delivered"];
    let ran = with(&fake, &[&half[..], &["--format", "json"]].concat());
    assert_eq!((ran.code, &*ran.err), (1, "muster: no word from n3\n"));
    let id = json!({"origin": "n1", "boot": 7, "sequence": 1});
    let line = |extra: serde_json::Value| {
        let mut line = id.clone();
        for (key, value) in extra.as_object().unwrap() {
            line[key] = value.clone();
        }
        line
    };
    assert_eq!(
        ran.lines(),
        [
            line(json!({"receipt": "accepted"})),
            line(json!({"receipt": "delivered", "member": "n2"})),
            line(json!({"receipt": "delivery", "expected": 2, "delivered": 1, "silent": ["n3"]})),
        ]
    );
}

#[test]
fn a_batch_of_objects_tells_who_was_silent() {
    let fake = Fake::start();
    let input = br#"{"name": "all", "to_role": ["web"]}
        {"name": "half", "payload": [1]}
        ["all"]
        {"name": "all", "to": 1}"#;
    let args = [
        "event",
        "--batch",
        "-",
        "--receipt",
        "delivered",
        "--coalesce",
    ];
    let ran = with_input(&fake, &args, input);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("line 2: no word from n3\n"), "{}", ran.out);
    assert!(ran.out.contains("line 4: refused: expected"), "{}", ran.out);
    let sent = fake.plan(|plan| plan.sent.clone());
    assert_eq!(sent[0].target.clone().unwrap().roles, ["web"]);
    assert_eq!(&sent[1].payload[..], b"[1]");
    assert!(sent.iter().all(|event| event.coalesce));
}

#[test]
fn a_watch_goes_on_where_another_ended() {
    let fake = Fake::start();
    let script = || Script::then_hang([begin(&[id("a", 1)]), item("a", 2, b"x")]);
    fake.plan(|plan| plan.events.extend([script(), script(), script()]));
    let count = ["watch", "events", "--count", "1"];
    let ran = with(&fake, &[&count[..], &["--token"]].concat());
    let token = ran.out.lines().last().unwrap();
    let token = token.strip_prefix("position: ").unwrap().to_owned();
    let ran = with(
        &fake,
        &[&count[..], &["--from", &token, "--coalesce"]].concat(),
    );
    // The event of the script is one that it has.
    assert_ne!(ran.code, 2, "{}", ran.err);
    let requests = fake.plan(|plan| plan.event_requests.clone());
    let resumed: &pb::WatchEventsRequest = &requests[1];
    assert!(resumed.coalesce.is_some() && !resumed.replay_buffered);
    let positions = muster::EventPositions::decode(&resumed.resume_token).unwrap();
    assert_eq!(positions.get("a", 7).or(positions.get("a", 1)), Some(2));
    let bad = ["watch", "events", "--from", "x"];
    assert_eq!(with(&fake, &bad).code, 2);
}

#[test]
fn since_the_start_asks_for_everything() {
    let fake = Fake::start();
    let script = Script::then_hang([begin(&[]), item("a", 1, b"x")]);
    fake.plan(|plan| plan.events.push_back(script));
    let args = ["watch", "events", "--since-start", "--count", "1"];
    let ran = with(&fake, &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let request = fake.plan(|plan| plan.event_requests[0].clone());
    assert!(!request.resume_token.is_empty(), "empty would mean now");
    let nothing = muster::EventPositions::decode(&request.resume_token).unwrap();
    assert_eq!(nothing, muster::EventPositions::default());
}
