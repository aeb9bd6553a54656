//! What happens in the cluster: events that are not lost.

use std::time::Duration;

use bytes::Bytes;
use muster_proto::v1::send_event_response::Receipt;
use muster_proto::v1::watch_events_response::Event as Content;
use muster_proto::v1::{
    EventRejectReason, LeaveRequest, ReceiptLevel, SendEventRequest, SendEventResponse,
    WatchEventsRequest, WatchEventsResponse,
};
use muster_tests::harness::api::{EventSender, Watch};
use muster_tests::harness::wait::SOON;
use muster_tests::harness::{Api, Cluster, Daemon, EventLog};
use rustix::process::Signal;
use tonic::Code;

use crate::{cluster_of, daemon};

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

#[tokio::test]
async fn kill_9_of_the_origin_right_after_replicated_loses_nothing() {
    const COUNT: u64 = 200;
    let mut cluster = cluster_of(5).start().await;
    let mut consumers = Vec::new();
    for node in &cluster.nodes()[1..] {
        consumers.push(Consumer::now(node).await);
    }
    let EventSender {
        requests,
        mut receipts,
    } = cluster.node(0).api().await.sender().await;
    tokio::spawn(async move {
        for n in 1..=COUNT {
            let request = event(n, "burst", n.to_string(), ReceiptLevel::Replicated);
            requests.send(request).await.ok();
        }
        // Keeps the stream open until the daemon is gone.
        requests.closed().await;
    });
    loop {
        let message = receipts.next().await;
        if message.sequence == COUNT && matches!(message.receipt, Some(Receipt::Replicated(_))) {
            break;
        }
    }
    cluster.node_mut(0).kill().await;
    for consumer in &mut consumers {
        tokio::time::timeout(BURST, consumer.take(COUNT))
            .await
            .expect("events are missing");
        assert_eq!(consumer.numbers(), (1..=COUNT).collect::<Vec<u64>>());
    }
}

/// The same through the command line: what `event --batch` reported as replicated.
#[tokio::test]
async fn kill_9_right_after_a_batch_was_reported_loses_nothing() {
    const COUNT: u64 = 2_000;
    let mut cluster = cluster_of(5).start().await;
    let mut consumers = Vec::new();
    for node in &cluster.nodes()[1..] {
        consumers.push(Consumer::now(node).await);
    }
    let lines: Vec<String> = (1..=COUNT)
        .map(|n| format!("[\"burst\", \"{n}\"]\n"))
        .collect();
    let muster = cluster.node(0).muster().stdin(&lines.concat());
    muster.ok(&["event", "--batch", "-"]).await;
    cluster.node_mut(0).kill().await;
    for consumer in &mut consumers {
        tokio::time::timeout(BURST, consumer.take(COUNT))
            .await
            .expect("events are missing");
        assert_eq!(consumer.numbers(), (1..=COUNT).collect::<Vec<u64>>());
    }
}

/// Whatever was reported as replicated before the end of the origin is everywhere.
#[tokio::test]
async fn sigterm_during_a_burst_ends_in_time_and_keeps_every_promise() {
    const COUNT: u64 = 100_000;
    let mut cluster = cluster_of(3).start().await;
    let mut consumer = Consumer::now(cluster.node(1)).await;
    let EventSender {
        requests,
        mut receipts,
    } = cluster.node(0).api().await.sender().await;
    tokio::spawn(async move {
        for n in 1..=COUNT {
            let request = event(n, "burst", n.to_string(), ReceiptLevel::Replicated);
            if requests.send(request).await.is_err() {
                break;
            }
        }
    });
    let mut promised = 0;
    while let Ok(Some(message)) = receipts.try_next().await {
        if matches!(message.receipt, Some(Receipt::Replicated(_))) {
            promised = message.sequence;
        }
        if promised == 500 {
            cluster.node_mut(0).signal(Signal::TERM);
        }
    }
    assert!((500..COUNT).contains(&promised), "{promised} were promised");
    let ended = cluster.node_mut(0).wait_exit(SOON).await;
    assert_eq!(ended.code(), Some(0));
    tokio::time::timeout(BURST, consumer.take(promised))
        .await
        .expect("replicated events are missing");
    let numbers = consumer.numbers();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
}

