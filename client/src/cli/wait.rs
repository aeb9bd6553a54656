//! `muster wait`: until so many members are alive. Waits for the daemon as well.

use std::time::Duration;

use serde::Serialize;

use crate::cli::args::Wait;
use crate::cli::failure::{DEADLINE, Failure, UNREACHABLE};
use crate::cli::text::escape;
use crate::cli::{CLUSTER_TIMEOUT, Context};
use crate::{MemberWatch, MemberWatchOptions, Update, pb};

#[derive(Serialize)]
struct Answer<'a> {
    members: usize,
    role: Option<&'a str>,
}

pub(super) async fn run(context: &mut Context, args: &Wait) -> Result<(), Failure> {
    let filter = pb::MemberFilter {
        roles: args.role.iter().cloned().collect(),
        statuses: vec![pb::MemberStatus::Alive.into()],
        ..pb::MemberFilter::default()
    };
    let mut watch = context.client()?.watch_members(MemberWatchOptions {
        filter,
        min_interval: Duration::ZERO,
    });
    let limit = context.timeout.unwrap_or(CLUSTER_TIMEOUT);
    let mut last_error = None;
    let enough = until(&mut watch, args.members, &mut last_error);
    let Ok(result) = tokio::time::timeout(limit, enough).await else {
        return Err(too_late(&watch, args, limit, last_error));
    };
    let object = Answer {
        members: result?,
        role: args.role.as_deref(),
    };
    context
        .out
        .answer(&object, || format!("{} members are alive", object.members))
}

async fn until(
    watch: &mut MemberWatch,
    wanted: usize,
    last_error: &mut Option<String>,
) -> Result<usize, Failure> {
    loop {
        match watch.next().await? {
            Update::Snapshot { .. } | Update::Changes(_) => {
                let alive = watch.items().count();
                if alive >= wanted {
                    return Ok(alive);
                }
            }
            Update::Disconnected(lost) => *last_error = Some(lost.error.to_string()),
            Update::Reconnected { .. } => *last_error = None,
        }
    }
}

fn too_late(
    watch: &MemberWatch,
    args: &Wait,
    limit: Duration,
    last_error: Option<String>,
) -> Failure {
    if watch.position().is_none() {
        let text = last_error.unwrap_or_else(|| format!("no answer within {limit:?}"));
        return Failure {
            code: UNREACHABLE,
            text,
        };
    }
    let of_role = args
        .role
        .as_ref()
        .map_or_else(String::new, |role| format!(" with role {}", escape(role)));
    Failure {
        code: DEADLINE,
        text: format!(
            "after {limit:?} only {} of {} members{of_role} are alive",
            watch.items().count(),
            args.members
        ),
    }
}
