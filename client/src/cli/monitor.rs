//! `muster monitor`: the daemon's log, and what happens in the cluster, line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::args::{LogLine, Monitor};
use crate::cli::failure::Failure;
use crate::cli::text::{clock, escape, rfc3339};
use crate::cli::watch_view::{Shown as _, kind_name};
use crate::cli::{CALL_TIMEOUT, Context, json, note, watch_events};
use crate::event_watch::{EventUpdate, EventWatchOptions};
use crate::{LogTail, MemberWatchOptions, Members, Update, pb};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    time: Option<String>,
    level: &'static str,
    target: &'a str,
    message: &'a str,
    fields: &'a BTreeMap<String, String>,
    dropped_before: u64,
}

#[derive(Serialize)]
struct Changed<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    change: &'static str,
    #[serde(flatten)]
    member: T,
}

pub(super) async fn run(context: &mut Context, args: &Monitor) -> Result<(), Failure> {
    let client = context.client()?;
    let request = pb::TailLogsRequest {
        level: level(args.log_level).into(),
        backlog: args.backlog,
        follow: !args.no_follow,
    };
    let call = client.tail_logs(request);
    let tail = context.deadline(CALL_TIMEOUT, call).await?;
    let limit = context.timeout;
    if args.no_follow {
        return super::until(limit, print_all(context, tail)).await;
    }
    super::until_stopped(limit, follow(context, tail)).await
}

async fn print_all(context: &mut Context, mut tail: LogTail) -> Result<(), Failure> {
    while let Some(line) = tail.next().await? {
        print(context, &line)?;
    }
    Ok(())
}

/// Ends with the daemon.
async fn follow(context: &mut Context, mut tail: LogTail) -> Result<(), Failure> {
    let client = context.client()?;
    let mut members = client.watch_members(MemberWatchOptions {
        filter: pb::MemberFilter::default(),
        min_interval: Duration::ZERO,
    });
    let mut events = client.watch_events(EventWatchOptions::default());
    loop {
        tokio::select! {
            line = tail.next() => match line? {
                Some(line) => print(context, &line)?,
                None => return Ok(()),
            },
            update = members.next() => print_members(context, update?)?,
            update = events.next() => print_event(context, update?)?,
        }
    }
}

fn print(context: &mut Context, line: &pb::TailLogsResponse) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(&Line {
            kind: "log",
            time: rfc3339(line.time.as_ref()),
            level: level_name(line.level()),
            target: &line.target,
            message: &line.message,
            fields: &line.fields,
            dropped_before: line.dropped_before,
        });
    }
    if line.dropped_before > 0 {
        note(&format!(
            "{} lines were lost: too slow",
            line.dropped_before
        ));
    }
    context.out.line(&describe(line))
}

fn print_members(context: &mut Context, update: Update<pb::Member>) -> Result<(), Failure> {
    let Update::Changes(changes) = update else {
        // Who is there already is for `muster members`; a daemon that is gone ends the log.
        return Ok(());
    };
    for change in &changes {
        if context.out.is_json() {
            context.out.json(&Changed {
                kind: "member",
                change: kind_name(change.kind),
                member: Members::change_json(change),
            })?;
        } else {
            let line = Members::change_line(change);
            context.out.line(&format!("member {line}"))?;
        }
    }
    Ok(())
}

fn print_event(context: &mut Context, update: EventUpdate) -> Result<(), Failure> {
    match update {
        EventUpdate::Event(event) if context.out.is_json() => {
            context.out.json(&json::Event::of(&event))
        }
        EventUpdate::Event(event) => {
            let line = watch_events::describe(&event);
            context.out.line(&format!("event {line}"))
        }
        EventUpdate::Gap(gap) if context.out.is_json() => context.out.json(&json::Gap::of(&gap)),
        EventUpdate::Gap(gap) => context.out.line(&watch_events::describe_gap(&gap)),
        EventUpdate::Subscribed | EventUpdate::Disconnected(_) | EventUpdate::Reconnected => Ok(()),
    }
}

/// `2026-11-21T10:00:00Z WARN musterd::gossip cannot reach it peer=n2`.
fn describe(line: &pb::TailLogsResponse) -> String {
    let time = clock(line.time.as_ref());
    let level = level_name(line.level()).to_uppercase();
    let mut text = format!("{time} {level:5} {} {}", line.target, line.message);
    for (name, value) in &line.fields {
        text.push_str(&format!(" {name}={value}"));
    }
    escape(&text)
}

const fn level(level: LogLine) -> pb::LogLevel {
    match level {
        LogLine::Error => pb::LogLevel::Error,
        LogLine::Warn => pb::LogLevel::Warn,
        LogLine::Info => pb::LogLevel::Info,
        LogLine::Debug => pb::LogLevel::Debug,
        LogLine::Trace => pb::LogLevel::Trace,
    }
}

const fn level_name(level: pb::LogLevel) -> &'static str {
    match level {
        pb::LogLevel::Error => "error",
        pb::LogLevel::Warn => "warn",
        pb::LogLevel::Unspecified | pb::LogLevel::Info => "info",
        pb::LogLevel::Debug => "debug",
        pb::LogLevel::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let line = pb::TailLogsResponse {
            time: Some(prost_types::Timestamp {
                seconds: 1_795_255_200,
                nanos: 0,
            }),
            level: pb::LogLevel::Warn.into(),
            target: "musterd::gossip".into(),
            message: "cannot reach it".into(),
            fields: [("peer".to_owned(), "n2\nforged".to_owned())].into(),
            dropped_before: 0,
        };
        assert_eq!(
            describe(&line),
            "2026-11-21T10:00:00Z WARN  musterd::gossip cannot reach it peer=n2\\nforged"
        );
    }
}
