//! `muster event`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::cli::args::{Event, Extras, Receipt};
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{CLUSTER_TIMEOUT, Context, batch};
use crate::pb;
use crate::send::{EventOptions, Outcome, Receipts};

/// Most bytes read from standard input: the highest payload limit that a daemon can
/// be set to. The daemon's own limit is lower by default and is told by the daemon.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// How long the daemon waits for deliveries when `--timeout` is not given.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Sent<'a> {
    receipt: &'static str,
    origin: &'a str,
    boot: u64,
    sequence: u64,
}

#[derive(Serialize)]
struct Delivered<'a> {
    #[serde(flatten)]
    sent: Sent<'a>,
    member: &'a str,
}

#[derive(Serialize)]
struct Delivery<'a> {
    #[serde(flatten)]
    sent: Sent<'a>,
    expected: u32,
    delivered: u32,
    silent: &'a [String],
}

pub(super) async fn run(context: &mut Context, args: Event) -> Result<(), Failure> {
    let level = match args.receipt {
        Receipt::Accepted => pb::ReceiptLevel::Accepted,
        Receipt::Replicated => pb::ReceiptLevel::Replicated,
        Receipt::Delivered => pb::ReceiptLevel::Delivered,
    };
    let mut options = options(args.extras);
    if level == pb::ReceiptLevel::Delivered {
        options.receipt_timeout = context.timeout;
    }
    if let Some(path) = &args.batch {
        return batch::run(context, path, level, options).await;
    }
    let name = args.name.unwrap_or_default();
    let payload = match args.payload.as_deref() {
        None => Vec::new(),
        Some("-") => read_payload().await?,
        Some(text) => text.as_bytes().to_vec(),
    };
    let (mut sender, receipts) = context.client()?.send_events(level);
    // The queue has room for one.
    sender.send_with(name, payload, options).await?;
    drop(sender);
    if level == pb::ReceiptLevel::Delivered {
        return delivered(context, receipts).await;
    }
    let outcome = context.deadline(CLUSTER_TIMEOUT, last(receipts)).await?;
    let (receipt, id) = match &outcome {
        Outcome::Rejected(rejected) => return Err(Failure::refused(refusal(rejected))),
        Outcome::Accepted(accepted) => ("accepted", accepted.id.as_ref()),
        Outcome::Replicated(replicated) => ("replicated", replicated.id.as_ref()),
        Outcome::Delivered(_) | Outcome::Delivery(_) => ("delivered", None),
    };
    let nobody = pb::EventId::default();
    let id = id.unwrap_or(&nobody);
    context.out.answer(&sent(receipt, id), || {
        format!("{receipt}: {} of {}", id.sequence, escape(&id.origin))
    })
}

async fn last(mut receipts: Receipts) -> Result<Outcome, crate::Error> {
    let receipt = receipts.next_final().await?;
    receipt
        .map(|receipt| receipt.outcome)
        .ok_or(crate::Error::Ended { call: "SendEvent" })
}

/// Prints each receipt as it comes; the daemon ends the wait.
async fn delivered(context: &mut Context, mut receipts: Receipts) -> Result<(), Failure> {
    // The daemon's own wait, and what sending itself may take.
    let limit = context.timeout.unwrap_or(DELIVERY_TIMEOUT) + CLUSTER_TIMEOUT;
    let end = tokio::time::Instant::now() + limit;
    loop {
        let next = tokio::time::timeout_at(end, receipts.next()).await;
        let Ok(next) = next else {
            return Err(Failure::deadline(limit));
        };
        let Some(receipt) = next? else {
            return Err(crate::Error::Ended { call: "SendEvent" }.into());
        };
        if let Some(end) = print(context, &receipt.outcome)? {
            return end;
        }
    }
}

