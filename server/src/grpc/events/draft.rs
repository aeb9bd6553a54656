//! What a caller asks to be sent, checked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::name::check_role;
use muster_engine::{EventDraft, Status as MemberStatus};
use muster_proto::v1 as pb;
use pb::EventRejectReason as Reason;
use rand::seq::IndexedRandom as _;
use tonic::Status;

use super::super::status::invalid;
use crate::deliver::{RECEIPT_TIMEOUT, RECEIPT_TIMEOUT_MAX};
use crate::filter::Filter;
use crate::hub::Hub;

/// An event of which a receipt is owed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) draft: EventDraft,
    pub(super) level: pb::ReceiptLevel,
    /// For DELIVERED.
    pub(super) timeout: Duration,
}

/// What was asked for, or the receipt that refuses it.
///
/// # Errors
/// INVALID_ARGUMENT for what is wrong with the call and not with the event.
pub(super) fn wanted(
    event: pb::SendEventRequest,
    hub: &Hub,
) -> Result<Result<Wanted, pb::EventRejected>, Status> {
    let Ok(level) = pb::ReceiptLevel::try_from(event.receipt) else {
        let message = format!("{} is no receipt level", event.receipt);
        return Err(invalid("BAD_RECEIPT_LEVEL", "receipt", message));
    };
    let timeout = timeout(event.receipt_timeout)?;
    let target = match target(event.target, &event.one_of_role, hub) {
        Ok(target) => target,
        Err(rejected) => return Ok(Err(rejected)),
    };
    let draft = EventDraft {
        target,
        coalesce: event.coalesce,
        attributes: event.attributes,
        want_ack: level == pb::ReceiptLevel::Delivered,
        ..EventDraft::new(event.name, event.payload)
    };
    Ok(Ok(Wanted {
        draft,
        level,
        timeout,
    }))
}

/// A receipt that refuses.
pub(super) fn refuse(reason: Reason, message: String) -> pb::EventRejected {
    pb::EventRejected {
        reason: reason.into(),
        message,
        limit: 0,
        retry_after: None,
    }
}

fn timeout(given: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(given) = given else {
        return Ok(RECEIPT_TIMEOUT);
    };
    let timeout = Duration::try_from(given).ok();
    timeout
        .filter(|timeout| !timeout.is_zero() && *timeout <= RECEIPT_TIMEOUT_MAX)
        .ok_or_else(|| {
            let limit = RECEIPT_TIMEOUT_MAX.as_secs();
            let message = format!("more than 0 and at most {limit} s are allowed");
            invalid("BAD_RECEIPT_TIMEOUT", "receipt_timeout", message)
        })
}

fn target(
    filter: Option<pb::MemberFilter>,
    role: &str,
    hub: &Hub,
) -> Result<Bytes, pb::EventRejected> {
    let bad = |message: String| refuse(Reason::BadTarget, message);
    let filter = filter.unwrap_or_default();
    if role.is_empty() {
        let filter = Filter::compile(filter);
        let filter = filter.map_err(|error| bad(format!("target: {error}")))?;
        return Ok(Bytes::copy_from_slice(filter.key()));
    }
    if filter != pb::MemberFilter::default() {
        let message = "target: it cannot be given together with one_of_role";
        return Err(bad(message.to_owned()));
    }
    check_role(role).map_err(|error| bad(format!("one_of_role: {error}")))?;
    let serving = Filter::role(role).map_err(|error| bad(format!("one_of_role: {error}")))?;
    let live = hub.meant(&Bytes::copy_from_slice(serving.key()));
    let alive: Vec<_> = live
        .iter()
        .filter(|member| member.status == MemberStatus::Alive)
        .collect();
    let Some(chosen) = alive.choose(&mut rand::rng()) else {
        return Err(bad(format!("one_of_role: no alive member serves {role}")));
    };
    one(chosen.display_name()).map_err(|error| bad(format!("one_of_role: {error}")))
}

/// The target that means one member.
fn one(name: &Arc<str>) -> Result<Bytes, crate::filter::FilterError> {
    let filter = Filter::compile(pb::MemberFilter {
        names: vec![name.to_string()],
        ..pb::MemberFilter::default()
    })?;
    Ok(Bytes::copy_from_slice(filter.key()))
}
