//! Sending events over one stream.

use muster::{Error, Outcome, pb};

use crate::fake::Fake;

#[tokio::test]
async fn a_thousand_events_are_pipelined_and_each_gets_its_receipt() {
    let fake = Fake::start();
    let (mut sender, mut receipts) = fake.client().send_events(pb::ReceiptLevel::Replicated);
    let send = async move {
        for n in 0..1000u32 {
            let name = if n % 100 == 7 { "bad name" } else { "deploy" };
            let sequence = sender.send(name, n.to_string()).await.unwrap();
            assert_eq!(sequence, u64::from(n) + 1);
        }
    };
    let receive = async {
        let (mut replicated, mut rejected) = (0, 0);
        while let Some(receipt) = receipts.next_final().await.unwrap() {
            match receipt.outcome {
                Outcome::Replicated(of) => {
                    assert_eq!(of.id.unwrap().sequence, receipt.sequence);
                    replicated += 1;
                }
                Outcome::Rejected(_) => rejected += 1,
                other => panic!("{other:?}"),
            }
        }
        (replicated, rejected)
    };
    let ((), counts) = tokio::join!(send, receive);
    assert_eq!(counts, (990, 10));
    assert_eq!(receipts.open(), 0);
    let payloads = fake.plan(|plan| plan.sent.len());
    assert_eq!(payloads, 990);
}

#[tokio::test]
async fn both_receipts_of_an_event_are_there_for_those_who_want_them() {
    let fake = Fake::start();
    let (mut sender, mut receipts) = fake.client().send_events(pb::ReceiptLevel::Replicated);
    sender.send("deploy", "x").await.unwrap();
    drop(sender);
    let first = receipts.next().await.unwrap().unwrap();
    assert!(matches!(first.outcome, Outcome::Accepted(_)));
    assert_eq!(receipts.open(), 1);
    let second = receipts.next().await.unwrap().unwrap();
    assert!(matches!(second.outcome, Outcome::Replicated(_)));
    assert_eq!(receipts.next().await.unwrap(), None);
    assert_eq!(receipts.next().await.unwrap(), None);
}

#[tokio::test]
async fn one_event_and_its_fate() {
    let fake = Fake::start();
    let client = fake.client();
    let accepted = pb::ReceiptLevel::Accepted;
    let fate = client.send_event("deploy", "x", accepted).await.unwrap();
    assert!(matches!(fate, Outcome::Accepted(_)));
    let fate = client.send_event("bad", "x", accepted).await.unwrap();
    assert!(matches!(fate, Outcome::Rejected(_)));
}

#[tokio::test]
async fn a_stream_that_breaks_tells_how_many_have_no_receipt() {
    let fake = Fake::start();
    let (mut sender, mut receipts) = fake.client().send_events(pb::ReceiptLevel::Replicated);
    sender.send("deploy", "x").await.unwrap();
    sender.send("die", "x").await.unwrap();
    sender.send("deploy", "x").await.unwrap();
    assert!(receipts.next_final().await.unwrap().is_some());
    let error = receipts.next_final().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(receipts.open(), 2);
    drop(receipts);
    // The sender notices, it does not wait for ever.
    let ended = async {
        while sender.send("deploy", "x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended)
        .await
        .unwrap();
}
