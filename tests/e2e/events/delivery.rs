//! Receipts of level DELIVERED.

use muster_tests::harness::wait::SOON;
use serde_json::{Value, json};

use crate::cluster_of;

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines
        .iter()
        .filter(|line| line["receipt"] == kind)
        .collect()
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("no JSON"))
        .collect()
}

#[tokio::test]
async fn everybody_reports_what_everybody_gets() {
    let cluster = cluster_of(4).start().await;
    let muster = cluster.node(1).muster();
    let delivered = [
        "event",
        "deploy",
        "--receipt",
        "delivered",
        "--format",
        "json",
    ];
    let began = tokio::time::Instant::now();
    let lines = parsed(&muster.ok(&delivered).await);
    println!("4 members reported within {:?}", began.elapsed());
    assert_eq!(of_kind(&lines, "accepted").len(), 1);
    let mut members: Vec<&str> = of_kind(&lines, "delivered")
        .iter()
        .filter_map(|line| line["member"].as_str())
        .collect();
    members.sort_unstable();
    assert_eq!(members, ["node-0", "node-1", "node-2", "node-3"]);
    let end = of_kind(&lines, "delivery");
    assert_eq!(
        (&end[0]["expected"], &end[0]["delivered"]),
        (&json!(4), &json!(4))
    );
    // Only targets are expected.
    let some = [&delivered[..], &["--to-member", "node-0"]].concat();
    let lines = parsed(&muster.ok(&some).await);
    assert_eq!(of_kind(&lines, "delivery")[0]["expected"], 1);
    // Nobody is no success.
    let none = [&delivered[..], &["--to-role", "none"]].concat();
    muster.run(&none).await.expect_code(3);
}

#[tokio::test]
async fn a_stopped_member_is_silent() {
    let mut cluster = cluster_of(3).start().await;
    cluster.node_mut(2).pause();
    let muster = cluster.node(0).muster();
    let args = [
        "event",
        "deploy",
        "--receipt",
        "delivered",
        "--timeout",
        "2s",
    ];
    let ran = muster
        .run(&[&args[..], &["--format", "json"]].concat())
        .await;
    let ran = ran.expect_code(1);
    let lines = parsed(&ran.stdout);
    let end = of_kind(&lines, "delivery");
    assert_eq!(
        (&end[0]["expected"], &end[0]["delivered"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(end[0]["silent"], json!(["node-2"]));
    cluster.node_mut(2).resume();
}

#[tokio::test]
async fn a_member_that_dies_is_silent_at_once() {
    let mut cluster = cluster_of(3).start().await;
    cluster.node_mut(2).pause();
    let muster = cluster.node(0).muster();
    let args = [
        "event",
        "deploy",
        "--receipt",
        "delivered",
        "--timeout",
        "4m",
    ];
    let mut sending = muster.start(&[&args[..], &["--format", "json"]].concat());
    for _ in 0..2 {
        sending
            .json_line_where(|line| line["receipt"] == "delivered")
            .await;
    }
    cluster.node_mut(2).kill().await;
    // Long before the timeout of four minutes.
    let end = sending
        .json_line_where(|line| line["receipt"] == "delivery")
        .await;
    assert_eq!(end["silent"], json!(["node-2"]));
    assert_eq!(sending.wait_exit(SOON).await, Some(1));
}

#[tokio::test]
async fn a_batch_of_500_is_delivered() {
    let cluster = cluster_of(3).start().await;
    let lines: String = (0..500).map(|n| format!("[\"burst\", {n}]\n")).collect();
    let muster = cluster.node(0).muster().stdin(&lines);
    let began = tokio::time::Instant::now();
    let args = ["event", "--batch", "-", "--receipt", "delivered"];
    let out = muster.ok(&args).await;
    println!("500 events were delivered within {:?}", began.elapsed());
    assert_eq!(out.trim(), "500 sent, 0 refused");
    let reported = cluster
        .node(1)
        .api()
        .await
        .metric("muster_delivery_reported_total")
        .await;
    assert!(reported >= 500.0, "{reported}");
}
