//! Events for some members only.

use muster_tests::harness::{Cluster, Running};
use serde_json::{Value, json};

use crate::cluster_of;

/// Four nodes: two serve `web`, one `db`, the last has a tag.
async fn mixed() -> Cluster {
    let builder = cluster_of(4).each(|n, daemon| match n {
        0 | 1 => daemon.role("web"),
        2 => daemon.role("db"),
        _ => daemon.tag("zone", "eu-1"),
    });
    builder.start().await
}

/// `muster watch events` on each node, subscribed.
async fn watches(cluster: &Cluster) -> Vec<Running> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        let mut watch = node
            .muster()
            .start(&["watch", "events", "--format", "json"]);
        watch
            .json_line_where(|line| line["type"] == "subscribed")
            .await;
        all.push(watch);
    }
    all
}

/// The events that a node saw up to the one called `end`.
async fn seen(watch: &mut Running) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let line = watch.json_line_where(|line| line["type"] == "event").await;
        if line["name"] == "end" {
            return seen;
        }
        seen.push(line);
    }
}

#[tokio::test]
async fn only_those_who_are_meant_see_an_event() {
    let cluster = mixed().await;
    let mut watches = watches(&cluster).await;
    let muster = cluster.node(3).muster();
    for (name, args) in [
        ("member", &["--to-member", "node-1"][..]),
        (
            "members",
            &["--to-member", "node-0", "--to-member", "node-2"],
        ),
        ("role", &["--to-role", "web"]),
        ("tag", &["--to-tag", "zone=eu-.*", "--attribute", "k=v"]),
        ("nobody", &["--to-role", "none"]),
        ("end", &[]),
    ] {
        muster.ok(&[&["event", name], args].concat()).await;
    }
    let mut names = Vec::new();
    for watch in &mut watches {
        let seen = seen(watch).await;
        let name = |event: &Value| event["name"].as_str().unwrap_or_default().to_owned();
        names.push(seen.iter().map(name).collect::<Vec<_>>());
        for event in &seen {
            assert_ne!(event["target"], Value::Null, "{event}");
        }
        if let Some(tag) = seen.iter().find(|event| event["name"] == "tag") {
            assert_eq!(tag["attributes"], json!({"k": "v"}));
            assert_eq!(tag["target"]["tags"], json!({"zone": "eu-.*"}));
        }
    }
    assert_eq!(names[0], ["members", "role"]);
    assert_eq!(names[1], ["member", "role"]);
    assert_eq!(names[2], ["members"]);
    assert_eq!(names[3], ["tag"]);
}

#[tokio::test]
async fn one_of_a_role_gets_each_event() {
    let cluster = mixed().await;
    let mut watches = watches(&cluster).await;
    let muster = cluster.node(2).muster();
    let lines = "{\"name\": \"job\", \"one_of_role\": \"web\"}\n".repeat(20) + "[\"end\"]\n";
    let batch = cluster.node(2).muster().stdin(&lines);
    batch.ok(&["event", "--batch", "-"]).await;
    let mut counts = Vec::new();
    for watch in &mut watches {
        counts.push(seen(watch).await.len());
    }
    assert_eq!(counts[0] + counts[1], 20, "{counts:?}");
    assert_eq!(counts[2..], [0, 0]);
    let ran = muster.run(&["event", "job", "--one-of-role", "none"]).await;
    let ran = ran.expect_code(1);
    assert!(
        ran.stderr.contains("no alive member serves none"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn positions_pass_what_is_for_others() {
    let cluster = mixed().await;
    let muster = cluster.node(0).muster();
    let watch = ["watch", "events", "--count", "1", "--format", "json"];
    let mut first = muster.start(&[&watch[..], &["--token"]].concat());
    first
        .json_line_where(|line| line["type"] == "subscribed")
        .await;
    muster.ok(&["event", "one"]).await;
    let position = first
        .json_line_where(|line| line["type"] == "position")
        .await;
    let token = position["token"].as_str().unwrap();
    muster.ok(&["event", "db", "--to-role", "db"]).await;
    muster.ok(&["event", "two"]).await;
    let mut second = muster.start(&[&watch[..], &["--from", token]].concat());
    let line = second
        .json_line_where(|line| line["type"] != "subscribed")
        .await;
    assert_eq!(
        (&line["type"], &line["name"]),
        (&json!("event"), &json!("two"))
    );
    assert_eq!(line["sequence"], 3, "no gap is told for 2");
}
