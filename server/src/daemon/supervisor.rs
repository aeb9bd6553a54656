//! Every task and thread of the daemon is spawned here, by name.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Spawns tasks and knows when they have all ended. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
    shared: Arc<Shared>,
}

/// Why the daemon stops by itself: the first task that should not have ended.
#[derive(Debug)]
pub struct Failure {
    /// Name of the task.
    pub task: &'static str,
    /// How it ended.
    pub cause: Cause,
}

/// How a task ended that should not have.
#[derive(Debug)]
pub enum Cause {
    /// It returned, though nobody asked it to.
    EndedEarly,
    /// It returned an error.
    Failed(anyhow::Error),
    /// It panicked, with this message.
    Panicked(String),
}

#[derive(Debug, Default)]
struct Shared {
    panics: Counter,
    next: AtomicU64,
    live: Mutex<BTreeMap<u64, Live>>,
    failure: Mutex<Option<Failure>>,
}

#[derive(Debug)]
struct Live {
    name: &'static str,
    /// Threads have none.
    abort: Option<AbortHandle>,
}

/// Takes a task off the list however it ends.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    id: u64,
    _counted: TaskTrackerToken,
}

impl Tasks {
    /// The token that tells every task to end.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The token that is cancelled at the first failure.
    #[must_use]
    pub fn failed_token(&self) -> CancellationToken {
        self.failed.clone()
    }

    /// Spawns a named task that the daemon cannot live without, on the current
    /// runtime: its error, panic or early end stops the daemon.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        // Boxed: see `spawn_guarded`.
        let task = Box::pin(task);
        self.track(name, async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            tasks.ended(name, outcome);
        });
    }

    /// Runs a named thread that the daemon cannot live without, as [`Tasks::spawn`]
    /// does a task. It must watch the stop token: a thread cannot be aborted.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn spawn_thread<F>(&self, name: &'static str, body: F) -> std::io::Result<()>
    where
        F: FnOnce() -> anyhow::Result<()> + Send + 'static,
    {
        let tasks = self.clone();
        let entry = self.enter(name);
        let thread = move || {
            let _entry = entry;
            let outcome = catch_unwind(AssertUnwindSafe(body));
            tasks.ended(name, outcome);
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(thread)?;
        Ok(())
    }

    /// Spawns a task that serves one connection or one call, on the current
    /// runtime: a panic in it is caught and counted, and ends only itself.
    pub fn spawn_guarded<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        // Boxed: every async block around it would hold room for it, as what it
        // captured and again as what it awaits.
        let task = Box::pin(task);
        self.track(name, async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                shared.panics.inc();
                let message = message(&*panic);
                tracing::error!(task = name, message, "connection task panicked");
            }
        });
    }

    /// Panics caught, guarded tasks and others.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    /// Tasks and threads that run now, by name.
    #[must_use]
    pub fn live(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for live in self.shared.lock_live().values() {
            *names.entry(live.name).or_default() += 1;
        }
        names
    }

    /// The first failure, once.
    #[must_use]
    pub fn take_failure(&self) -> Option<Failure> {
        let mut failure = self
            .shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    /// Tells every task to end and waits for them. Those that overran `deadline`
    /// are aborted and named, with how many of each name there were.
    pub async fn stop_within(&self, deadline: Duration) -> BTreeMap<&'static str, usize> {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
        {
            return BTreeMap::new();
        }
        let overran = self.live();
        for live in self.shared.lock_live().values() {
            if let Some(abort) = &live.abort {
                abort.abort();
            }
        }
        overran
    }

    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Panics caught in tasks";
        registry.register("muster_task_panics", help, self.shared.panics.clone());
    }

    fn track(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let entry = self.enter(name);
        let id = entry.id;
        let handle = self.tracker.spawn(async move {
            let _entry = entry;
            task.await;
        });
        // It may have ended already, and then the entry is gone.
        if let Some(live) = self.shared.lock_live().get_mut(&id) {
            live.abort = Some(handle.abort_handle());
        }
    }

    fn enter(&self, name: &'static str) -> Entry {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared
            .lock_live()
            .insert(id, Live { name, abort: None });
        Entry {
            shared: Arc::clone(&self.shared),
            id,
            _counted: self.tracker.token(),
        }
    }

    fn ended(&self, task: &'static str, outcome: Result<anyhow::Result<()>, Box<dyn Any + Send>>) {
        let cause = match outcome {
            Ok(Ok(())) if self.stop.is_cancelled() => return,
            Ok(Ok(())) => Cause::EndedEarly,
            Ok(Err(error)) if self.stop.is_cancelled() => {
                tracing::warn!(
                    task,
                    error = format!("{error:#}"),
                    "task failed while it stopped"
                );
                return;
            }
            Ok(Err(error)) => Cause::Failed(error),
            Err(panic) => {
                self.shared.panics.inc();
                Cause::Panicked(message(&*panic))
            }
        };
        let failure = Failure { task, cause };
        tracing::error!(task, cause = %failure.cause, "task failed");
        let mut first = self
            .shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        self.failed.cancel();
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} {}", self.task, self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedEarly => f.write_str("ended early"),
            Self::Failed(error) => write!(f, "failed: {error:#}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl Shared {
    fn lock_live(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock_live().remove(&self.id);
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "no message".to_owned())
}

