//! What happens in the cluster: events that are not lost.

mod coalescing;
mod delivery;
mod losses;
mod refusals;
mod resuming;
mod streams;
mod targets;

use std::time::Duration;

use bytes::Bytes;
use muster_proto::v1::send_event_response::Receipt;
use muster_proto::v1::{
    ReceiptLevel, SendEventRequest, SendEventResponse, WatchEventsRequest, WatchEventsResponse,
};
use muster_tests::harness::api::{EventSender, Watch};
use muster_tests::harness::{Api, Cluster, Daemon, EventLog};

/// Longest time for a burst to reach everybody on a busy machine.
const BURST: Duration = Duration::from_secs(60);

/// A consumer: its stream and what it took.
struct Consumer {
    watch: Watch<WatchEventsResponse>,
    log: EventLog,
}

impl Consumer {
    async fn open(node: &Daemon, request: WatchEventsRequest) -> Self {
        let (watch, token) = node.api().await.watch_events(request).await;
        Self {
            watch,
            log: EventLog::from_token(&token).expect("begin has a bad token"),
        }
    }

    async fn now(node: &Daemon) -> Self {
        Self::open(node, WatchEventsRequest::default()).await
    }

    /// One consumer on each daemon.
    async fn on_all(cluster: &Cluster) -> Vec<Self> {
        let mut all = Vec::new();
        for node in cluster.nodes() {
            all.push(Self::now(node).await);
        }
        all
    }

    /// Reads until it took `count` events, or knows of them by gaps.
    async fn take(&mut self, count: u64) {
        while self.taken() < count {
            self.log
                .apply(&self.watch.next().await)
                .expect("the promise is broken");
        }
    }

    fn taken(&self) -> u64 {
        self.log.events().len() as u64 + self.log.missed()
    }

    /// Payloads as numbers, in order of arrival.
    fn numbers(&self) -> Vec<u64> {
        let text = self
            .log
            .events()
            .iter()
            .map(|event| String::from_utf8_lossy(&event.payload));
        text.map(|payload| payload.parse().expect("a foreign payload"))
            .collect()
    }
}

fn event(
    sequence: u64,
    name: &str,
    payload: impl Into<Bytes>,
    level: ReceiptLevel,
) -> SendEventRequest {
    SendEventRequest {
        sequence,
        name: name.to_owned(),
        payload: payload.into(),
        receipt: level.into(),
        ..Default::default()
    }
}

/// Sends numbers 1 to `count` and waits for all receipts.
async fn send_numbers(api: &mut Api, count: u64, level: ReceiptLevel) {
    let EventSender { requests, receipts } = api.sender().await;
    let writing = async move {
        for n in 1..=count {
            let request = event(n, "burst", n.to_string(), level);
            requests.send(request).await.expect("the stream ended");
        }
    };
    let ((), ()) = tokio::join!(writing, check_receipts(receipts, count, level));
}

/// Reads receipts to the end: each level complete and in order, nothing refused.
async fn check_receipts(mut receipts: Watch<SendEventResponse>, count: u64, level: ReceiptLevel) {
    let (mut accepted, mut replicated) = (0, 0);
    while let Some(message) = receipts.try_next().await.expect("SendEvent failed") {
        match message.receipt {
            Some(Receipt::Accepted(receipt)) => {
                accepted += 1;
                assert_eq!(message.sequence, accepted);
                assert!(receipt.id.is_some());
            }
            Some(Receipt::Replicated(receipt)) => {
                replicated += 1;
                assert_eq!(message.sequence, replicated);
                assert!(receipt.id.is_some() && replicated <= accepted);
            }
            other => panic!("event {}: {other:?}", message.sequence),
        }
    }
    assert_eq!(accepted, count);
    assert_eq!(
        replicated,
        if level == ReceiptLevel::Replicated {
            count
        } else {
            0
        }
    );
}
