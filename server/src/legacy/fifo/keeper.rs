//! Keeps the FIFOs: makes them, has them read, makes them again when they are gone.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_engine::event::CHILD_BYTES_MAX;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::pipe::{self, FileId, How, Opened, PipeError};
use super::reader::{Control, Parts, Reader};
use super::{Config, FIFOS_MAX, FifoSpec};
use crate::daemon::supervisor::Tasks;
use crate::gossip::Handle;

/// Wishes that wait; more callers wait.
pub(super) const COMMANDS_MAX: usize = 4;

/// How often FIFOs are looked at.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// FIFOs in one place that were replaced and still have writers. With one more the
/// oldest is no longer read.
const RETIRED_MAX: usize = 4;

/// By directory: whether it is open, or why not.
pub(super) type Outcomes = Arc<BTreeMap<PathBuf, Result<(), String>>>;

/// Wanted FIFOs, and who waits for them.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) specs: Vec<FifoSpec>,
    pub(super) done: oneshot::Sender<()>,
}

/// The keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    config: Config,
    root: Arc<OwnedFd>,
    handle: Handle,
    metrics: Metrics,
    tasks: Tasks,
    stop: CancellationToken,
    entries: BTreeMap<PathBuf, Entry>,
    /// Those that are wanted no longer and still have writers.
    gone: BTreeMap<PathBuf, Entry>,
    /// Those that found no place.
    crowded: Vec<PathBuf>,
}

/// One place.
#[derive(Debug)]
struct Entry {
    spec: FifoSpec,
    open: Option<Open>,
    /// Replaced, and read to the end.
    retired: VecDeque<Open>,
    error: Option<String>,
}

/// A FIFO that is read.
#[derive(Debug)]
struct Open {
    id: FileId,
    control: watch::Sender<Control>,
    stop: CancellationToken,
}

type Looked = Vec<(PathBuf, Result<Option<Opened>, PipeError>)>;

impl Keeper {
    pub(super) fn new(
        config: Config,
        root: OwnedFd,
        handle: Handle,
        metrics: Metrics,
        tasks: Tasks,
        stop: CancellationToken,
    ) -> Self {
        Self {
            config,
            root: Arc::new(root),
            handle,
            metrics,
            tasks,
            stop,
            entries: BTreeMap::new(),
            gone: BTreeMap::new(),
            crowded: Vec::new(),
        }
    }

