use std::time::Duration;

use pb::send_event_response::Receipt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::super::*;
use crate::gossip::Replicated;
use crate::hub::testing::{member, updated, with_status};

use super::harness::{PAYLOAD_MAX, Served, next, reason, serve, silent};

type Receipts = Streaming<pb::SendEventResponse>;

fn draft(sequence: u64, level: pb::ReceiptLevel) -> pb::SendEventRequest {
    pb::SendEventRequest {
        sequence,
        name: "e".to_owned(),
        payload: sequence.to_le_bytes().to_vec().into(),
        receipt: level.into(),
        ..pb::SendEventRequest::default()
    }
}

/// Events of the engine's boot up to here are replicated.
fn up_to(sequence: u64) -> Replicated {
    Replicated { boot: 7, sequence }
}

fn plain(sequence: u64) -> pb::SendEventRequest {
    draft(sequence, pb::ReceiptLevel::Unspecified)
}

async fn open(served: &Served) -> (mpsc::Sender<pb::SendEventRequest>, Receipts) {
    let (events, taken) = mpsc::channel(1);
    let mut client = served.events().max_encoding_message_size(usize::MAX);
    let receipts = client.send_event(ReceiverStream::new(taken)).await.unwrap();
    (events, receipts.into_inner())
}

fn brief(receipt: pb::SendEventResponse) -> String {
    let kind = match receipt.receipt.unwrap() {
        Receipt::Accepted(accepted) => format!("accepted {}", accepted.id.unwrap().sequence),
        Receipt::Rejected(rejected) => format!("rejected {:?}", rejected.reason()),
        Receipt::Replicated(replicated) => {
            format!("replicated {}", replicated.id.unwrap().sequence)
        }
        Receipt::Delivered(delivered) => format!("delivered to {}", delivered.member),
        Receipt::Delivery(d) => format!("{} of {}, not {:?}", d.delivered, d.expected, d.silent),
    };
    format!("{}: {kind}", receipt.sequence)
}

#[tokio::test(start_paused = true)]
async fn each_event_gets_its_receipt_in_order() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    for sequence in [1, 5, 6] {
        events.send(plain(sequence)).await.unwrap();
    }
    let first = next(&mut receipts).await;
    let Some(Receipt::Accepted(accepted)) = &first.receipt else {
        panic!("{first:?}");
    };
    let id = accepted.id.clone().unwrap();
    assert_eq!(
        (id.origin.as_str(), id.boot, accepted.lamport_time),
        ("me", 7, 101)
    );
    assert_eq!(brief(first), "1: accepted 1");
    assert_eq!(brief(next(&mut receipts).await), "5: accepted 2");
    assert_eq!(brief(next(&mut receipts).await), "6: accepted 3");
    drop(events);
    assert!(
        receipts.message().await.unwrap().is_none(),
        "half-close ends the stream"
    );
}

