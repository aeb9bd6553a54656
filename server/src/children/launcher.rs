//! Keeps the children of a node as its `serfnode.yml` wants them.
//!
//! They are started one after the other, and each is found again by its name and labels,
//! so that it does not matter where a run before was killed. Between starts Docker's own
//! restart policy holds: a child that ends is started by the engine, and one that somebody
//! stopped stays so until the daemon starts anew.

#[cfg(test)]
mod fake;
mod settle;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::files::Files;
use super::metrics::Metrics;
use super::spec::{self, Home, Refused, Spec};
use super::{Report, Wanted};
use crate::docker::{Container, EngineStatus, State};

/// First pause after a try that failed; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest pause between tries.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Tells where children live, once that is known.
pub type FindHome = Box<dyn Fn() -> Option<Home> + Send + Sync>;

/// What a launcher works with.
pub struct Launcher {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Its containers.
    pub state: watch::Receiver<Arc<State>>,
    /// The files that children find, if any are written.
    pub files: Option<Arc<dyn Files>>,
    /// The daemon's own variables.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Which children are wanted.
    pub wanted: watch::Receiver<Arc<Wanted>>,
    /// Where they live.
    pub home: FindHome,
    /// Counters.
    pub metrics: Metrics,
    /// Where it is told how the children are.
    pub reports: watch::Sender<Vec<Report>>,
}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher").finish_non_exhaustive()
    }
}

/// What it remembers of its run.
#[derive(Debug, Default)]
struct Memory {
    /// Ids by name of container, of those that were found or created.
    ids: BTreeMap<String, String>,
    /// Containers that were started or found running: they are the engine's business.
    settled: BTreeSet<String>,
    /// What was told of each child last.
    told: BTreeMap<String, String>,
    /// Passes that failed since the last that did not.
    failures: u32,
}

impl Memory {
    /// Forgets those that are not wanted any more.
    fn keep(&mut self, lanes: &[Lane]) {
        let specs = lanes.iter().flatten().flatten();
        let names: BTreeSet<&String> = specs.map(|spec| &spec.container).collect();
        self.ids.retain(|name, _| names.contains(name));
        self.settled.retain(|name| names.contains(name));
    }
}

/// One row of children: each waits for the one before.
type Lane = Vec<Result<Spec, Refused>>;

impl Launcher {
    /// Launches and looks after the children until `ending`, then stops them.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut memory = Memory::default();
        while let Some(home) = self.ready(&ending).await {
            let wanted = Arc::clone(&self.wanted.borrow_and_update());
            let lanes = self.lanes(&wanted, &home);
            let whole = self.pass(&lanes, &home, &mut memory, &ending).await;
            if ending.is_cancelled() {
                break;
            }
            memory.failures = if whole { 0 } else { memory.failures + 1 };
            self.wait(&lanes, &home, &memory, &ending).await;
        }
        self.stop_all(&memory).await;
    }

    /// Waits for the engine and for knowing where we are; `None` at the end.
    async fn ready(&mut self, ending: &CancellationToken) -> Option<Home> {
        loop {
            let live = matches!(
                self.state.borrow_and_update().engine,
                EngineStatus::Live { .. }
            );
            if ending.is_cancelled() {
                return None;
            }
            if live && let Some(home) = (self.home)() {
                return Some(home);
            }
            tokio::select! {
                () = ending.cancelled() => return None,
                changed = self.state.changed() => changed.ok()?,
            }
        }
    }

    /// Waits until something is to be done.
    async fn wait(
        &mut self,
        lanes: &[Lane],
        home: &Home,
        memory: &Memory,
        ending: &CancellationToken,
    ) {
        let failing = memory.failures > 0;
        let pause = RETRY_MIN * 2_u32.saturating_pow(memory.failures.saturating_sub(1));
        let retry = tokio::time::sleep(pause.min(RETRY_MAX));
        let mut retry = std::pin::pin!(retry);
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = &mut retry, if failing => return,
                changed = self.wanted.changed() => if changed.is_ok() {
                    return;
                } else {
                    // Nobody will want anything else.
                    ending.cancelled().await;
                },
                // While a child fails, the pauses between tries hold.
                changed = self.state.changed(), if !failing => {
                    let state = Arc::clone(&self.state.borrow_and_update());
                    if changed.is_err() || self.is_amiss(lanes, home, &state, memory) {
                        return;
                    }
                }
            }
        }
    }

    fn lanes(&self, wanted: &Wanted, home: &Home) -> Vec<Lane> {
        let names: Vec<String> = wanted
            .children
            .iter()
            .map(|child| child.name.clone())
            .collect();
        let children = wanted.children.iter();
        let children = children.map(|child| spec::of_child(child, &names, home, &self.environment));
        let run = wanted.run.iter();
        let run = run.map(|run| spec::of_run(run, home, &self.environment));
        vec![children.collect(), run.collect()]
    }

    /// Whether a live state shows something that a pass would change.
    fn is_amiss(&self, lanes: &[Lane], home: &Home, state: &State, memory: &Memory) -> bool {
        if !matches!(state.engine, EngineStatus::Live { .. }) {
            return false;
        }
        let by_name: BTreeMap<&str, &Container> = state
            .containers
            .values()
            .map(|one| (one.name.as_str(), &**one))
            .collect();
        let parent = parent_started(home, state);
        let wrong = |spec: &Spec| match by_name.get(spec.container.as_str()) {
            None => true,
            Some(found) => {
                let first = !memory.settled.contains(&spec.container);
                settle::verdict(found, spec, home, parent, first) != settle::Verdict::Keep
            }
        };
        let refused = |lane: &Lane| lane.iter().position(Result::is_err).unwrap_or(lane.len());
        let mut due = lanes
            .iter()
            .flat_map(|lane| lane.iter().take(refused(lane)).flatten());
        due.any(wrong) || !settle::stale(lanes, home, state).is_empty()
    }

    fn report(&self, lanes: &[Lane], memory: &Memory) {
        let mut reports = Vec::new();
        for lane in lanes {
            for spec in lane {
                let (child, container) = match spec {
                    Ok(spec) => (&spec.child, spec.container.clone()),
                    Err(refused) => (&refused.child, String::new()),
                };
                reports.push(Report {
                    child: child.clone(),
                    settled: memory.settled.contains(&container),
                    container,
                    problem: memory.told.get(child).cloned(),
                });
            }
        }
        let settled = reports.iter().filter(|report| report.settled).count();
        self.metrics
            .wanted
            .set(i64::try_from(reports.len()).unwrap_or(i64::MAX));
        self.metrics
            .settled
            .set(i64::try_from(settled).unwrap_or(i64::MAX));
        self.reports.send_replace(reports);
    }
}

/// When the container of the daemon was started, unix milliseconds; 0: on a host.
fn parent_started(home: &Home, state: &State) -> u64 {
    let parent = home.container.as_deref();
    let parent = parent.and_then(|id| state.containers.get(id));
    parent.map_or(0, |parent| parent.started_unix_ms)
}
