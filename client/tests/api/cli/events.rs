//! `muster event` and `watch events`: what is sent, and what is printed.

use serde_json::{Value, json};

use super::{with, with_input};
use crate::events::{begin, gap, id, item};
use crate::fake::{Fake, Script};

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
