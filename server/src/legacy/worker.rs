//! One pass: everything on the disk is made to say what is so. Blocks on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_engine::Member;

use super::children::{CHILDREN, Child, SERFNODE, children};
use super::delivery::{Deliveries, Delivery, FileState};
use super::hosts;
use super::json::{self, Privacy};
use super::lookup::{Lookup, Published};
use super::metrics::Metrics;
use super::post::{Parcels, Posted};
use super::render::{Renderer, Text, Texts, name};
use super::tree::{Dir, TreeError, Written};
use super::ways::{Way, Ways, ways};
use crate::docker::{EngineStatus, Places, State};

/// Directories of children that are gone which one pass looks for.
const GONE_MAX: usize = 4_096;

/// Who writes.
#[derive(Debug)]
pub(super) struct Worker {
    root: Dir,
    node: Arc<str>,
    places: Places,
    renderer: Renderer,
    lookup: Lookup,
    metrics: Metrics,
    begun: Instant,
    /// Directories that were cleared of what a run before left.
    swept: BTreeSet<PathBuf>,
    /// What was said of files that cannot be written: path and why.
    said: BTreeMap<PathBuf, String>,
}

/// What a pass is about.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) state: Arc<State>,
    pub(super) posted: Posted,
}

/// What a pass came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) children: Vec<Child>,
    pub(super) deliveries: Deliveries,
    /// Files that could not be written, and why.
    pub(super) problems: Vec<String>,
    pub(super) parcels: Parcels,
    /// The next pass is due after this, if something waits.
    pub(super) again: Option<Duration>,
}

impl Worker {
    pub(super) fn new(
        root: Dir,
        node: Arc<str>,
        privacy: Privacy,
        places: Places,
        metrics: Metrics,
    ) -> Self {
        Self {
            root,
            renderer: Renderer::new(Arc::clone(&node), privacy),
            node,
            places,
            lookup: Lookup::default(),
            metrics,
            begun: Instant::now(),
            swept: BTreeSet::new(),
            said: BTreeMap::new(),
        }
    }

    /// Lines of hosts first: somebody waits for them.
    pub(super) fn pass(&mut self, scene: &Scene) -> Outcome {
        let begun = Instant::now();
        let all = children(&scene.state, &self.places, &self.node, self.root.path());
        self.metrics
            .children
            .set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        let published = self.lookup.publish(
            &self.root,
            &all,
            &self.places,
            &hosts::answers(&scene.members),
            self.begun,
            &self.metrics,
        );
        let alive = json::alive(scene.members.iter().cloned());
        let me = self.places.me();
        let texts = self.renderer.render(&alive, me.as_ref(), &all);
        let mut failures = BTreeMap::new();
        if let FileState::Undeliverable(why) = &published.own {
            failures.insert(self.root.path().join("etc/hosts"), why.clone());
        }
        self.write("", &texts.of_root(), &mut failures);
        self.write(SERFNODE, &texts.shared(), &mut failures);
        let mut deliveries = Deliveries::new();
        let mut parcels = Parcels::new();
        for child in &all {
            let directory = self
                .places
                .to_host(&self.root.path().join(&child.directory));
            let ways = ways(child, texts.of_child(child), directory.as_deref());
            let delivery = self.deliver(child, &texts, &published, &ways, scene);
            deliveries.insert(child.key.clone(), delivery);
            if let Some(parcel) = ways.parcel {
                parcels.insert(Arc::clone(&child.container.id), parcel);
            }
        }
        if matches!(scene.state.engine, EngineStatus::Live { .. }) {
            self.clear(&scene.state);
        }
        let problems = self.say(failures);
        self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        Outcome {
            children: all,
            deliveries,
            problems,
            parcels,
            again: published
                .again
                .map(|at| at.saturating_sub(self.begun.elapsed())),
        }
    }