#[tokio::test(start_paused = true)]
async fn replicated_receipts_follow_while_events_go_on() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    for sequence in 1..=3 {
        let event = draft(sequence, pb::ReceiptLevel::Replicated);
        events.send(event).await.unwrap();
    }
    for n in 1..=3 {
        assert_eq!(
            brief(next(&mut receipts).await),
            format!("{n}: accepted {n}")
        );
    }
    silent(&mut receipts).await;
    served.engine.replicated.send_replace(up_to(2));
    assert_eq!(brief(next(&mut receipts).await), "1: replicated 1");
    assert_eq!(brief(next(&mut receipts).await), "2: replicated 2");
    events.send(plain(4)).await.unwrap();
    assert_eq!(brief(next(&mut receipts).await), "4: accepted 4");
    drop(events);
    silent(&mut receipts).await;
    served.engine.replicated.send_replace(up_to(3));
    assert_eq!(brief(next(&mut receipts).await), "3: replicated 3");
    assert!(receipts.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn sequences_of_another_boot_are_no_receipts() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let event = draft(1, pb::ReceiptLevel::Replicated);
    events.send(event).await.unwrap();
    assert_eq!(brief(next(&mut receipts).await), "1: accepted 1");
    let of = |boot| Replicated { boot, sequence: 9 };
    served.engine.replicated.send_replace(of(6));
    silent(&mut receipts).await;
    // The sequences begin anew: nobody will ever tell of the first ones.
    served.engine.replicated.send_replace(of(8));
    let ended = receipts.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(reason(&ended), "BOOT_RAISED");
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_a_receipt_and_the_stream_lives() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let mut large = plain(1);
    large.payload = vec![0; PAYLOAD_MAX + 1].into();
    events.send(large).await.unwrap();
    let receipt = next(&mut receipts).await;
    let Some(Receipt::Rejected(rejected)) = &receipt.receipt else {
        panic!("{receipt:?}");
    };
    assert_eq!(rejected.limit, PAYLOAD_MAX as u64);
    assert!(rejected.message.contains("65537"), "{}", rejected.message);
    assert_eq!(brief(receipt), "1: rejected TooLarge");
    let mut named = plain(2);
    named.name = "bad name".to_owned();
    events.send(named).await.unwrap();
    assert_eq!(brief(next(&mut receipts).await), "2: rejected InvalidName");
    events.send(plain(3)).await.unwrap();
    assert_eq!(brief(next(&mut receipts).await), "3: accepted 1");
    assert_eq!(served.metrics.rejected.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn sequences_must_grow_and_receipts_before_that_still_come() {
    let served = serve().await;
    for bad in [0, 4, 5] {
        let (events, mut receipts) = open(&served).await;
        events.send(plain(5)).await.unwrap();
        events.send(plain(bad)).await.unwrap();
        assert!(brief(next(&mut receipts).await).starts_with("5: accepted"));
        let refused = receipts.message().await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused), "SEQUENCE_NOT_GROWING");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadably_large_message_tells_the_limit() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let mut huge = plain(1);
    huge.payload = vec![0; PAYLOAD_MAX + limits::DECODE_SLACK_BYTES].into();
    events.send(huge).await.unwrap();
    let refused = receipts.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "MESSAGE_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_receipt_level_is_refused() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let mut event = plain(1);
    event.receipt = 4;
    events.send(event).await.unwrap();
    assert_eq!(
        reason(&receipts.message().await.unwrap_err()),
        "BAD_RECEIPT_LEVEL"
    );
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_while_receipts_are_outstanding() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let total = limits::RECEIPTS_OUTSTANDING_MAX as u64 + 500;
    let sender = tokio::spawn(async move {
        for sequence in 1..=total {
            let event = draft(sequence, pb::ReceiptLevel::Replicated);
            events.send(event).await.unwrap();
        }
    });
    for n in 1..=limits::RECEIPTS_OUTSTANDING_MAX as u64 {
        assert_eq!(
            brief(next(&mut receipts).await),
            format!("{n}: accepted {n}")
        );
    }
    silent(&mut receipts).await;
    let taken = || served.engine.taken.lock().unwrap().len();
    assert_eq!(taken(), limits::RECEIPTS_OUTSTANDING_MAX);
    served.engine.replicated.send_replace(up_to(u64::MAX));
    let mut replicated = 0;
    while replicated < total {
        let receipt = brief(next(&mut receipts).await);
        replicated += u64::from(receipt.contains("replicated"));
    }
    sender.await.unwrap();
    assert!(receipts.message().await.unwrap().is_none());
    assert_eq!(taken() as u64, total);
}

#[tokio::test(start_paused = true)]
async fn a_full_window_slows_the_caller_and_keeps_order() {
    let served = serve().await;
    // Small events, each in a frame of its own, are what h2 counts against a caller.
    served.engine.answers.send_replace(false);
    let (events, mut receipts) = open(&served).await;
    let sender = tokio::spawn(async move {
        for sequence in 1..=20_000 {
            events.send(plain(sequence)).await.unwrap();
        }
    });
    silent(&mut receipts).await;
    assert!(served.engine.taken.lock().unwrap().is_empty());
    served.engine.answers.send_replace(true);
    for n in 1..=20_000 {
        assert_eq!(
            brief(next(&mut receipts).await),
            format!("{n}: accepted {n}")
        );
    }
    sender.await.unwrap();
    let taken = served.engine.taken.lock().unwrap();
    let order = taken
        .iter()
        .map(|payload| u64::from_le_bytes(payload[..].try_into().unwrap()));
    assert!(order.eq(1..=20_000), "handed to the engine in order");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let served = serve().await;
    let (events, receipts) = open(&served).await;
    events
        .send(draft(1, pb::ReceiptLevel::Replicated))
        .await
        .unwrap();
    assert_eq!(served.metrics.calls_open.get(), 1);
    drop((events, receipts));
    let gone = async {
        while served.metrics.calls_open.get() != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .unwrap();
}

fn to_names(names: &[&str]) -> pb::MemberFilter {
    pb::MemberFilter {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..pb::MemberFilter::default()
    }
}

#[tokio::test(start_paused = true)]
async fn targets_are_checked_and_travel_in_one_spelling() {
    let served = serve().await;
    let db = [updated(member("db-1", 1, &["db"]))];
    let down = with_status(member("db-2", 1, &["db"]), muster_engine::Status::Failed);
    served.hub.apply_members(vec![db[0].clone(), updated(down)]);
    let (events, mut receipts) = open(&served).await;
    let asked = [
        pb::SendEventRequest {
            target: Some(to_names(&["b", "a", "b"])),
            coalesce: true,
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..plain(1)
        },
        pb::SendEventRequest {
            one_of_role: "db".to_owned(),
            ..plain(2)
        },
        pb::SendEventRequest {
            target: Some(pb::MemberFilter::default()),
            ..plain(3)
        },
    ];
    for event in asked {
        events.send(event).await.unwrap();
        assert!(brief(next(&mut receipts).await).contains("accepted"));
    }
    let drafts = served.engine.drafts.lock().unwrap().clone();
    let target = |names| prost::Message::encode_to_vec(&to_names(names));
    assert_eq!(drafts[0].target, target(&["a", "b"]));
    assert!(drafts[0].coalesce && !drafts[0].want_ack);
    assert_eq!(drafts[0].attributes["k"], "v");
    assert_eq!(drafts[1].target, target(&["db-1"]), "the failed one never");
    assert!(drafts[2].target.is_empty(), "an empty filter is everybody");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_target_is_a_receipt_that_says_what_is_wrong() {
    let served = serve().await;
    let (events, mut receipts) = open(&served).await;
    let bad_regex = pb::MemberFilter {
        name_regex: "(".to_owned(),
        ..pb::MemberFilter::default()
    };
    let asked = [
        (Some(bad_regex), "", "target: filter.name_regex: "),
        (Some(to_names(&["a"])), "db", "together with one_of_role"),
        (None, "db", "one_of_role: no alive member serves db"),
        (None, "d b", "one_of_role: only letters"),
    ];
    for (nth, (target, role, wrong)) in asked.into_iter().enumerate() {
        let event = pb::SendEventRequest {
            target,
            one_of_role: role.to_owned(),
            ..plain(nth as u64 + 1)
        };
        events.send(event).await.unwrap();
        let Some(Receipt::Rejected(rejected)) = next(&mut receipts).await.receipt else {
            panic!("not refused: {wrong}");
        };
        assert_eq!(rejected.reason(), pb::EventRejectReason::BadTarget);
        assert!(rejected.message.contains(wrong), "{}", rejected.message);
    }
    let endless = pb::SendEventRequest {
        receipt_timeout: Some(prost_types::Duration {
            seconds: 301,
            nanos: 0,
        }),
        ..plain(9)
    };
    events.send(endless).await.unwrap();
    let status = receipts.message().await.unwrap_err();
    assert_eq!(reason(&status), "BAD_RECEIPT_TIMEOUT");
}

#[tokio::test(start_paused = true)]
async fn delivered_receipts_end_with_who_is_silent() {
    let served = serve().await;
    let members = ["a", "b"].map(|name| updated(member(name, 1, &[])));
    served.hub.apply_members(members.to_vec());
    let (events, mut receipts) = open(&served).await;
    let event = pb::SendEventRequest {
        target: Some(to_names(&["a", "b", "nobody"])),
        ..draft(4, pb::ReceiptLevel::Delivered)
    };
    events.send(event).await.unwrap();
    events.send(plain(5)).await.unwrap();
    assert_eq!(brief(next(&mut receipts).await), "4: accepted 1");
    assert_eq!(brief(next(&mut receipts).await), "5: accepted 2");
    assert!(served.engine.drafts.lock().unwrap()[0].want_ack);
    served.deliveries.report(&Arc::from("b"), 7, &[1]);
    drop(events);
    assert_eq!(brief(next(&mut receipts).await), "4: delivered to b");
    let last = brief(next(&mut receipts).await);
    assert_eq!(last, "4: 1 of 2, not [\"a\"]");
    assert!(receipts.message().await.unwrap().is_none());
}
