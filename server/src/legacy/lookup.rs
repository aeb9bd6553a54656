//! Files of hosts of this node: its own, and those of its children.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::CWD;

use super::children::Child;
use super::delivery::FileState;
use super::hosts::Answers;
use super::hosts::file::{HostsError, HostsFile, Outcome};
use super::hosts::plan::{Memory, QUARANTINE};
use super::metrics::Metrics;
use super::tree::Dir;
use crate::docker::Places;

/// The file, below the root and in containers.
const HOSTS: &str = "etc/hosts";

/// What is remembered of all files that are written.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// By device and inode: containers may share a file.
    memories: BTreeMap<(u64, u64), Memory>,
}

/// What a pass over all files came to.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The file below the root.
    pub(super) own: FileState,
    /// By name of the child.
    pub(super) children: BTreeMap<String, FileState>,
    /// When something that waits is due.
    pub(super) again: Option<Duration>,
}

/// A pass under way.
struct Pass<'a> {
    lookup: &'a mut Lookup,
    answers: &'a Answers,
    begun: Instant,
    done: BTreeMap<(u64, u64), FileState>,
    again: Option<Duration>,
    metrics: &'a Metrics,
    waiting: usize,
}

impl Lookup {
    /// Makes every file say `answers`. Times are since `begun`.
    pub(super) fn publish(
        &mut self,
        root: &Dir,
        children: &[Child],
        places: &Places,
        answers: &Answers,
        begun: Instant,
        metrics: &Metrics,
    ) -> Published {
        let mut pass = Pass {
            lookup: self,
            answers,
            begun,
            done: BTreeMap::new(),
            again: None,
            metrics,
            waiting: 0,
        };
        let own = pass.publish(open_own(root));
        let each = children.iter().map(|child| {
            let state = match place(child, places) {
                Ok(path) => pass.publish(HostsFile::open(CWD, &path)),
                Err(state) => state,
            };
            (child.key.clone(), state)
        });
        let children = each.collect();
        let (again, done, waiting) = (pass.again, pass.done, pass.waiting);
        metrics
            .waiting
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let seen: BTreeSet<_> = done.into_keys().collect();
        self.memories.retain(|id, _| seen.contains(id));
        Published {
            own,
            children,
            again,
        }
    }
}

impl Pass<'_> {
    fn publish(&mut self, file: Result<HostsFile, HostsError>) -> FileState {
        let mut file = match file {
            Ok(file) => file,
            Err(error) => return FileState::Undeliverable(error.to_string()),
        };
        if let Some(state) = self.done.get(&file.id()) {
            return state.clone();
        }
        let memory = self.lookup.memories.entry(file.id());
        let memory = memory.or_insert_with(|| Memory::new(QUARANTINE));
        let state = match file.publish(self.answers, memory, || self.begun.elapsed()) {
            Ok(outcome) => {
                self.count(outcome);
                FileState::Delivered
            }
            Err(error) => FileState::Undeliverable(error.to_string()),
        };
        self.done.insert(file.id(), state.clone());
        state
    }

    fn count(&mut self, outcome: Outcome) {
        self.metrics.hosts.inc_by(u64::from(outcome.changed));
        self.metrics.raced.inc_by(outcome.raced as u64);
        self.waiting += outcome.waiting;
        self.again = [self.again, outcome.again].into_iter().flatten().min();
    }
}

/// The file below the root. Where the root is a directory of our own it is made; an
/// engine, or the system, makes it in `/`.
fn open_own(root: &Dir) -> Result<HostsFile, HostsError> {
    let open = || HostsFile::open(root.as_fd(), Path::new(HOSTS));
    match open() {
        Err(error) if error.is_missing() && root.path() != Path::new("/") => {
            let made = root.dir("etc").and_then(|etc| etc.write("hosts", b""));
            made.map_err(HostsError::from)?;
            open()
        }
        opened => opened,
    }
}

/// Where the file of a child is, for us.
fn place(child: &Child, places: &Places) -> Result<PathBuf, FileState> {
    let container = &child.container;
    if !matches!(container.state.as_str(), "running" | "paused") {
        // It is made anew at every start.
        return Err(FileState::Pending);
    }
    if child.shares_network {
        return Ok(Path::new("/").join(HOSTS));
    }
    let Some(path) = &container.hosts_path else {
        let why = "the engine tells of no such file".to_owned();
        return Err(FileState::Undeliverable(why));
    };
    places.from_host(path).ok_or_else(|| {
        let containers = path
            .parent()
            .and_then(Path::parent)
            .unwrap_or(path)
            .display();
        FileState::Undeliverable(format!(
            "it is {} on the host, which this daemon does not see: mount it there with \
             -v /:/host or -v {containers}:{containers}",
            path.display()
        ))
    })
}
