//! The containers as far as they are known, and who is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::summary::Summary;
use super::{Container, EngineStatus, Metrics, State};

/// Containers that are kept; of more, those that are seen first.
const CONTAINERS_MAX: usize = 4_096;

/// What will be published.
#[derive(Debug)]
pub(super) struct View {
    containers: BTreeMap<Arc<str>, Arc<Container>>,
    changed: bool,
    /// When it was last known to be right.
    right_at: SystemTime,
    state: watch::Sender<Arc<State>>,
    metrics: Metrics,
}

impl View {
    pub(super) fn new(state: watch::Sender<Arc<State>>, metrics: Metrics) -> Self {
        Self {
            containers: BTreeMap::new(),
            changed: false,
            right_at: SystemTime::UNIX_EPOCH,
            state,
            metrics,
        }
    }

    /// The engine said something.
    pub(super) fn heard(&mut self, now: SystemTime) {
        self.right_at = now;
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = seconds.unwrap_or_default().as_secs();
        self.metrics
            .right_at
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// What a container looks like now.
    pub(super) fn put(&mut self, container: Container) {
        let kept = self.containers.get(&container.id);
        if kept.is_some_and(|kept| kept.inspect.get() == container.inspect.get()) {
            return;
        }
        if kept.is_none() && self.containers.len() >= CONTAINERS_MAX {
            self.metrics.left_out.inc();
            tracing::warn!(container = %container.id, "too many containers: one is left out");
            return;
        }
        self.changed = true;
        let id = Arc::clone(&container.id);
        self.containers.insert(id, Arc::new(container));
    }

    /// A container is gone.
    pub(super) fn remove(&mut self, id: &str) {
        self.changed |= self.containers.remove(id).is_some();
    }

    /// Drops all but those of a list; the ids of the list.
    pub(super) fn keep(&mut self, listed: &[Summary]) -> Vec<Arc<str>> {
        let ids: Vec<Arc<str>> = listed.iter().map(|one| one.id.as_str().into()).collect();
        let before = self.containers.len();
        let found: std::collections::BTreeSet<&str> = ids.iter().map(|id| &**id).collect();
        self.containers.retain(|id, _| found.contains(&**id));
        self.changed |= self.containers.len() != before;
        ids
    }

    /// Whom to look at, by a list that may be older than the view: those that differ, on
    /// either side.
    pub(super) fn differing(&self, listed: &[Summary]) -> Vec<Arc<str>> {
        let known = |one: &Summary| {
            let kept = self.containers.get(one.id.as_str());
            kept.is_some_and(|kept| one.agrees(kept))
        };
        let mut differing: Vec<Arc<str>> = (listed.iter().filter(|one| !known(one)))
            .map(|one| one.id.as_str().into())
            .collect();
        let ids: std::collections::BTreeSet<_> = listed.iter().map(|one| &*one.id).collect();
        let unlisted = self.containers.keys().filter(|id| !ids.contains(&***id));
        differing.extend(unlisted.cloned());
        differing
    }

    /// Tells of the changes, if there are any.
    pub(super) fn publish_live(&mut self, engine: &str) {
        self.publish(EngineStatus::Live {
            version: engine.to_owned(),
        });
    }

    /// The engine is away, or was never there; whether that is news.
    pub(super) fn publish_away(&mut self, error: String) -> bool {
        let before = self.state.borrow().engine.clone();
        match before {
            EngineStatus::Off | EngineStatus::Unknown { .. } => {
                let status = EngineStatus::Unknown { error: Some(error) };
                let news = status != before;
                self.publish(status);
                news
            }
            EngineStatus::Live { .. } => {
                self.metrics.losses.inc();
                let since = self.right_at;
                self.publish(EngineStatus::Away { since, error });
                true
            }
            EngineStatus::Away { since, error: last } => {
                let news = error != last;
                self.publish(EngineStatus::Away { since, error });
                news
            }
        }
    }

    fn publish(&mut self, engine: EngineStatus) {
        let live = matches!(engine, EngineStatus::Live { .. });
        // While the engine is away the readers keep what was right then.
        let fresh = live && std::mem::take(&mut self.changed);
        let containers = &self.containers;
        self.metrics.live.set(live.into());
        self.metrics
            .containers
            .set(i64::try_from(containers.len()).unwrap_or(i64::MAX));
        self.state.send_if_modified(|state| {
            if !fresh && state.engine == engine {
                return false;
            }
            let containers = match fresh {
                true => containers.clone(),
                false => state.containers.clone(),
            };
            *state = Arc::new(State { engine, containers });
            true
        });
    }
}