    fn deliver(
        &mut self,
        child: &Child,
        texts: &Texts,
        published: &Published,
        ways: &Ways,
        scene: &Scene,
    ) -> Delivery {
        let mut failures = BTreeMap::new();
        let directory = child.directory.display().to_string();
        self.write(&directory, &texts.of_child(child), &mut failures);
        let written = match failures.into_values().next() {
            Some(why) => FileState::Undeliverable(why),
            None => FileState::Delivered,
        };
        let sent = match scene.posted.get(&child.container.id) {
            Some(Ok(())) => FileState::Delivered,
            Some(Err(why)) => FileState::Undeliverable(why.clone()),
            None => FileState::Pending,
        };
        let became = |way: &Way| match way {
            Way::Directory => written.clone(),
            Way::Parcel => sent.clone(),
            Way::Later => FileState::Pending,
            Way::Never(why) => FileState::Undeliverable(why.clone()),
        };
        let hosts = published.children.get(&child.key).cloned();
        Delivery {
            id: Arc::clone(&child.container.id),
            me: became(&ways.me),
            serfnode: became(&ways.serfnode),
            hosts: hosts.unwrap_or_default(),
        }
    }

    /// Writes files into a directory below the root.
    fn write(&mut self, below: &str, texts: &[Text], failures: &mut BTreeMap<PathBuf, String>) {
        let path = self.root.path().join(below);
        let opened;
        let dir = if below.is_empty() {
            &self.root
        } else {
            match self.root.dir(below) {
                Ok(dir) => {
                    opened = dir;
                    &opened
                }
                Err(error) => {
                    self.metrics.failed.inc();
                    failures.insert(path, chain(&error));
                    return;
                }
            }
        };
        if self.swept.insert(path)
            && let Err(error) = dir.sweep()
        {
            tracing::warn!(error = chain(&error), "what a run before left may stay");
        }
        for (name, text) in texts {
            match dir.write(name, text) {
                Ok(Written::Changed) => {
                    self.metrics.written.inc();
                }
                Ok(Written::Unchanged) => {}
                Err(error) => {
                    self.metrics.failed.inc();
                    failures.insert(dir.path().join(name), chain(&error));
                }
            }
        }
    }

    /// Removes what is left of children whose containers are gone.
    fn clear(&mut self, state: &State) {
        let below = format!("{SERFNODE}/{CHILDREN}");
        let Ok(dir) = self.root.dir(&below) else {
            return;
        };
        let Ok(found) = dir.names(GONE_MAX) else {
            return;
        };
        let live: BTreeSet<&str> = state.containers.values().map(|c| c.name.as_str()).collect();
        for child in found.iter().filter(|child| !live.contains(child.as_str())) {
            // One that the engine has just made for a child that is about to be seen is
            // empty.
            if dir
                .path()
                .join(child)
                .join(name::ME)
                .symlink_metadata()
                .is_err()
            {
                continue;
            }
            if let Err(error) = clear_one(&dir, child) {
                tracing::debug!(
                    child,
                    error = chain(&error),
                    "files of a child that is gone stay"
                );
            }
            self.swept.remove(&dir.path().join(child));
        }
    }

    /// Tells of files that cannot be written, each once.
    fn say(&mut self, failures: BTreeMap<PathBuf, String>) -> Vec<String> {
        for (path, why) in &failures {
            if self.said.get(path) != Some(why) {
                tracing::warn!(path = %path.display(), why, "a file cannot be written");
            }
        }
        for path in self
            .said
            .keys()
            .filter(|path| !failures.contains_key(*path))
        {
            tracing::info!(path = %path.display(), "the file is written again");
        }
        let sentence = |(path, why): (&PathBuf, &String)| format!("{}: {why}", path.display());
        let sentences = failures.iter().map(sentence).collect();
        self.said = failures;
        sentences
    }
}

fn clear_one(children: &Dir, child: &str) -> Result<(), TreeError> {
    let dir = children.dir(child)?;
    for name in [name::PARENT, name::BY_ID, name::BY_ROLE, "parent", name::ME] {
        dir.remove(name)?;
    }
    children.remove(child)
}

/// An error with what caused it.
fn chain(error: &TreeError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests;
