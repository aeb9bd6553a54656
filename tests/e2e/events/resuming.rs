//! Going on where a consumer stopped.

use muster_proto::v1::watch_events_response::Event as Content;
use muster_proto::v1::{ReceiptLevel, WatchEventsRequest};
use muster_tests::harness::wait::SOON;

use super::{BURST, Consumer, send_numbers};
use crate::{cluster_of, daemon};

#[tokio::test]
async fn a_consumer_resumes_at_another_daemon() {
    let cluster = cluster_of(3).start().await;
    let mut first = Consumer::now(cluster.node(0)).await;
    let mut api = cluster.node(2).api().await;
    send_numbers(&mut api, 40, ReceiptLevel::Replicated).await;
    tokio::time::timeout(BURST, first.take(25))
        .await
        .expect("events are missing");
    let resume_token = first.log.token().into();
    drop(first);
    let request = WatchEventsRequest {
        resume_token,
        ..Default::default()
    };
    let mut second = Consumer::open(cluster.node(1), request).await;
    tokio::time::timeout(BURST, second.take(15))
        .await
        .expect("events are missing");
    assert_eq!(second.numbers(), (26..=40).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_latecomer_may_ask_for_what_is_remembered() {
    let cluster = cluster_of(2).start().await;
    send_numbers(
        &mut cluster.node(0).api().await,
        20,
        ReceiptLevel::Replicated,
    )
    .await;
    let request = WatchEventsRequest {
        replay_buffered: true,
        ..Default::default()
    };
    let mut consumer = Consumer::open(cluster.node(0), request).await;
    tokio::time::timeout(BURST, consumer.take(20))
        .await
        .expect("events are missing");
    assert_eq!(consumer.numbers(), (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn heartbeats_carry_tokens_that_resume() {
    let node = daemon("one").ready().await;
    send_numbers(&mut node.api().await, 3, ReceiptLevel::Accepted).await;
    let second = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    let request = WatchEventsRequest {
        heartbeat_interval: Some(second),
        ..Default::default()
    };
    let (mut watch, _token) = node.api().await.watch_events(request).await;
    let token = match watch.next().await.event {
        Some(Content::Heartbeat(beat)) => beat.token,
        other => panic!("{other:?}"),
    };
    send_numbers(&mut node.api().await, 2, ReceiptLevel::Accepted).await;
    let request = WatchEventsRequest {
        resume_token: token,
        ..Default::default()
    };
    let mut consumer = Consumer::open(&node, request).await;
    tokio::time::timeout(SOON, consumer.take(2))
        .await
        .expect("events are missing");
    assert_eq!(consumer.numbers(), [1, 2]);
}