/// Counts the rounds of the loop that must never stand still. Whoever owns that
/// loop beats at least once a second, also when idle.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// The loop went round.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Rounds so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn failure_of(tasks: &Tasks) -> String {
        tokio::time::timeout(SOON, tasks.failed_token().cancelled())
            .await
            .unwrap();
        tasks.take_failure().unwrap().to_string()
    }

    #[tokio::test]
    async fn the_first_failure_is_the_cause() {
        let tasks = Tasks::default();
        let second = tasks.failed_token();
        tasks.spawn("later", async move {
            second.cancelled().await;
            anyhow::bail!("consequence")
        });
        tasks.spawn("first", async {
            Err(anyhow::anyhow!("disk").context("cannot write"))
        });
        assert_eq!(
            failure_of(&tasks).await,
            "task first failed: cannot write: disk"
        );
        assert!(tasks.stop_within(SOON).await.is_empty());
    }

    #[tokio::test]
    async fn panics_and_early_ends_are_failures() {
        let tasks = Tasks::default();
        tasks.spawn("panics", async { panic!("no {}", "way") });
        assert_eq!(failure_of(&tasks).await, "task panics panicked: no way");
        assert_eq!(tasks.panics(), 1);
        let tasks = Tasks::default();
        tasks.spawn("ends", async { Ok(()) });
        assert_eq!(failure_of(&tasks).await, "task ends ended early");
        let tasks = Tasks::default();
        tasks.spawn_thread("thread", || panic!("down")).unwrap();
        assert_eq!(failure_of(&tasks).await, "task thread panicked: down");
    }

    #[tokio::test]
    async fn a_panic_in_a_guarded_task_is_counted_and_no_more() {
        let tasks = Tasks::default();
        tasks.spawn_guarded("connection", async { panic!("bad peer") });
        while !tasks.live().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks.panics(), 1);
        assert!(!tasks.failed_token().is_cancelled());
        assert!(tasks.take_failure().is_none());
    }

    #[tokio::test]
    async fn tasks_that_end_when_told_are_no_failures() {
        let tasks = Tasks::default();
        let stop = tasks.stop_token();
        tasks.spawn("good", async move {
            stop.cancelled().await;
            Ok(())
        });
        let stop = tasks.stop_token();
        tasks.spawn("late error", async move {
            stop.cancelled().await;
            anyhow::bail!("the socket was gone")
        });
        assert_eq!(
            tasks.live(),
            BTreeMap::from([("good", 1), ("late error", 1)])
        );
        assert!(tasks.stop_within(SOON).await.is_empty());
        assert!(tasks.take_failure().is_none());
        assert!(tasks.live().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_overrun_are_named_and_aborted() {
        let tasks = Tasks::default();
        for _ in 0..2 {
            tasks.spawn_guarded("stuck stream", std::future::pending());
        }
        tasks.spawn("stuck task", std::future::pending());
        let overran = tasks.stop_within(SOON).await;
        assert_eq!(
            overran,
            BTreeMap::from([("stuck stream", 2), ("stuck task", 1)])
        );
        tokio::time::timeout(SOON, tasks.tracker.wait())
            .await
            .unwrap();
        assert!(tasks.live().is_empty());
    }
}
