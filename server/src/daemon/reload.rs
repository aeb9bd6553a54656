//! Reading the configuration again while the daemon runs.
//!
//! All of it is checked before anything of it is applied; a mistake changes nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use super::notify::Notifier;
use super::shutdown::Timing;
use crate::config::{Config, Problem, Problems};
use crate::gossip::{Handle, TagKeeper};
use crate::grpc::Reloaded;
use crate::tags::{TagStore, Tags};
use crate::telemetry::LogFilter;

/// What the end of children may take beyond their own time.
const STOP_SLACK: Duration = Duration::from_secs(2);

/// Reads the configuration of this process again. Clones are the same.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>);

/// What a reload changes.
#[derive(Debug, Clone)]
pub struct Live {
    /// The configuration that holds: that of the start with what reloads applied.
    pub config: watch::Sender<Arc<Config>>,
    /// How to end.
    pub timing: watch::Sender<Timing>,
    /// What is logged.
    pub log: LogFilter,
    /// The tags of this node.
    pub tags: TagStore,
    /// Who is told of it.
    pub notifier: Notifier,
    /// Where the configuration comes from.
    pub reread: Reread,
}

/// Applies new configurations. Clones share everything.
#[derive(Debug, Clone)]
pub struct Reloader {
    live: Live,
    handle: Handle,
    /// Checks that the engine will take the tags.
    check: fn(&Config, &Tags) -> anyhow::Result<()>,
    turn: Arc<Mutex<()>>,
    done: Counter,
    failed: Counter,
}

impl Reread {
    /// By this function; it may block on the disk.
    pub fn new(read: impl Fn() -> Result<Config, Problems> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reread").finish_non_exhaustive()
    }
}

impl Timing {
    /// How a daemon with this configuration ends.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let process = &config.process;
        Self {
            leave_on_terminate: process.leave_on_terminate,
            leave_on_interrupt: process.leave_on_interrupt,
            leave: process.leave_timeout,
            // Children begin to stop at the first word of the end.
            drain: match config.children.asked {
                true => process
                    .drain_timeout
                    .max(config.children.stop_timeout + STOP_SLACK),
                false => process.drain_timeout,
            },
        }
    }
}

impl Reloader {
    /// `check` says whether the engine will take a configuration with these tags.
    #[must_use]
    pub fn new(
        live: Live,
        handle: Handle,
        check: fn(&Config, &Tags) -> anyhow::Result<()>,
    ) -> Self {
        Self {
            live,
            handle,
            check,
            turn: Arc::default(),
            done: Counter::default(),
            failed: Counter::default(),
        }
    }

    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Reloads of the configuration that were applied";
        registry.register("muster_reloads", help, self.done.clone());
        let help = "Reloads of the configuration that were refused";
        registry.register("muster_reloads_refused", help, self.failed.clone());
    }

    /// Reloads whenever a signal asks for it.
    ///
    /// # Errors
    /// Never.
    pub async fn follow(self, asked: Arc<Notify>, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = asked.notified() => {}
                () = stop.cancelled() => return Ok(()),
            }
            // Its outcome is in the log.
            let _logged = self.reload().await;
        }
    }

    /// Reads the configuration again and applies what can be.
    ///
    /// # Errors
    /// Every mistake, one line each; nothing has changed then.
    pub async fn reload(&self) -> Result<Reloaded, Problems> {
        let _alone = self.turn.lock().await;
        self.live.notifier.reloading();
        let outcome = self.apply().await;
        match &outcome {
            Ok(reloaded) => {
                self.done.inc();
                tracing::info!(
                    applied = reloaded.applied.len(),
                    waiting = reloaded.waiting.len(),
                    "the configuration was reloaded"
                );
            }
            Err(problems) => {
                self.failed.inc();
                for problem in &problems.0 {
                    tracing::error!(%problem, "mistake in the new configuration");
                }
                tracing::error!(
                    mistakes = problems.0.len(),
                    "the configuration was not reloaded: the old one stays"
                );
            }
        }
        let state = match &outcome {
            Ok(_) => "reloaded".to_owned(),
            Err(problems) => format!("{} mistakes in a reload", problems.0.len()),
        };
        let node = self.live.config.borrow().node.clone();
        let status = format!("{} of cluster {}; {state}", node.name, node.cluster);
        self.live.notifier.ready(&status);
        outcome
    }

    async fn apply(&self) -> Result<Reloaded, Problems> {
        let reread = self.live.reread.clone();
        let new = tokio::task::spawn_blocking(move || (reread.0)()).await;
        let new = new
            .context("reading it")
            .map_err(|error| problem("reload", &error))??;
        let running = Arc::clone(&self.live.config.borrow());
        let mut reloaded = Reloaded::default();
        for change in running.changes(&new) {
            let list = match change.setting.live {
                true => &mut reloaded.applied,
                false => &mut reloaded.waiting,
            };
            list.push(change.to_string());
        }
        let refilter = running.process.log_filter != new.process.log_filter;
        let merged = Arc::new(running.with_live(&new));
        self.retag(&merged).await?;
        if refilter && let Err(error) = self.live.log.set(&merged.process.log_filter) {
            // It was checked: only a log that is gone gets here.
            tracing::warn!(%error, "the log filter stays");
        }
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        for change in &reloaded.applied {
            tracing::info!("reload: {change}");
        }
        for change in &reloaded.waiting {
            tracing::warn!("reload: {change}; holds from the next start");
        }
        self.live.timing.send_replace(Timing::of(&merged));
        self.live.config.send_replace(merged);
        Ok(reloaded)
    }

    /// Makes the configured tags those of `config`; what clients changed stays.
    async fn retag(&self, config: &Config) -> Result<(), Problems> {
        let tags = &self.live.tags;
        let configured = &config.node.tags;
        (self.check)(config, &tags.over(configured)).map_err(|error| problem("tag", &error))?;
        let difference = || {
            let difference = tags.difference(configured);
            tags.reconfigure(configured.clone());
            (difference.set, difference.remove)
        };
        let told = self.handle.reconfigure_tags(difference).await;
        told.map_err(|error| problem("tag", &error.into()))
    }
}

impl TagKeeper for TagStore {
    fn keep(&self, set: Tags, remove: Vec<String>) -> BoxFuture<'_, ()> {
        let store = self.clone();
        let kept = tokio::task::spawn_blocking(move || store.changed(&set, &remove));
        async move {
            if let Err(error) = kept.await {
                tracing::error!(%error, "the tags are not kept for the next start");
            }
        }
        .boxed()
    }
}

fn problem(place: &str, error: &anyhow::Error) -> Problems {
    Problems(vec![Problem::at(place, format!("{error:#}"))])
}
