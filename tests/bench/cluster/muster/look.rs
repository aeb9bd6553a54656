//! Views of single daemons.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::pb::MemberStatus;
use muster::{Client, EventUpdate, EventWatchOptions, MemberWatch, MemberWatchOptions};
use tokio::net::UnixStream;
use tokio::sync::{Barrier, mpsc};
use tokio::time::{sleep, timeout_at};

use crate::cluster::peer::{Arrival, Seen, number};

/// Between two looks whether a daemon answers.
const LOOK: Duration = Duration::from_millis(5);

/// When a daemon first answered, and when it saw so many alive and nobody else.
pub(crate) async fn all_alive(socket: PathBuf, size: usize) -> anyhow::Result<(Instant, Instant)> {
    while UnixStream::connect(&socket).await.is_err() {
        sleep(LOOK).await;
    }
    let up = Instant::now();
    let client = super::client(socket)?;
    let mut watch = client.watch_members(MemberWatchOptions::default());
    while alive(&watch) < size {
        watch.next().await?;
    }
    Ok((up, Instant::now()))
}

fn alive(watch: &MemberWatch) -> usize {
    let is_alive = |member: &&muster::pb::Member| member.status() == MemberStatus::Alive;
    watch.items().filter(is_alive).count()
}

/// Waits until the last of the `dead` is shown failed.
pub(crate) async fn failed(
    mut watch: MemberWatch,
    dead: Vec<String>,
    limit: Instant,
) -> anyhow::Result<Seen> {
    let victim = dead.last().cloned().unwrap_or_default();
    let mut seen = Seen::default();
    loop {
        let failed = watch.items().filter(|m| m.status() == MemberStatus::Failed);
        for member in failed {
            if member.name == victim {
                seen.at = Some(Instant::now());
            }
            if !dead.contains(&member.name) {
                seen.wrong.insert(member.name.clone());
            }
        }
        if seen.at.is_some() {
            return Ok(seen);
        }
        match timeout_at(limit.into(), watch.next()).await {
            Ok(next) => drop(next?),
            Err(_elapsed) => return Ok(seen),
        }
    }
}

/// Passes on what numbered events come to a daemon, and when.
pub(crate) async fn events(
    node: usize,
    client: Client,
    sender: mpsc::Sender<Arrival>,
    ready: Arc<Barrier>,
) -> anyhow::Result<()> {
    let mut watch = client.watch_events(EventWatchOptions::default());
    loop {
        match watch.next().await? {
            EventUpdate::Subscribed => {
                ready.wait().await;
            }
            EventUpdate::Event(event) => {
                let at = Instant::now();
                if let Some(number) = number(&event.payload) {
                    // The bench has ended when nobody takes it.
                    sender.try_send(Arrival { node, number, at }).ok();
                }
            }
            // A gap shows as events that did not come.
            EventUpdate::Gap(_) | EventUpdate::Disconnected(_) | EventUpdate::Reconnected | _ => {}
        }
    }
}
