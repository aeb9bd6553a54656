//! Commands to the node, and questions about it.

use muster::pb;
use serde_json::json;

use super::with;
use crate::fake::Fake;
use crate::members::member;

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
