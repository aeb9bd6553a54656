//! `muster watch events`: a line per event.

use serde::Serialize;

use crate::cli::args::WatchEvents;
use crate::cli::failure::Failure;
use crate::cli::text::{self, clock, escape};
use crate::cli::{Context, json, note, table};
use crate::event_watch::{Coalescing, EventUpdate, EventWatch, EventWatchOptions};
use crate::{EventPositions, pb};

#[derive(Serialize)]
struct Plain {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Where the watch stands, for `--from`.
#[derive(Serialize)]
struct Position<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    token: &'a str,
}

pub(super) async fn run(context: &mut Context, args: WatchEvents) -> Result<(), Failure> {
    // After nothing: everything is owed, and what is gone is told as gaps.
    let start = args.since_start.then(EventPositions::default);
    let mut watch = context.client()?.watch_events(EventWatchOptions {
        names: args.names,
        resume: args.from.or(start),
        replay: args.replay,
        coalesce: args.coalesce.then(Coalescing::default),
    });
    let limit = context.timeout;
    let ended = super::until_stopped(limit, follow(context, &mut watch, args.count)).await;
    if args.token
        && let Some(positions) = watch.positions()
    {
        let token = text::token(positions);
        let kind = "position";
        context.out.answer(
            &Position {
                kind,
                token: &token,
            },
            || format!("position: {token}"),
        )?;
    }
    ended
}

async fn follow(
    context: &mut Context,
    watch: &mut EventWatch,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut left = count;
    while left != Some(0) {
        let update = watch.next().await?;
        if matches!(update, EventUpdate::Event(_)) {
            left = left.map(|left| left - 1);
        }
        if let EventUpdate::Disconnected(lost) = update {
            if watch.positions().is_none() {
                return Err(lost.error.into());
            }
            if context.out.is_json() {
                context.out.json(&json::Disconnected::of(&lost))?;
            } else if lost.failures == 1 {
                note(&format!("{}; trying again", lost.error));
            }
        } else if context.out.is_json() {
            print_json(context, watch, &update)?;
        } else {
            print_line(context, &update)?;
        }
    }
    Ok(())
}

fn print_json(
    context: &mut Context,
    watch: &EventWatch,
    update: &EventUpdate,
) -> Result<(), Failure> {
    let out = &mut context.out;
    match update {
        EventUpdate::Subscribed => {
            let token = watch.positions().map(text::token).unwrap_or_default();
            let (kind, token) = ("subscribed", &*token);
            out.json(&Position { kind, token })
        }
        EventUpdate::Event(event) => out.json(&json::Event::of(event)),
        EventUpdate::Gap(gap) => out.json(&json::Gap::of(gap)),
        EventUpdate::Disconnected(lost) => out.json(&json::Disconnected::of(lost)),
        EventUpdate::Reconnected => out.json(&Plain {
            kind: "reconnected",
        }),
    }
}

fn print_line(context: &mut Context, update: &EventUpdate) -> Result<(), Failure> {
    match update {
        EventUpdate::Event(event) => context.out.line(&describe(event)),
        EventUpdate::Gap(gap) => context.out.line(&describe_gap(gap)),
        EventUpdate::Reconnected => {
            note("the daemon is back");
            Ok(())
        }
        EventUpdate::Subscribed | EventUpdate::Disconnected(_) => Ok(()),
    }
}

/// `2026-11-21T10:00:00Z n1 deploy {"version":3}`.
pub(super) fn describe(event: &pb::Event) -> String {
    let origin = event.id.as_ref().map_or("?", |id| &id.origin);
    let payload = match std::str::from_utf8(&event.payload) {
        Ok("") => String::new(),
        Ok(text) => format!(" {}", escape(text)),
        Err(_binary) => format!(" ({} bytes that are no text)", event.payload.len()),
    };
    let (origin, name) = (escape(origin), escape(&event.name));
    format!(
        "{} {origin}{} {name}{payload}{}",
        clock(event.received_at.as_ref()),
        if event.child.is_empty() {
            String::new()
        } else {
            format!("/{}", escape(&event.child))
        },
        describe_extras(event),
    )
}

/// ` [build=7, targeted, 2 merged]`, or nothing.
fn describe_extras(event: &pb::Event) -> String {
    let pair = |(key, value): (&String, &String)| format!("{}={}", escape(key), escape(value));
    let mut extras: Vec<String> = event.attributes.iter().map(pair).collect();
    if event.target.is_some() {
        extras.push("targeted".to_owned());
    }
    if event.merged > 0 {
        extras.push(format!("{} merged", event.merged));
    }
    if extras.is_empty() {
        return String::new();
    }
    format!(" [{}]", extras.join(", "))
}

pub(super) fn describe_gap(gap: &pb::EventGap) -> String {
    let why = match gap.reason() {
        pb::EventGapReason::NotHeld => "no member holds them any more",
        pb::EventGapReason::FellBehind => "this watch fell behind",
        pb::EventGapReason::Unspecified => "the reason is not known",
    };
    format!(
        "events {} to {} of {} are lost: {why}",
        gap.first_sequence,
        gap.last_sequence,
        table::cut(&escape(&gap.origin)),
    )
}
