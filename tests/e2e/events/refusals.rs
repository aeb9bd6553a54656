//! What is not taken.

use bytes::Bytes;
use muster_proto::v1::send_event_response::Receipt;
use muster_proto::v1::{EventRejectReason, LeaveRequest, ReceiptLevel, WatchEventsRequest};
use muster_tests::harness::api::EventSender;
use tonic::Code;

use super::{BURST, Consumer, event};
use crate::{cluster_of, daemon};

#[tokio::test]
async fn a_payload_of_64_kib_arrives_and_one_byte_more_is_refused() {
    let cluster = cluster_of(3).start().await;
    let mut consumers = Consumer::on_all(&cluster).await;
    let payload: Bytes = (0..65_536_u32)
        .map(|n| (n % 251) as u8)
        .collect::<Vec<u8>>()
        .into();
    let EventSender {
        requests,
        mut receipts,
    } = cluster.node(0).api().await.sender().await;
    let level = ReceiptLevel::Accepted;
    requests
        .send(event(1, "big", vec![0; 65_537], level))
        .await
        .unwrap();
    let refused = receipts.next().await;
    match refused.receipt {
        Some(Receipt::Rejected(rejected)) => {
            assert_eq!(rejected.reason(), EventRejectReason::TooLarge);
            assert_eq!((refused.sequence, rejected.limit), (1, 65_536));
            assert!(rejected.message.contains("65537"), "{}", rejected.message);
        }
        other => panic!("{other:?}"),
    }
    requests
        .send(event(2, "big", payload.clone(), level))
        .await
        .unwrap();
    assert!(matches!(
        receipts.next().await.receipt,
        Some(Receipt::Accepted(_))
    ));
    for consumer in &mut consumers {
        tokio::time::timeout(BURST, consumer.take(1))
            .await
            .expect("the event is missing");
        assert!(
            consumer.log.events()[0].payload == payload,
            "another payload came"
        );
    }
}

#[tokio::test]
async fn bad_names_are_refused_one_by_one_and_the_stream_goes_on() {
    let node = daemon("one").ready().await;
    let EventSender {
        requests,
        mut receipts,
    } = node.api().await.sender().await;
    let long = "n".repeat(129);
    let bad = ["", "a b", "-x", "_muster_x", "_serf_x", &long];
    for (sequence, name) in (1..).zip(bad) {
        requests
            .send(event(sequence, name, "", ReceiptLevel::Accepted))
            .await
            .unwrap();
        let answer = receipts.next().await;
        match answer.receipt {
            Some(Receipt::Rejected(rejected)) => {
                assert_eq!(
                    rejected.reason(),
                    EventRejectReason::InvalidName,
                    "{name:?}"
                );
                assert_eq!(answer.sequence, sequence);
            }
            other => panic!("{name:?}: {other:?}"),
        }
    }
    requests
        .send(event(100, "good", "", ReceiptLevel::Accepted))
        .await
        .unwrap();
    assert!(matches!(
        receipts.next().await.receipt,
        Some(Receipt::Accepted(_))
    ));
    // A sequence that does not grow ends the stream.
    requests
        .send(event(100, "good", "", ReceiptLevel::Accepted))
        .await
        .unwrap();
    assert_eq!(
        receipts.try_next().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn watches_that_make_no_sense_are_refused() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let heartbeat = prost_types::Duration {
        seconds: 0,
        nanos: 1,
    };
    let requests = [
        WatchEventsRequest {
            resume_token: "garbage".into(),
            ..Default::default()
        },
        WatchEventsRequest {
            names: vec!["a*b".to_owned()],
            ..Default::default()
        },
        WatchEventsRequest {
            names: vec!["x".to_owned(); 65],
            ..Default::default()
        },
        WatchEventsRequest {
            heartbeat_interval: Some(heartbeat),
            ..Default::default()
        },
    ];
    for request in requests {
        let status = match api.events.watch_events(request.clone()).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{request:?}: {status:?}"
        );
    }
}

#[tokio::test]
async fn a_node_that_left_refuses_events() {
    let cluster = cluster_of(2).start().await;
    let mut api = cluster.node(0).api().await;
    api.node.leave(LeaveRequest { stay: true }).await.unwrap();
    let EventSender {
        requests,
        mut receipts,
    } = api.sender().await;
    requests
        .send(event(1, "late", "", ReceiptLevel::Accepted))
        .await
        .unwrap();
    match receipts.next().await.receipt {
        Some(Receipt::Rejected(rejected)) => {
            assert_eq!(rejected.reason(), EventRejectReason::Leaving);
        }
        other => panic!("{other:?}"),
    }
}
