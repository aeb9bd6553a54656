//! Who gets what, and in which order.

use muster_proto::v1::watch_events_response::Event as Content;
use muster_proto::v1::{ReceiptLevel, WatchEventsRequest};
use muster_tests::harness::api::EventSender;

use super::{BURST, Consumer, event, send_numbers};
use crate::{cluster_of, daemon};

#[tokio::test]
async fn a_burst_of_500_arrives_whole_and_in_order_everywhere() {
    let cluster = cluster_of(3).start().await;
    let mut consumers = Consumer::on_all(&cluster).await;
    send_numbers(
        &mut cluster.node(1).api().await,
        500,
        ReceiptLevel::Accepted,
    )
    .await;
    for consumer in &mut consumers {
        tokio::time::timeout(BURST, consumer.take(500))
            .await
            .expect("events are missing");
        assert_eq!(consumer.numbers(), (1..=500).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn replicated_events_have_both_receipts_also_on_a_lonely_node() {
    let cluster = cluster_of(3).start().await;
    send_numbers(
        &mut cluster.node(0).api().await,
        50,
        ReceiptLevel::Replicated,
    )
    .await;
    let alone = daemon("alone").ready().await;
    send_numbers(&mut alone.api().await, 50, ReceiptLevel::Replicated).await;
}

#[tokio::test]
async fn several_origins_at_once_are_in_order_each_for_itself() {
    let cluster = cluster_of(3).start().await;
    let mut consumer = Consumer::now(cluster.node(0)).await;
    let (mut a, mut b, mut c) = (
        cluster.node(0).api().await,
        cluster.node(1).api().await,
        cluster.node(2).api().await,
    );
    let level = ReceiptLevel::Replicated;
    tokio::join!(
        send_numbers(&mut a, 100, level),
        send_numbers(&mut b, 100, level),
        send_numbers(&mut c, 100, level)
    );
    // The log checks the order; here only that all came.
    tokio::time::timeout(BURST, consumer.take(300))
        .await
        .expect("events are missing");
    assert!(consumer.log.gaps().is_empty());
}

#[tokio::test]
async fn names_and_prefixes_select_events() {
    let node = daemon("one").ready().await;
    let request = WatchEventsRequest {
        names: vec!["deploy".to_owned(), "db.*".to_owned()],
        ..Default::default()
    };
    let (mut watch, _token) = node.api().await.watch_events(request).await;
    let EventSender {
        requests,
        receipts: _receipts,
    } = node.api().await.sender().await;
    for (n, name) in (1..).zip(["db", "other", "deploy", "db.up", "deployed", "db.down"]) {
        requests
            .send(event(n, name, "", ReceiptLevel::Accepted))
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    while names.len() < 3 {
        if let Some(Content::Item(event)) = watch.next().await.event {
            names.push(event.name);
        }
    }
    assert_eq!(names, ["deploy", "db.up", "db.down"]);
}
