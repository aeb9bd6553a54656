//! Stopping all children at the end, within a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::settle::is_ours;
use super::{Launcher, Memory};
use crate::children::spec;

/// How long the engine may take for the kills at the very end.
const KILL_WAIT: Duration = Duration::from_secs(1);

impl Launcher {
    /// Stops the children, the last one first. Each gets its share of the time before the
    /// next is told, and goes on to have the rest of it; what still runs at the end is
    /// killed.
    pub(super) async fn stop_all(&self, memory: &Memory) {
        let Some(home) = (self.home)() else {
            return;
        };
        let wanted = Arc::clone(&self.wanted.borrow());
        let mut ids = self.ours(&home);
        ids.extend(memory.ids.clone());
        let children = wanted.children.iter();
        let mut order: Vec<String> = children
            .map(|child| spec::container_name(&home, &child.name))
            .collect();
        order.extend(wanted.run.iter().map(|run| run.child.name.clone()));
        let known: Vec<(String, String)> = order
            .iter()
            .filter_map(|name| ids.remove_entry(name))
            .collect();
        // Those that nobody wants any more are the first to go.
        let all: Vec<_> = ids.into_iter().chain(known.into_iter().rev()).collect();
        if !all.is_empty() {
            self.stop_in_order(&all, wanted.stop_timeout).await;
        }
    }

    /// Ids of our running containers by name, as they were seen last.
    fn ours(&self, home: &spec::Home) -> BTreeMap<String, String> {
        let state = self.state.borrow();
        let ours = state.containers.values();
        let ours = ours.filter(|one| is_ours(one, home) && one.state != "exited");
        ours.map(|one| (one.name.clone(), one.id.to_string()))
            .collect()
    }

    async fn stop_in_order(&self, all: &[(String, String)], total: Duration) {
        let begun = Instant::now();
        let deadline = begun + total;
        let mut running = FuturesUnordered::new();
        let mut left: BTreeMap<&str, &str> = BTreeMap::new();
        for (at, (name, id)) in all.iter().enumerate() {
            let rest = deadline.saturating_duration_since(Instant::now());
            left.insert(name, id);
            running.push(async move { (name.as_str(), self.engine.stop(id, rest).await) });
            let share = rest / u32::try_from(all.len() - at).unwrap_or(u32::MAX);
            let until = (Instant::now() + share).min(deadline);
            while left.contains_key(name.as_str()) {
                match tokio::time::timeout_at(until, running.next()).await {
                    Ok(Some((name, stopped))) => ended(&mut left, name, stopped.err()),
                    Ok(None) | Err(_) => break,
                }
            }
        }
        while let Ok(Some((name, stopped))) =
            tokio::time::timeout_at(deadline, running.next()).await
        {
            ended(&mut left, name, stopped.err());
        }
        drop(running);
        let stopped = all.len() - left.len();
        tracing::info!(stopped, killed = left.len(), after = ?begun.elapsed(), "children stopped");
        let mut kills: FuturesUnordered<_> = left
            .iter()
            .map(|(name, id)| {
                self.metrics.killed.inc();
                tracing::warn!(
                    container = name,
                    "a child does not stop in time: killing it"
                );
                self.engine.kill(id)
            })
            .collect();
        let killed = async { while kills.next().await.is_some() {} };
        if tokio::time::timeout(KILL_WAIT, killed).await.is_err() {
            tracing::warn!("the engine does not kill children in time");
        }
    }
}

fn ended(
    left: &mut BTreeMap<&str, &str>,
    name: &str,
    error: Option<crate::children::engine::EngineError>,
) {
    left.remove(name);
    match error {
        None => tracing::info!(container = name, "child stopped"),
        Some(error) => tracing::warn!(container = name, %error, "cannot stop a child"),
    }
}
