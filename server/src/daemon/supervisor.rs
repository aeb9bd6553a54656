//! Every task of the daemon is spawned here, by name.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and knows when they have all ended. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    panics: Arc<AtomicU64>,
}

impl Tasks {
    /// The token that tells every task to end.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Spawns a named task that the daemon cannot live without, on the current
    /// runtime: its error, panic or early end stops the daemon.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            match outcome {
                Ok(Ok(())) if tasks.stop.is_cancelled() => {}
                Ok(Ok(())) => tracing::error!(task = name, "task ended early"),
                Ok(Err(error)) => tracing::error!(task = name, error = ?error, "task failed"),
                Err(_) => tracing::error!(task = name, "task panicked"),
            }
            tasks.stop.cancel();
        });
    }

    /// Spawns a task that serves one connection or one call, on the current
    /// runtime: a panic in it is caught and counted, and ends only itself.
    pub fn spawn_guarded<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = Arc::clone(&self.panics);
        self.tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(task = name, "connection task panicked");
            }
        });
    }

    /// Panics caught in guarded tasks.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}
