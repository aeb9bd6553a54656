//! How a watch is shown: redrawn in place on a terminal, else a line per change, or JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::text::escape;
use crate::cli::{Context, json, note};
use crate::{Change, ChangeKind, Update, Watch, Watched};

/// How often a live view is drawn again for the sake of its ages.
const REDRAW: Duration = Duration::from_secs(1);

/// How items of one kind are shown.
pub(super) trait Shown: Watched {
    /// The lines of a live view.
    fn table<'a>(
        items: impl Iterator<Item = &'a Self::Item>,
        now: Timestamp,
        colour: bool,
    ) -> Vec<String>
    where
        Self::Item: 'a;

    /// One line.
    fn line(item: &Self::Item) -> String;

    /// As [`Self::line`], with what was before.
    fn change_line(change: &Change<Self::Item>) -> String;

    /// All of them in JSON, an object.
    fn json(items: &[Self::Item]) -> impl Serialize;

    /// A change in JSON, an object without its kind.
    fn change_json(change: &Change<Self::Item>) -> impl Serialize;
}

#[derive(Serialize)]
struct Snapshot<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'static str,
    #[serde(flatten)]
    items: T,
}

#[derive(Serialize)]
struct Changed<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    change: T,
}

#[derive(Serialize)]
struct Reconnected {
    #[serde(rename = "type")]
    kind: &'static str,
    resumed: bool,
}

/// Follows a watch until a signal or the time of the command line ends it.
pub(super) async fn run<W: Shown>(context: &mut Context, watch: Watch<W>) -> Result<(), Failure> {
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

/// What happened to an item, in JSON.
pub(super) const fn kind_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Updated => "updated",
        ChangeKind::Removed => "removed",
    }
}

async fn lines<W: Shown>(context: &mut Context, mut watch: Watch<W>) -> Result<(), Failure> {
    loop {
        let update = next(&mut watch).await?;
        if context.out.is_json() {
            print_json::<W>(context, update)?;
        } else {
            print_lines::<W>(context, update)?;
        }
    }
}

async fn live<W: Shown>(context: &Context, mut watch: Watch<W>) -> Result<(), Failure> {
    let mut screen = Screen::default();
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = String::new();
    loop {
        tokio::select! {
            update = next(&mut watch) => match update? {
                Update::Disconnected(lost) => {
                    let error = escape(&lost.error.to_string());
                    state = format!("(as of before: {error}; trying again)");
                }
                Update::Reconnected { .. } => state.clear(),
                Update::Snapshot { .. } | Update::Changes(_) => {}
            },
            _ = tick.tick() => {}
        }
        if watch.position().is_some() {
            let mut lines = W::table(watch.items(), Timestamp::now(), context.out.colour());
            lines.push(state.clone());
            screen.draw(&lines)?;
        }
    }
}

/// The next news. A daemon that was not there at first is a failure, one that went away is
/// not. Cancel-safe.
async fn next<W: Shown>(watch: &mut Watch<W>) -> Result<Update<W::Item>, Failure> {
    match watch.next().await? {
        Update::Disconnected(lost) if watch.position().is_none() => Err(lost.error.into()),
        update @ (Update::Snapshot { .. }
        | Update::Changes(_)
        | Update::Disconnected(_)
        | Update::Reconnected { .. }) => Ok(update),
    }
}

fn print_json<W: Shown>(context: &mut Context, update: Update<W::Item>) -> Result<(), Failure> {
    let out = &mut context.out;
    match update {
        Update::Snapshot { reason, items } => out.json(&Snapshot {
            kind: "snapshot",
            reason: json::snapshot_reason(reason),
            items: W::json(&items),
        }),
        Update::Changes(changes) => changes.iter().try_for_each(|change| {
            out.json(&Changed {
                kind: kind_name(change.kind),
                change: W::change_json(change),
            })
        }),
        Update::Disconnected(lost) => out.json(&json::Disconnected::of(&lost)),
        Update::Reconnected { resumed } => out.json(&Reconnected {
            kind: "reconnected",
            resumed,
        }),
    }
}

fn print_lines<W: Shown>(context: &mut Context, update: Update<W::Item>) -> Result<(), Failure> {
    let out = &mut context.out;
    match update {
        Update::Snapshot { items, .. } => {
            items.iter().try_for_each(|item| out.line(&W::line(item)))
        }
        Update::Changes(changes) => changes
            .iter()
            .try_for_each(|change| out.line(&W::change_line(change))),
        Update::Disconnected(lost) => {
            if lost.failures == 1 {
                note(&format!("{}; trying again", lost.error));
            }
            Ok(())
        }
        Update::Reconnected { .. } => {
            note("the daemon is back");
            Ok(())
        }
    }
}