#[tokio::test]
async fn a_restarted_origin_goes_on_as_a_new_boot() {
    let mut cluster = cluster_of(3).start().await;
    let mut consumer = Consumer::now(cluster.node(1)).await;
    send_numbers(
        &mut cluster.node(0).api().await,
        10,
        ReceiptLevel::Replicated,
    )
    .await;
    cluster.node_mut(0).kill().await;
    cluster.node_mut(0).restart().await;
    send_numbers(
        &mut cluster.node(0).api().await,
        10,
        ReceiptLevel::Replicated,
    )
    .await;
    tokio::time::timeout(BURST, consumer.take(20))
        .await
        .expect("events are missing");
    let ids = consumer
        .log
        .events()
        .iter()
        .filter_map(|event| event.id.as_ref());
    let boots: Vec<u64> = ids.map(|id| id.boot).collect();
    assert!(boots[9] < boots[10] && boots.is_sorted(), "{boots:?}");
}

/// One of five is paused during a burst. The sender waits for it for a while, then
/// goes on; the paused member gets the rest, or gap markers, and never silence.
#[tokio::test]
async fn one_of_five_paused_during_a_burst_of_10_000() {
    const COUNT: u64 = 10_000;
    let mut cluster = cluster_of(5).start().await;
    let mut consumers = Consumer::on_all(&cluster).await;
    let begun = tokio::time::Instant::now();
    cluster.node_mut(4).pause();
    let longest = send_and_time(&mut cluster.node(0).api().await, COUNT).await;
    println!(
        "the sender needed {:?} for {COUNT} events and waited {longest:?} at most between two",
        begun.elapsed()
    );
    for (n, consumer) in consumers[..4].iter_mut().enumerate() {
        tokio::time::timeout(BURST, consumer.take(COUNT))
            .await
            .expect("events are missing");
        assert_eq!(
            consumer.numbers(),
            (1..=COUNT).collect::<Vec<u64>>(),
            "at node-{n}"
        );
        println!("node-{n} had them all after {:?}", begun.elapsed());
    }
    cluster.node_mut(4).resume();
    let paused = &mut consumers[4];
    tokio::time::timeout(BURST, paused.take(COUNT))
        .await
        .expect("neither events nor gaps");
    assert_eq!(paused.taken(), COUNT);
    println!(
        "node-4 took {} events after {:?}",
        paused.log.events().len(),
        begun.elapsed()
    );
    for gap in paused.log.gaps() {
        println!(
            "node-4 gap: {} boot {} from {} to {}: {}",
            gap.origin,
            gap.boot,
            gap.first_sequence,
            gap.last_sequence,
            gap.reason().as_str_name()
        );
    }
}

/// Sends and waits for acceptance; the longest wait between two receipts.
async fn send_and_time(api: &mut Api, count: u64) -> Duration {
    let EventSender {
        requests,
        mut receipts,
    } = api.sender().await;
    let writing = async move {
        for n in 1..=count {
            let request = event(n, "burst", n.to_string(), ReceiptLevel::Accepted);
            requests.send(request).await.expect("the stream ended");
        }
    };
    let reading = async {
        let (mut longest, mut last) = (Duration::ZERO, tokio::time::Instant::now());
        let mut accepted = 0;
        while let Some(message) = receipts.try_next().await.expect("SendEvent failed") {
            let is_accepted = matches!(message.receipt, Some(Receipt::Accepted(_)));
            assert!(is_accepted, "{message:?}");
            accepted += 1;
            longest = longest.max(last.elapsed());
            last = tokio::time::Instant::now();
        }
        assert_eq!(accepted, count);
        longest
    };
    let ((), longest) = tokio::join!(writing, reading);
    longest
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
