//! Origins that die and members that sleep.

use std::time::Duration;

use muster_proto::v1::ReceiptLevel;
use muster_proto::v1::send_event_response::Receipt;
use muster_tests::harness::Api;
use muster_tests::harness::api::EventSender;
use muster_tests::harness::wait::SOON;
use rustix::process::Signal;

use super::{BURST, Consumer, event, send_numbers};
use crate::cluster_of;

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