/// One receipt. `Some` after the last one: how the command ends.
fn print(context: &mut Context, outcome: &Outcome) -> Result<Option<Result<(), Failure>>, Failure> {
    let nobody = pb::EventId::default();
    match outcome {
        Outcome::Rejected(rejected) => Err(Failure::refused(refusal(rejected))),
        Outcome::Accepted(accepted) => {
            let id = accepted.id.as_ref().unwrap_or(&nobody);
            context.out.answer(&sent("accepted", id), || {
                format!("accepted: {} of {}", id.sequence, escape(&id.origin))
            })?;
            Ok(None)
        }
        Outcome::Replicated(_) => Ok(None),
        Outcome::Delivered(delivered) => {
            let member = &delivered.member;
            let id = delivered.id.as_ref().unwrap_or(&nobody);
            let sent = sent("delivered", id);
            let text = || format!("delivered: {}", escape(member));
            context.out.answer(&Delivered { sent, member }, text)?;
            Ok(None)
        }
        Outcome::Delivery(delivery) => {
            let id = delivery.id.as_ref().unwrap_or(&nobody);
            let (expected, delivered) = (delivery.expected, delivery.delivered);
            let answer = Delivery {
                sent: sent("delivery", id),
                expected,
                delivered,
                silent: &delivery.silent,
            };
            let summary = format!("delivered to {delivered} of {expected}");
            context.out.answer(&answer, || summary)?;
            Ok(Some(verdict(delivery)))
        }
    }
}

/// Whether everybody has it, as an exit code.
fn verdict(delivery: &pb::EventDelivery) -> Result<(), Failure> {
    let missing = delivery.expected.saturating_sub(delivery.delivered);
    if delivery.expected == 0 {
        return Err(Failure::empty("no live member matches the target"));
    }
    if missing == 0 {
        return Ok(());
    }
    let named = delivery.silent.join(", ");
    let named_count = u32::try_from(delivery.silent.len()).unwrap_or(u32::MAX);
    let more = match missing.saturating_sub(named_count) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Failure::refused(format!("no word from {named}{more}")))
}

fn sent<'a>(receipt: &'static str, id: &'a pb::EventId) -> Sent<'a> {
    Sent {
        receipt,
        origin: &id.origin,
        boot: id.boot,
        sequence: id.sequence,
    }
}

fn options(extras: Extras) -> EventOptions {
    let tags = extras.to_tag.into_iter().collect();
    EventOptions {
        target: target(extras.to_member, extras.to_role, tags),
        one_of_role: extras.one_of_role.unwrap_or_default(),
        coalesce: extras.coalesce,
        attributes: extras.attributes.into_iter().collect(),
        receipt_timeout: None,
    }
}

/// A filter of these parts; `None` if there is none of them.
pub(super) fn target(
    names: Vec<String>,
    roles: Vec<String>,
    tags: BTreeMap<String, String>,
) -> Option<pb::MemberFilter> {
    let filter = pb::MemberFilter {
        names,
        roles,
        tags,
        ..pb::MemberFilter::default()
    };
    (filter != pb::MemberFilter::default()).then_some(filter)
}

/// What to print for a refused event.
pub(super) fn refusal(rejected: &pb::EventRejected) -> String {
    if !rejected.message.is_empty() {
        return rejected.message.clone();
    }
    match rejected.reason() {
        pb::EventRejectReason::InvalidName => "the name is not allowed".into(),
        pb::EventRejectReason::TooLarge => {
            format!("the payload is larger than {} bytes", rejected.limit)
        }
        pb::EventRejectReason::NotPermitted => "this socket may not send events".into(),
        pb::EventRejectReason::Leaving => "the node is leaving or has left the cluster".into(),
        pb::EventRejectReason::BadTarget => "the target is wrong".into(),
        pb::EventRejectReason::TooManyPending => "too many events wait for their deliveries".into(),
        pb::EventRejectReason::Unspecified => "the daemon refused it".into(),
    }
}

pub(super) async fn read_payload() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    let mut input = tokio::io::stdin().take(PAYLOAD_BYTES_MAX + 1);
    let read = input.read_to_end(&mut payload).await;
    read.map_err(|error| Failure::file("read", Path::new("standard input"), &error))?;
    if u64::try_from(payload.len()).unwrap_or(u64::MAX) > PAYLOAD_BYTES_MAX {
        return Err(Failure::refused(format!(
            "the payload is larger than {PAYLOAD_BYTES_MAX} bytes"
        )));
    }
    Ok(payload)
}
