//! Watches that merge events.

use crate::cluster_of;

#[tokio::test]
async fn the_newest_of_a_burst_comes_once_and_tells_how_many_it_stands_for() {
    let cluster = cluster_of(2).start().await;
    let watch = ["watch", "events", "--format", "json"];
    let merging = cluster.node(1).muster();
    let mut merging = merging.start(&[&watch[..], &["--coalesce"]].concat());
    let mut plain = cluster.node(1).muster().start(&watch);
    for watch in [&mut merging, &mut plain] {
        watch
            .json_line_where(|line| line["type"] == "subscribed")
            .await;
    }
    let lines: String = (1..=20).map(|n| format!("[\"deploy\", {n}]\n")).collect();
    let muster = cluster.node(0).muster().stdin(&lines);
    muster.ok(&["event", "--batch", "-", "--coalesce"]).await;
    let mut covered = 0;
    let mut last = String::new();
    while covered < 20 {
        let event = merging
            .json_line_where(|line| line["type"] == "event")
            .await;
        covered += 1 + event["merged"].as_u64().unwrap_or(0);
        last = event["payload"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((covered, &*last), (20, "20"));
    // Whoever does not ask gets each of them.
    for n in 1..=20 {
        let event = plain.json_line_where(|line| line["type"] == "event").await;
        assert_eq!(event["payload"], n.to_string());
        assert_eq!(event["merged"], 0);
    }
}
