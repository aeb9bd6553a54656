//! The files and the lines of hosts, kept up to date.
//!
//! One task follows members and containers. The first change is written at once, those
//! that come soon after it together; what Docker rewrites is set right when Docker tells
//! of it, and by a look every few seconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_engine::Member;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::children::Child;
use super::delivery::{Deliveries, FileState, undeliverable};
use super::json::Privacy;
use super::metrics::{FileLabel, Metrics};
use super::post::{Parcels, Post, Posted};
use super::tree::{Dir, TreeError};
use super::worker::{Outcome, Scene, Worker};
use crate::daemon::supervisor::Tasks;
use crate::docker::{Docker, State};
use crate::hub::Hub;

/// Shortest time between two passes: a burst of changes is written together.
const PASS_EVERY: Duration = Duration::from_millis(20);

/// Longest time between two passes: others may have changed a file without a word.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the files are.
    pub root: PathBuf,
    /// Name of this node.
    pub node: Arc<str>,
    /// What `inspect` shows.
    pub privacy: Privacy,
}

/// What became of the files. Clones share everything.
#[derive(Debug, Clone)]
pub struct Files {
    deliveries: watch::Receiver<Arc<Deliveries>>,
    children: watch::Receiver<Arc<Vec<Child>>>,
    problems: watch::Receiver<Arc<Vec<String>>>,
}

impl Files {
    /// Starts to write them.
    ///
    /// # Errors
    /// The root cannot be used.
    pub fn start(
        config: Config,
        hub: Arc<Hub>,
        docker: &Docker,
        metrics: Metrics,
        tasks: &Tasks,
    ) -> Result<Self, TreeError> {
        let root = Dir::open(&config.root)?;
        let places = docker.places().clone();
        let worker = Worker::new(root, config.node, config.privacy, places, metrics.clone());
        let (deliveries_to, deliveries) = watch::channel(Arc::default());
        let (children_to, children) = watch::channel(Arc::default());
        let (problems_to, problems) = watch::channel(Arc::default());
        let (parcels_to, wanted) = watch::channel(Arc::default());
        let (posted_to, posted) = watch::channel(Posted::new());
        let post = Post {
            engine: docker.engine().clone(),
            wanted,
            posted: posted_to,
            metrics: metrics.clone(),
            stop: tasks.stop_token(),
        };
        tasks.spawn_guarded("legacy post", post.run());
        let follower = Follower {
            hub,
            state: docker.state(),
            posted,
            deliveries: deliveries_to,
            children: children_to,
            problems: problems_to,
            parcels: parcels_to,
            metrics,
            stop: tasks.stop_token(),
        };
        tasks.spawn("legacy", follower.run(worker));
        Ok(Self {
            deliveries,
            children,
            problems,
        })
    }

    /// What became of the files of each child, and a way to wait for more: a child that
    /// has its own directory may be started once its files are delivered.
    #[must_use]
    pub fn deliveries(&self) -> watch::Receiver<Arc<Deliveries>> {
        self.deliveries.clone()
    }

    /// The children whose directories are there.
    #[must_use]
    pub fn children(&self) -> watch::Receiver<Arc<Vec<Child>>> {
        self.children.clone()
    }

    /// What an operator should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.problems.borrow().to_vec();
        warnings.extend(undeliverable(&self.deliveries.borrow()));
        warnings
    }
}

/// The task.
#[derive(Debug)]
struct Follower {
    hub: Arc<Hub>,
    state: watch::Receiver<Arc<State>>,
    posted: watch::Receiver<Posted>,
    deliveries: watch::Sender<Arc<Deliveries>>,
    children: watch::Sender<Arc<Vec<Child>>>,
    problems: watch::Sender<Arc<Vec<String>>>,
    parcels: watch::Sender<Arc<Parcels>>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Follower {
    async fn run(mut self, mut worker: Worker) -> anyhow::Result<()> {
        let mut members = self.hub.members().subscribe();
        loop {
            let begun = Instant::now();
            members.borrow_and_update();
            let scene = Scene {
                members: held(&self.hub),
                state: Arc::clone(&self.state.borrow_and_update()),
                posted: self.posted.borrow_and_update().clone(),
            };
            let pass = move || {
                let outcome = worker.pass(&scene);
                (worker, outcome)
            };
            let passed = tokio::task::spawn_blocking(pass).await;
            let outcome;
            (worker, outcome) = passed.context("a pass over the files broke")?;
            let again = outcome.again.unwrap_or(CHECK_EVERY).min(CHECK_EVERY);
            self.publish(outcome);
            let next = tokio::time::sleep_until(begun + again.max(PASS_EVERY));
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                changed = members.changed() => if changed.is_err() { return Ok(()) },
                // Without an engine nothing is ever said of it.
                Ok(()) = self.state.changed() => {}
                Ok(()) = self.posted.changed() => {}
                () = next => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(begun + PASS_EVERY) => {}
            }
        }
    }

    fn publish(&self, outcome: Outcome) {
        let deliveries = Arc::new(outcome.deliveries);
        tell(&self.deliveries.borrow(), &deliveries);
        for file in ["/me.json", "/serfnode", "/etc/hosts"] {
            let files = deliveries.values().flat_map(|delivery| delivery.files());
            let bad = files.filter(|(name, state)| {
                *name == file && matches!(state, FileState::Undeliverable(_))
            });
            let count = i64::try_from(bad.count()).unwrap_or(i64::MAX);
            let gauge = self
                .metrics
                .undeliverable
                .get_or_create(&FileLabel { file });
            gauge.set(count);
        }
        let children = Arc::new(outcome.children);
        let is_same = |before: &[Child]| {
            let same = |(a, b): (&Child, &Child)| Arc::ptr_eq(&a.container, &b.container);
            before.len() == children.len() && before.iter().zip(&*children).all(same)
        };
        self.children.send_if_modified(|before| {
            let changed = !is_same(before);
            if changed {
                *before = Arc::clone(&children);
            }
            changed
        });
        replace(&self.deliveries, deliveries);
        replace(&self.problems, Arc::new(outcome.problems));
        replace(&self.parcels, Arc::new(outcome.parcels));
    }
}

/// Tells of what became undeliverable, and of what is not so any more.
fn tell(before: &Deliveries, now: &Deliveries) {
    for (child, delivery) in now {
        let old = before.get(child);
        for (file, state) in delivery.files() {
            let was = old.and_then(|old| old.files().find(|(name, _)| *name == file));
            let was = was.map(|(_, state)| state);
            match state {
                FileState::Undeliverable(why) if was != Some(state) => {
                    tracing::warn!(child, file, why, "a file is undeliverable");
                }
                FileState::Delivered if matches!(was, Some(FileState::Undeliverable(_))) => {
                    tracing::info!(child, file, "the file is delivered now");
                }
                FileState::Undeliverable(_) | FileState::Delivered | FileState::Pending => {}
            }
        }
    }
}

/// Wakes readers only if it is another one.
fn replace<T: PartialEq>(sender: &watch::Sender<Arc<T>>, value: Arc<T>) {
    sender.send_if_modified(|before| {
        let changed = **before != *value;
        if changed {
            *before = value;
        }
        changed
    });
}

/// All members that are held.
fn held(hub: &Hub) -> Vec<Arc<Member>> {
    // From 0 there is always an answer.
    let Ok(all) = hub.members().changes_since(0) else {
        return Vec::new();
    };
    let held = all.items.into_iter().filter(|change| !change.removed);
    held.map(|change| change.entry.value).collect()
}
