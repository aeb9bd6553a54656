//! `muster event`.

use std::path::Path;

use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::cli::args::{Event, Receipt};
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{CLUSTER_TIMEOUT, Context, batch};
use crate::pb;
use crate::send::Outcome;

/// Most bytes read from standard input: the highest payload limit that a daemon can
/// be set to. The daemon's own limit is lower by default and is told by the daemon.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

#[derive(Serialize)]
struct Sent<'a> {
    receipt: &'static str,
    origin: &'a str,
    boot: u64,
    sequence: u64,
}

pub(super) async fn run(context: &mut Context, args: Event) -> Result<(), Failure> {
    let level = match args.receipt {
        Receipt::Accepted => pb::ReceiptLevel::Accepted,
        Receipt::Replicated => pb::ReceiptLevel::Replicated,
    };
    if let Some(path) = &args.batch {
        return batch::run(context, path, level).await;
    }
    let name = args.name.unwrap_or_default();
    let payload = match args.payload.as_deref() {
        None => Vec::new(),
        Some("-") => read_payload().await?,
        Some(text) => text.as_bytes().to_vec(),
    };
    let client = context.client()?;
    let call = client.send_event(&name, payload, level);
    let outcome = context.deadline(CLUSTER_TIMEOUT, call).await?;
    let (receipt, id) = match &outcome {
        Outcome::Accepted(accepted) => ("accepted", accepted.id.as_ref()),
        Outcome::Replicated(replicated) => ("replicated", replicated.id.as_ref()),
        Outcome::Rejected(rejected) => return Err(Failure::refused(refusal(rejected))),
    };
    let nobody = pb::EventId::default();
    let id = id.unwrap_or(&nobody);
    let sent = Sent {
        receipt,
        origin: &id.origin,
        boot: id.boot,
        sequence: id.sequence,
    };
    context.out.answer(&sent, || {
        format!("{receipt}: {} of {}", id.sequence, escape(&id.origin))
    })
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
        pb::EventRejectReason::Unspecified => "the daemon refused it".into(),
    }
}

async fn read_payload() -> Result<Vec<u8>, Failure> {
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
