//! `muster members`.

use jiff::Timestamp;

use crate::cli::args::{MemberList, Members};
use crate::cli::failure::Failure;
use crate::cli::{CALL_TIMEOUT, Context, json, table};
use crate::pb;

pub(super) async fn run(context: &mut Context, args: &MemberList) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.members(filter(&args.filter));
    let members = context.deadline(CALL_TIMEOUT, call).await?.items;
    let colour = context.out.colour();
    context.out.answer(&json::Members::of(&members), || {
        let now = Timestamp::now();
        let lines = match args.detailed {
            false => table::members(&members, now, colour),
            true => table::members_detailed(&members, now, colour),
        };
        lines.join("\n")
    })?;
    if members.is_empty() {
        return Err(Failure::empty("no member matches"));
    }
    Ok(())
}

/// The filter of the API for the options of the command line.
pub(super) fn filter(args: &Members) -> pb::MemberFilter {
    let statuses = args.status.iter().flat_map(|statuses| &statuses.0);
    pb::MemberFilter {
        names: Vec::new(),
        roles: args.role.clone(),
        statuses: statuses.map(|status| (*status).into()).collect(),
        tags: args.tags.iter().cloned().collect(),
        name_regex: args.name.clone().unwrap_or_default(),
    }
}
