//! `muster watch members`: redrawn in place on a terminal, else a line per change.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::args::WatchMembers;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::text::{clock, escape};
use crate::cli::{Context, json, members, note, table};
use crate::member_watch::{Change, ChangeKind, MemberUpdate, MemberWatch, MemberWatchOptions};
use crate::{display_name, pb, status_name};

/// How often a live view is drawn again for the sake of its ages.
const REDRAW: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Snapshot<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'static str,
    members: Vec<json::Member<'a>>,
}

#[derive(Serialize)]
struct Changed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    previous_status: Option<&'static str>,
    member: json::Member<'a>,
}

#[derive(Serialize)]
struct Reconnected {
    #[serde(rename = "type")]
    kind: &'static str,
    resumed: bool,
}

pub(super) async fn run(context: &mut Context, args: &WatchMembers) -> Result<(), Failure> {
    let options = MemberWatchOptions {
        filter: members::filter(&args.filter),
        min_interval: Duration::ZERO,
    };
    let watch = context.client()?.watch_members(options);
    let limit = context.timeout;
    let follow = async {
        if context.out.is_live() {
            live(context, watch).await
        } else {
            lines(context, watch).await
        }
    };
    super::until_stopped(limit, follow).await
}

async fn lines(context: &mut Context, mut watch: MemberWatch) -> Result<(), Failure> {
    loop {
        let update = watch.next().await?;
        if context.out.is_json() {
            print_json(context, update, watch.position().is_some())?;
        } else {
            print_lines(context, update, watch.position().is_some())?;
        }
    }
}

async fn live(context: &Context, mut watch: MemberWatch) -> Result<(), Failure> {
    let mut screen = Screen::default();
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = String::new();
    loop {
        tokio::select! {
            update = watch.next() => match update? {
                MemberUpdate::Disconnected(lost) if watch.position().is_none() => {
                    return Err(lost.error.into());
                }
                MemberUpdate::Disconnected(lost) => {
                    state = format!("(as of before: {}; trying again)", escape(&lost.error.to_string()));
                }
                MemberUpdate::Reconnected { .. } => state.clear(),
                MemberUpdate::Snapshot { .. } | MemberUpdate::Changes(_) => {}
            },
            _ = tick.tick() => {}
        }
        if watch.position().is_some() {
            let mut lines = table::members(watch.members(), Timestamp::now(), context.out.colour());
            lines.push(state.clone());
            screen.draw(&lines)?;
        }
    }
}

fn print_json(context: &mut Context, update: MemberUpdate, begun: bool) -> Result<(), Failure> {
    let out = &mut context.out;
    match update {
        MemberUpdate::Snapshot { reason, members } => out.json(&Snapshot {
            kind: "snapshot",
            reason: json::snapshot_reason(reason),
            members: members.iter().map(json::Member::of).collect(),
        }),
        MemberUpdate::Changes(changes) => changes.iter().try_for_each(|change| {
            out.json(&Changed {
                kind: kind_name(change.kind),
                previous_status: change.before.as_ref().map(|m| status_name(m.status())),
                member: json::Member::of(&change.member),
            })
        }),
        MemberUpdate::Disconnected(lost) if !begun => Err(lost.error.into()),
        MemberUpdate::Disconnected(lost) => out.json(&json::Disconnected::of(&lost)),
        MemberUpdate::Reconnected { resumed } => out.json(&Reconnected {
            kind: "reconnected",
            resumed,
        }),
    }
}

fn print_lines(context: &mut Context, update: MemberUpdate, begun: bool) -> Result<(), Failure> {
    match update {
        MemberUpdate::Snapshot { members, .. } => {
            for member in &members {
                context.out.line(&describe(member))?;
            }
            Ok(())
        }
        MemberUpdate::Changes(changes) => changes
            .iter()
            .try_for_each(|change| context.out.line(&describe_change(change))),
        MemberUpdate::Disconnected(lost) if !begun => Err(lost.error.into()),
        MemberUpdate::Disconnected(lost) => {
            if lost.failures == 1 {
                note(&format!("{}; trying again", lost.error));
            }
            Ok(())
        }
        MemberUpdate::Reconnected { .. } => {
            note("the daemon is back");
            Ok(())
        }
    }
}

/// `2026-11-21T10:00:00Z n1 alive 10.0.0.1:7946`.
fn describe(member: &pb::Member) -> String {
    format!(
        "{} {} {} {}",
        clock(member.updated_at.as_ref()),
        escape(display_name(member)),
        status_name(member.status()),
        table::address(&member.gossip_ip, member.gossip_port),
    )
}

/// As [`describe`], with what was before and why.
pub(super) fn describe_change(change: &Change) -> String {
    let member = &change.member;
    let line = describe(member);
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

const fn kind_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Updated => "updated",
        ChangeKind::Removed => "removed",
    }
}
