//! `muster watch containers`: redrawn in place on a terminal, else a line per change.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::args::ContainerList;
use crate::cli::containers::{self, Container};
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::text::escape;
use crate::cli::{Context, json, note};
use crate::{ChangeKind, ContainerChange, ContainerUpdate, ContainerWatch};

/// How often a live view is drawn again for the sake of its ages.
const REDRAW: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Snapshot<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'static str,
    containers: Vec<Container<'a>>,
}

#[derive(Serialize)]
struct Changed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    previous_state: Option<&'a str>,
    container: Container<'a>,
}

#[derive(Serialize)]
struct Reconnected {
    #[serde(rename = "type")]
    kind: &'static str,
    resumed: bool,
}

pub(super) async fn run(context: &mut Context, args: &ContainerList) -> Result<(), Failure> {
    let watch = context
        .client()?
        .watch_containers(containers::options(args));
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

async fn lines(context: &mut Context, mut watch: ContainerWatch) -> Result<(), Failure> {
    loop {
        let update = watch.next().await?;
        let begun = watch.position().is_some();
        if context.out.is_json() {
            print_json(context, update, begun)?;
        } else {
            print_lines(context, update, begun)?;
        }
    }
}

async fn live(context: &Context, mut watch: ContainerWatch) -> Result<(), Failure> {
    let mut screen = Screen::default();
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = String::new();
    loop {
        tokio::select! {
            update = watch.next() => match update? {
                ContainerUpdate::Disconnected(lost) if watch.position().is_none() => {
                    return Err(lost.error.into());
                }
                ContainerUpdate::Disconnected(lost) => {
                    let error = escape(&lost.error.to_string());
                    state = format!("(as of before: {error}; trying again)");
                }
                ContainerUpdate::Reconnected { .. } => state.clear(),
                ContainerUpdate::Snapshot { .. } | ContainerUpdate::Changes(_) => {}
            },
            _ = tick.tick() => {}
        }
        if watch.position().is_some() {
            let colour = context.out.colour();
            let mut lines = containers::lines(watch.containers(), Timestamp::now(), colour);
            lines.push(state.clone());
            screen.draw(&lines)?;
        }
    }
}

fn print_json(context: &mut Context, update: ContainerUpdate, begun: bool) -> Result<(), Failure> {
    let out = &mut context.out;
    match update {
        ContainerUpdate::Snapshot { reason, containers } => out.json(&Snapshot {
            kind: "snapshot",
            reason: json::snapshot_reason(reason),
            containers: containers.iter().map(Container::of).collect(),
        }),
        ContainerUpdate::Changes(changes) => changes.iter().try_for_each(|change| {
            out.json(&Changed {
                kind: match change.kind {
                    ChangeKind::Added => "added",
                    ChangeKind::Updated => "updated",
                    ChangeKind::Removed => "removed",
                },
                previous_state: change.before.as_ref().map(|before| before.state.as_str()),
                container: Container::of(&change.container),
            })
        }),
        ContainerUpdate::Disconnected(lost) if !begun => Err(lost.error.into()),
        ContainerUpdate::Disconnected(lost) => out.json(&json::Disconnected::of(&lost)),
        ContainerUpdate::Reconnected { resumed } => out.json(&Reconnected {
            kind: "reconnected",
            resumed,
        }),
    }
}

fn print_lines(context: &mut Context, update: ContainerUpdate, begun: bool) -> Result<(), Failure> {
    match update {
        ContainerUpdate::Snapshot { containers, .. } => containers
            .iter()
            .try_for_each(|one| context.out.line(&containers::describe(one))),
        ContainerUpdate::Changes(changes) => changes
            .iter()
            .try_for_each(|change| context.out.line(&describe(change))),
        ContainerUpdate::Disconnected(lost) if !begun => Err(lost.error.into()),
        ContainerUpdate::Disconnected(lost) => {
            if lost.failures == 1 {
                note(&format!("{}; trying again", lost.error));
            }
            Ok(())
        }
        ContainerUpdate::Reconnected { .. } => {
            note("the daemon is back");
            Ok(())
        }
    }
}

fn describe(change: &ContainerChange) -> String {
    let line = containers::describe(&change.container);
    match (&change.before, change.kind) {
        (_, ChangeKind::Removed) => format!("{line} removed"),
        (None, _) => format!("{line} new"),
        (Some(before), _) if before.state != change.container.state => {
            format!("{line} was {}", escape(&before.state))
        }
        (Some(_), _) => format!("{line} changed"),
    }
}
