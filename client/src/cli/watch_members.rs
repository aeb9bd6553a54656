//! `muster watch members`.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::args::WatchMembers;
use crate::cli::failure::Failure;
use crate::cli::text::{clock, escape};
use crate::cli::watch_view::{self, Shown};
use crate::cli::{Context, json, members, table};
use crate::{Change, ChangeKind, MemberWatchOptions, Members, display_name, pb, status_name};

#[derive(Serialize)]
struct Changed<'a> {
    previous_status: Option<&'static str>,
    member: json::Member<'a>,
}

pub(super) async fn run(context: &mut Context, args: &WatchMembers) -> Result<(), Failure> {
    let client = context.client()?;
    let watch = client.watch_members(MemberWatchOptions {
        filter: members::filter(&args.filter),
        min_interval: Duration::ZERO,
    });
    watch_view::run(context, watch).await
}

impl Shown for Members {
    fn table<'a>(
        items: impl Iterator<Item = &'a pb::Member>,
        now: Timestamp,
        colour: bool,
    ) -> Vec<String> {
        table::members(items, now, colour)
    }

    /// `2026-11-21T10:00:00Z n1 alive 10.0.0.1:7946`.
    fn line(member: &pb::Member) -> String {
        format!(
            "{} {} {} {}",
            clock(member.updated_at.as_ref()),
            escape(display_name(member)),
            status_name(member.status()),
            table::address(&member.gossip_ip, member.gossip_port),
        )
    }

    /// Also tells why.
    fn change_line(change: &Change<pb::Member>) -> String {
        let member = &change.item;
        let line = Self::line(member);
        let reason = table::reason(member);
        let why = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };
        match (&change.before, change.kind) {
            (_, ChangeKind::Removed) => format!("{line} removed"),
            (None, _) => format!("{line} new{why}"),
            (Some(before), _) if before.boot != member.boot => format!("{line} restarted{why}"),
            (Some(before), _) if before.status() != member.status() => {
                format!("{line} was {}{why}", status_name(before.status()))
            }
            (Some(_), _) => format!("{line} changed"),
        }
    }

    fn json(items: &[pb::Member]) -> impl Serialize {
        json::Members::of(items)
    }

    fn change_json(change: &Change<pb::Member>) -> impl Serialize {
        let before = change.before.as_ref();
        Changed {
            previous_status: before.map(|before| status_name(before.status())),
            member: json::Member::of(&change.item),
        }
    }
}
