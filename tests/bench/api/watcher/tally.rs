//! What all watchers of a crowd count together.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a burst may take to be delivered.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

/// Counters of a crowd.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ready: AtomicU64,
    delivered: AtomicU64,
    /// The number of deliveries that is waited for.
    goal: AtomicU64,
    /// When it was reached.
    reached: Mutex<Option<Instant>>,
    news: Notify,
    /// Why nothing more is to be expected.
    lost: OnceLock<String>,
}

impl Tally {
    /// A watcher is subscribed.
    pub(crate) fn one_ready(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
    }

    /// A watcher lost its stream or an event: whoever waits gives up.
    pub(crate) fn lose(&self, why: impl ToString) {
        // The first reason is the one that counts.
        self.lost.set(why.to_string()).ok();
        self.news.notify_one();
    }

    /// So many changes came to a watcher.
    pub(crate) fn add(&self, count: u64) {
        let before = self.delivered.fetch_add(count, Ordering::SeqCst);
        let goal = self.goal.load(Ordering::SeqCst);
        if before < goal && before + count >= goal {
            if let Ok(mut reached) = self.reached.lock() {
                *reached = Some(Instant::now());
            }
            self.news.notify_one();
        }
    }

    /// So many deliveries more will come; how many there are then in all.
    pub(crate) fn due(&self, more: u64) -> u64 {
        let goal = self.delivered.load(Ordering::SeqCst) + more;
        self.expect(goal);
        goal
    }

    /// So many deliveries will have come in all.
    pub(crate) fn expect(&self, goal: u64) {
        self.goal.store(goal, Ordering::SeqCst);
    }

    /// Waits for so many watchers.
    pub(crate) async fn ready(&self, count: u64) -> anyhow::Result<()> {
        self.wait(|tally| tally.ready.load(Ordering::SeqCst) >= count)
            .await
    }

    /// Waits for so many deliveries in all: when the last one came.
    pub(crate) async fn delivered(&self, due: u64) -> anyhow::Result<Instant> {
        self.wait(|tally| tally.delivered.load(Ordering::SeqCst) >= due)
            .await?;
        let mut reached = self.reached.lock().map_err(|error| anyhow!("{error}"))?;
        reached.take().context("nobody saw the last delivery")
    }

    async fn wait(&self, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let all = async {
            while !done(self) && self.lost.get().is_none() {
                self.news.notified().await;
            }
        };
        let in_time = timeout(DELIVERY_LIMIT, all).await;
        if let Some(why) = self.lost.get() {
            bail!("a watcher: {why}");
        }
        in_time.with_context(|| {
            let delivered = self.delivered.load(Ordering::SeqCst);
            let goal = self.goal.load(Ordering::SeqCst);
            format!("{delivered} of {goal} deliveries in time")
        })
    }
}
