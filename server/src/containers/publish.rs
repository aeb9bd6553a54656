//! Tells the cluster what the engine shows, as it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{OwnUpdate, Role};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, plan};
use super::{Config, Metrics};
use crate::docker::{Container, State};
use crate::gossip::{CommandError, Handle};
use crate::hub::containers::summary::ChildFiles;

/// Changes of this long are one change of the record; the end of a container does not
/// wait.
const GATHER: Duration = Duration::from_millis(50);

/// Pause before a change that was refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Bad labels that are kept in mind, so that each is warned of once; beyond it all are
/// forgotten and warned of again.
const WARNED_MAX: usize = 1_024;

/// Which container this daemon runs in.
type Myself = Arc<dyn Fn() -> Option<Arc<Container>> + Send + Sync>;

/// Follows the engine and tells of it.
pub struct Publisher {
    config: Config,
    state: watch::Receiver<Arc<State>>,
    files: watch::Receiver<Arc<ChildFiles>>,
    me: Myself,
    handle: Handle,
    metrics: Metrics,
    told: Told,
    warned: BTreeSet<String>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// What the engine of this node was told.
#[derive(Debug, Default)]
struct Told {
    roles: Vec<Role>,
    ports: BTreeMap<String, Vec<String>>,
    values: BTreeMap<String, Bytes>,
    running: BTreeMap<Arc<str>, bool>,
    short: bool,
    left_out: usize,
}

impl Publisher {
    /// For a node whose engine shows this, with what became of the files of its children.
    /// `me` is asked at each change.
    #[must_use]
    pub fn new(
        config: Config,
        (state, files): (
            watch::Receiver<Arc<State>>,
            watch::Receiver<Arc<ChildFiles>>,
        ),
        me: Myself,
        handle: Handle,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            state,
            files,
            me,
            handle,
            metrics,
            told: Told::default(),
            warned: BTreeSet::new(),
        }
    }

    /// Runs until `stop`, or until nobody follows the engine or serves the handle.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut due: Option<Instant> = None;
        loop {
            let state = Arc::clone(&self.state.borrow_and_update());
            let files = Arc::clone(&self.files.borrow_and_update());
            let (me, short) = ((self.me)(), self.told.short);
            let plan = plan(&state, me.as_deref(), &files, &self.config, short);
            self.warn(&plan);
            let Some(update) = self.told.difference(&plan) else {
                due = None;
                if !self.changed().await {
                    return;
                }
                continue;
            };
            let at = *due.get_or_insert_with(|| Instant::now() + GATHER);
            if !self.told.ends_something(&plan) && Instant::now() < at {
                if let Ok(false) = timeout_at(at, self.changed()).await {
                    return;
                }
                continue;
            }
            due = None;
            match self.handle.publish(update).await {
                Ok(()) => {
                    self.metrics.published.inc();
                    self.told.take(plan);
                }
                Err(CommandError::Stopped) => return,
                Err(error) => {
                    self.metrics.refused.inc();
                    tracing::warn!(cause = %error, "cannot tell of the containers of this node");
                    sleep_until(Instant::now() + RETRY).await;
                }
            }
        }
    }

    /// Waits for something to tell of; false once nobody follows the engine.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.state.changed() => changed.is_ok(),
            // Where there are no files nobody ever speaks of them.
            Ok(()) = self.files.changed() => true,
        }
    }

    /// Says once what is wrong with labels, and when there is not room for all.
    fn warn(&mut self, plan: &Plan) {
        let warned = plan.bad_labels.iter();
        for (container, bad) in warned {
            let line = format!("{container} {bad}");
            if self.warned.len() >= WARNED_MAX {
                self.warned.clear();
            }
            if self.warned.insert(line) {
                self.metrics.bad_labels.inc();
                tracing::warn!(container, cause = %bad, "a label makes no sense");
            }
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.left_out.set(number(plan.left_out));
        self.metrics
            .labels_left_out
            .set(number(plan.labels_left_out));
        if plan.short && !self.told.short {
            tracing::warn!("this node has so many containers that their labels are not told");
        }
        if plan.left_out > 0 && self.told.left_out == 0 {
            let left_out = plan.left_out;
            tracing::warn!(
                left_out,
                "this node has more containers than can be told of"
            );
        }
    }
}

impl Told {
    /// What has to be told for that plan.
    fn difference(&self, plan: &Plan) -> Option<OwnUpdate> {
        let mut update = OwnUpdate::default();
        if plan.roles != self.roles {
            update.roles = Some(plan.roles.clone());
        }
        if plan.ports != self.ports {
            update.ports = Some(plan.ports.clone());
        }
        let gone = self
            .values
            .keys()
            .filter(|key| !plan.values.contains_key(*key));
        update.publish = gone.map(|key| (key.clone(), None)).collect();
        let new = plan.values.iter();
        let new = new.filter(|(key, value)| self.values.get(*key) != Some(value));
        update
            .publish
            .extend(new.map(|(key, value)| (key.clone(), Some(value.clone()))));
        (update != OwnUpdate::default()).then_some(update)
    }

    /// Clients must stop using something at once: a container has ended, or a role is
    /// served no longer or says that it should not be used.
    fn ends_something(&self, plan: &Plan) -> bool {
        let runs = |id: &Arc<str>| plan.running.get(id).copied().unwrap_or(false);
        let ended = self
            .running
            .iter()
            .any(|(id, running)| *running && !runs(id));
        let serves = |role: &Role| plan.roles.contains(role);
        ended || self.roles.iter().any(|role| role.healthy && !serves(role))
    }

    fn take(&mut self, plan: Plan) {
        *self = Self {
            roles: plan.roles,
            ports: plan.ports,
            values: plan.values,
            running: plan.running,
            short: plan.short,
            left_out: plan.left_out,
        };
    }
}

#[cfg(test)]
mod tests;