    /// Runs until the daemon stops.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        outcomes: watch::Sender<Outcomes>,
    ) {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                // Whoever wanted them may be gone: they are wanted still.
                Some(command) = commands.recv() => {
                    self.want(command.specs);
                    Some(command.done)
                }
                _tick = ticks.tick() => None,
            };
            self.look().await;
            self.publish(&outcomes);
            if let Some(done) = done {
                let _waited = done.send(()).is_ok();
            }
        }
    }

    /// Takes over what is wanted. What is wanted no longer is read to its end.
    fn want(&mut self, specs: Vec<FifoSpec>) {
        let mut before = std::mem::take(&mut self.entries);
        before.append(&mut self.gone);
        self.crowded.clear();
        for spec in specs {
            let directory = spec.directory.clone();
            if self.entries.len() >= FIFOS_MAX && !self.entries.contains_key(&directory) {
                self.crowded.push(directory);
                continue;
            }
            let mut entry = match before.remove(&directory) {
                Some(entry) if entry.spec.child == spec.child => entry,
                Some(mut entry) => {
                    // What comes now is of another one.
                    if let Some(open) = entry.open.take() {
                        open.stop.cancel();
                    }
                    entry
                }
                None => Entry {
                    spec: spec.clone(),
                    open: None,
                    retired: VecDeque::new(),
                    error: None,
                },
            };
            if let Some(open) = &entry.open {
                let allow = spec.allow.clone();
                open.control.send_if_modified(|control| {
                    let changed = control.allow != allow;
                    control.allow = allow;
                    changed
                });
            }
            entry.spec = spec;
            self.entries.insert(directory, entry);
        }
        for entry in before.values_mut() {
            entry.retire();
        }
        self.gone = before;
    }

    /// Looks at every FIFO, on a thread that may wait for disks.
    async fn look(&mut self) {
        self.gone.retain(|_, entry| entry.has_writers());
        let places: Vec<(PathBuf, Option<FileId>)> = self
            .entries
            .iter_mut()
            .map(|(directory, entry)| (directory.clone(), entry.known()))
            .collect();
        if places.is_empty() {
            return;
        }
        let root = Arc::clone(&self.root);
        let look = move || -> Looked {
            let look = |(directory, known): (PathBuf, Option<FileId>)| {
                let looked = pipe::check(root.as_fd(), &directory, known);
                (directory, looked)
            };
            places.into_iter().map(look).collect()
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(looked) => {
                for (directory, outcome) in looked {
                    self.found(&directory, outcome);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look at FIFOs"),
        }
        let open = self.entries.values().filter(|entry| entry.open.is_some());
        let open = i64::try_from(open.count()).unwrap_or(i64::MAX);
        self.metrics.open.set(open);
    }

    fn found(&mut self, directory: &Path, outcome: Result<Option<Opened>, PipeError>) {
        let Some(entry) = self.entries.get_mut(directory) else {
            return;
        };
        let opened = match outcome {
            Ok(None) => return,
            Ok(Some(opened)) => opened,
            Err(error) => {
                self.metrics.failures.inc();
                let why = chain(&error);
                if entry.error.as_ref() != Some(&why) {
                    tracing::warn!(directory = %directory.display(), why, "cannot make a FIFO");
                }
                entry.error = Some(why);
                return;
            }
        };
        let was_open = entry.open.is_some();
        entry.retire();
        let (how, id) = (opened.how, opened.id);
        if was_open || matches!(how, How::InsteadOf(_)) {
            self.metrics.remade.inc();
            tracing::warn!(
                directory = %directory.display(), ?how,
                "a FIFO was gone or replaced: it is there again"
            );
        }
        entry.error = None;
        // Two readers would tear its lines apart.
        entry.retired.retain(|old| {
            if old.id == id {
                old.stop.cancel();
            }
            old.id != id
        });
        let (control, control_end) = watch::channel(Control {
            allow: entry.spec.allow.clone(),
            retired: false,
        });
        let stop = self.stop.child_token();
        let parts = Parts {
            child: entry.spec.child.as_deref().map(cut),
            config: self.config.clone(),
            handle: self.handle.clone(),
            metrics: self.metrics.clone(),
            control: control_end,
            stop: stop.clone(),
        };
        match Receiver::from_file(opened.file) {
            Ok(pipe) => {
                let reader = Reader::new(pipe, parts);
                self.tasks.spawn_guarded("fifo", reader.run());
                entry.open = Some(Open { id, control, stop });
            }
            Err(error) => entry.error = Some(error.to_string()),
        }
    }

    fn publish(&self, outcomes: &watch::Sender<Outcomes>) {
        let entries = self.entries.iter().map(|(directory, entry)| {
            let outcome = match (&entry.error, &entry.open) {
                (Some(error), _) => Err(error.clone()),
                (None, Some(_)) => Ok(()),
                (None, None) => Err("it is not read yet".to_owned()),
            };
            (directory.clone(), outcome)
        });
        let crowded = self.crowded.iter().map(|directory| {
            let why = format!("there are {FIFOS_MAX} FIFOs, more are not made");
            (directory.clone(), Err(why))
        });
        let now: BTreeMap<_, _> = entries.chain(crowded).collect();
        outcomes.send_if_modified(|before| {
            let changed = **before != now;
            if changed {
                *before = Arc::new(now);
            }
            changed
        });
    }
}

impl Entry {
    /// The FIFO that is read. One whose reader broke is not.
    fn known(&mut self) -> Option<FileId> {
        if self.open.as_ref()?.control.is_closed() {
            self.open = None;
        }
        Some(self.open.as_ref()?.id)
    }

    /// Has what is left of the FIFO read.
    fn retire(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        open.control.send_modify(|control| control.retired = true);
        self.retired.push_back(open);
        if self.has_writers()
            && self.retired.len() > RETIRED_MAX
            && let Some(oldest) = self.retired.pop_front()
        {
            oldest.stop.cancel();
        }
    }

    /// Whether one that was replaced is still read.
    fn has_writers(&mut self) -> bool {
        self.retired.retain(|open| !open.control.is_closed());
        !self.retired.is_empty()
    }
}

/// A name as events carry it.
fn cut(child: &str) -> String {
    let mut end = child.len().min(CHILD_BYTES_MAX);
    while !child.is_char_boundary(end) {
        end -= 1;
    }
    child.get(..end).unwrap_or_default().to_owned()
}

fn chain(error: &PipeError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
