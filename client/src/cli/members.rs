//! `muster members`.

use jiff::Timestamp;

use crate::cli::args::{Members, Status};
use crate::cli::failure::Failure;
use crate::cli::{CALL_TIMEOUT, Context, json, table};
use crate::pb;

pub(super) async fn run(context: &mut Context, args: &Members) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.members(filter(args));
    let members = context.deadline(CALL_TIMEOUT, call).await?.members;
    let colour = context.out.colour();
    context.out.answer(&json::Members::of(&members), || {
        table::members(&members, Timestamp::now(), colour).join("\n")
    })?;
    if members.is_empty() {
        return Err(Failure::empty("no member matches"));
    }
    Ok(())
}

/// The filter of the API for the options of the command line.
pub(super) fn filter(args: &Members) -> pb::MemberFilter {
    let status = |status: &Status| match status {
        Status::Alive => pb::MemberStatus::Alive,
        Status::Suspect => pb::MemberStatus::Suspect,
        Status::Leaving => pb::MemberStatus::Leaving,
        Status::Left => pb::MemberStatus::Left,
        Status::Failed => pb::MemberStatus::Failed,
    };
    pb::MemberFilter {
        names: Vec::new(),
        roles: args.role.clone(),
        statuses: args.status.iter().map(|s| status(s).into()).collect(),
        tags: args.tags.iter().cloned().collect(),
        name_regex: args.name.clone().unwrap_or_default(),
    }
}
