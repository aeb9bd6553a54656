//! Making one child after the other what it should be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Lane, Launcher, Memory, parent_started};
use crate::children::engine::EngineError;
use crate::children::files::READY_WAIT_MAX;
use crate::children::spec::{CHILD, CLUSTER, Home, PARENT, SPEC, Spec};
use crate::docker::{Container, State};

/// What a child gets before it is killed, when it is created anew or no longer wanted.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What is to be done with a container that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It does not run, but should.
    Start,
    /// It runs in the network of a parent that was started since.
    Restart,
    /// It is not what is wanted now.
    Recreate,
    /// It is somebody else's.
    Foreign,
}

/// Why a child is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "its name {0:?} is taken by a container that is not of this node: remove or rename that one"
    )]
    Foreign(String),
    #[error("image {image:?} is not on this engine, and it cannot be pulled: {source}")]
    Pull { image: String, source: EngineError },
    #[error("cannot {what} it: {source}")]
    Engine {
        what: &'static str,
        source: EngineError,
    },
    /// The daemon ends.
    #[error("the daemon ends")]
    Ending,
}

/// Names an operation in its error.
fn cannot(what: &'static str) -> impl Fn(EngineError) -> Trouble {
    move |source| Trouble::Engine { what, source }
}

impl Launcher {
    /// Goes once through all children; whether all is as it should be, as far as trying
    /// again could help.
    pub(super) async fn pass(
        &self,
        lanes: &[Lane],
        home: &Home,
        memory: &mut Memory,
        ending: &CancellationToken,
    ) -> bool {
        memory.keep(lanes);
        let mut whole = self.tidy(lanes, home, ending).await;
        self.stop_outlived(lanes, home, memory, ending).await;
        for lane in lanes {
            for spec in lane {
                if ending.is_cancelled() {
                    return false;
                }
                let (child, outcome) = match spec {
                    Ok(spec) => {
                        let settled = self.settle(spec, home, memory, ending).await;
                        (
                            &spec.child,
                            settled.map_err(|trouble| (trouble.to_string(), true)),
                        )
                    }
                    Err(refused) => (&refused.child, Err((refused.why.clone(), false))),
                };
                match outcome {
                    Ok(()) => drop(memory.told.remove(child)),
                    Err(_) if ending.is_cancelled() => return false,
                    Err((why, can_pass)) => {
                        whole &= !can_pass;
                        self.complain(child, &why, memory);
                        // Those after it wait for it.
                        break;
                    }
                }
            }
        }
        self.report(lanes, memory);
        whole
    }

    fn complain(&self, child: &str, why: &str, memory: &mut Memory) {
        self.metrics.failed.inc();
        let before = memory.told.insert(child.to_owned(), why.to_owned());
        if before.as_deref() == Some(why) {
            tracing::debug!(child, why, "a child still does not start");
        } else {
            tracing::error!(child, why, "a child does not start; those after it wait");
        }
    }

    /// Removes children of ours that nobody wants any more, the newest first.
    async fn tidy(&self, lanes: &[Lane], home: &Home, ending: &CancellationToken) -> bool {
        let state = Arc::clone(&self.state.borrow());
        let mut whole = true;
        for container in stale(lanes, home, &state) {
            if ending.is_cancelled() {
                return false;
            }
            match self.take_away(&container, home).await {
                Ok(()) => {}
                Err(error) => {
                    whole = false;
                    let container = &container.name;
                    tracing::warn!(container, %error, "cannot remove a child that is not wanted");
                }
            }
        }
        whole
    }

    /// Stops those that run in the network of a parent that was started since, all at
    /// once: nobody reaches them there, and each may take its time.
    async fn stop_outlived(
        &self,
        lanes: &[Lane],
        home: &Home,
        memory: &Memory,
        ending: &CancellationToken,
    ) {
        let state = Arc::clone(&self.state.borrow());
        let parent = parent_started(home, &state);
        let is_outlived = |found: &Container| {
            lanes.iter().flatten().flatten().any(|spec| {
                let first = !memory.settled.contains(&spec.container);
                spec.container == found.name
                    && verdict(found, spec, home, parent, first) == Verdict::Restart
            })
        };
        let outlived = state.containers.values().filter(|found| is_outlived(found));
        let stops = outlived.map(|found| async {
            tracing::info!(
                container = found.name,
                "the parent was restarted: restarting a child"
            );
            if let Err(error) = self.engine.stop(&found.id, STOP_GRACE).await {
                // It is tried again, in its turn.
                tracing::debug!(container = found.name, %error, "cannot stop a child");
            }
        });
        tokio::select! {
            () = ending.cancelled() => {}
            _all = futures_util::future::join_all(stops) => {}
        }
    }

    async fn take_away(&self, container: &Container, home: &Home) -> Result<(), EngineError> {
        // The state may be of before.
        let Some(found) = self.engine.inspect(&container.id).await? else {
            return Ok(());
        };
        if let Some(parent) = joined(&found).filter(|_| !is_ours(&found, home))
            && self.engine.inspect(parent).await?.is_some()
        {
            return Ok(());
        }
        let child = found.labels.get(CHILD);
        tracing::info!(
            container = found.name,
            child,
            "removing a child that is not wanted"
        );
        self.engine.stop(&found.id, STOP_GRACE).await?;
        self.engine.remove(&found.id).await?;
        self.metrics.removed.inc();
        Ok(())
    }

    async fn settle(
        &self,
        spec: &Spec,
        home: &Home,
        memory: &mut Memory,
        ending: &CancellationToken,
    ) -> Result<(), Trouble> {
        let found = self
            .engine
            .inspect(&spec.container)
            .await
            .map_err(cannot("look for"))?;
        let first = !memory.settled.contains(&spec.container);
        let parent = parent_started(home, &self.state.borrow());
        let Some(found) = found else {
            return self.create(spec, memory, ending).await;
        };
        let verdict = verdict(&found, spec, home, parent, first);
        if verdict == Verdict::Foreign {
            return Err(Trouble::Foreign(spec.container.clone()));
        }
        let id = found.id.to_string();
        memory.ids.insert(spec.container.clone(), id.clone());
        match verdict {
            Verdict::Keep | Verdict::Foreign => {
                memory.settled.insert(spec.container.clone());
                Ok(())
            }
            Verdict::Start => self.start(spec, &id, memory, ending).await,
            // Unless it was seen in time to be stopped with the others.
            Verdict::Restart => {
                self.engine
                    .stop(&id, STOP_GRACE)
                    .await
                    .map_err(cannot("stop"))?;
                self.start(spec, &id, memory, ending).await
            }
            Verdict::Recreate => {
                tracing::info!(child = spec.child, "a child has changed: creating it anew");
                self.engine
                    .stop(&id, STOP_GRACE)
                    .await
                    .map_err(cannot("stop"))?;
                self.engine.remove(&id).await.map_err(cannot("remove"))?;
                self.metrics.removed.inc();
                memory.ids.remove(&spec.container);
                self.create(spec, memory, ending).await
            }
        }
    }

    async fn create(
        &self,
        spec: &Spec,
        memory: &mut Memory,
        ending: &CancellationToken,
    ) -> Result<(), Trouble> {
        let mut created = self.engine.create(&spec.container, &spec.body).await;
        if created == Err(EngineError::NoImage) {
            self.pull(spec, ending).await?;
            created = self.engine.create(&spec.container, &spec.body).await;
        }
        let id = created.map_err(cannot("create"))?;
        self.metrics.created.inc();
        for note in &spec.notes {
            tracing::warn!(child = spec.child, "{note}");
        }
        memory.ids.insert(spec.container.clone(), id.clone());
        self.start(spec, &id, memory, ending).await
    }

    async fn pull(&self, spec: &Spec, ending: &CancellationToken) -> Result<(), Trouble> {
        let image = spec.image.as_str();
        tracing::info!(child = spec.child, image, "pulling an image");
        tokio::select! {
            () = ending.cancelled() => Err(Trouble::Ending),
            pulled = self.engine.pull(image) => match pulled {
                Ok(()) => {
                    self.metrics.pulled.inc();
                    Ok(())
                }
                Err(source) => Err(Trouble::Pull { image: image.to_owned(), source }),
            },
        }
    }

    /// Starts a container that is created, with its files in place.
    async fn start(
        &self,
        spec: &Spec,
        id: &str,
        memory: &mut Memory,
        ending: &CancellationToken,
    ) -> Result<(), Trouble> {
        if let Some(target) = &spec.me_json {
            match self.engine.put_archive(id, link("me.json", target)).await {
                Ok(()) => {}
                Err(error @ EngineError::Away(_)) => return Err(cannot("give /me.json to")(error)),
                Err(error) => {
                    tracing::warn!(child = spec.child, %error, "a child gets no /me.json");
                }
            }
        }
        if let Some(files) = self.files.as_ref().filter(|_| spec.has_files) {
            let ready = tokio::time::timeout(READY_WAIT_MAX, files.ready(&spec.container, id));
            tokio::select! {
                () = ending.cancelled() => return Err(Trouble::Ending),
                ready = ready => if ready.is_err() {
                    self.metrics.unready.inc();
                    let child = &spec.child;
                    tracing::warn!(child, wait = ?READY_WAIT_MAX, "a child starts before its files are there");
                },
            }
        }
        if ending.is_cancelled() {
            return Err(Trouble::Ending);
        }
        self.engine.start(id).await.map_err(cannot("start"))?;
        self.metrics.started.inc();
        memory.settled.insert(spec.container.clone());
        tracing::info!(
            child = spec.child,
            container = spec.container,
            id,
            "child started"
        );
        Ok(())
    }
}

/// What is to be done with a container that has the name of a child. `first`: not yet
/// found or started in this run; `parent`: when the parent was started, unix milliseconds.
pub(super) fn verdict(
    found: &Container,
    spec: &Spec,
    home: &Home,
    parent: u64,
    first: bool,
) -> Verdict {
    if !is_ours(found, home) {
        return Verdict::Foreign;
    }
    if found.labels.get(SPEC) != Some(&spec.hash) {
        return Verdict::Recreate;
    }
    let outlived = joined(found).is_some() && found.started_unix_ms < parent;
    match found.state.as_str() {
        "created" => Verdict::Start,
        // The engine may have failed to start it before its parent.
        "exited" if first || outlived || has_failed(found) => Verdict::Start,
        "exited" => Verdict::Keep,
        "dead" | "removing" => Verdict::Recreate,
        _ if outlived => Verdict::Restart,
        _ => Verdict::Keep,
    }
}

/// Containers that we created, for this node or for a parent that is gone, and that
/// nobody wants, the newest first.
pub(super) fn stale(lanes: &[Lane], home: &Home, state: &State) -> Vec<Arc<Container>> {
    let wanted = |name: &str| {
        let mut specs = lanes.iter().flatten().flatten();
        specs.any(|spec| spec.container == name)
    };
    // One that is refused now was fine before, and stays until it is mended.
    let refused = |child: Option<&String>| {
        let mut refused = lanes
            .iter()
            .flatten()
            .filter_map(|spec| spec.as_ref().err());
        child.is_some_and(|child| refused.any(|refused| refused.child == *child))
    };
    let is_stale = |container: &Container| {
        if !container.labels.contains_key(SPEC) || wanted(&container.name) {
            return false;
        }
        if is_ours(container, home) {
            return !refused(container.labels.get(CHILD));
        }
        // It can never be started again.
        let same_cluster = container.labels.get(CLUSTER) == Some(&home.cluster);
        let gone = |parent: &str| !state.containers.contains_key(parent);
        same_cluster && joined(container).is_some_and(gone)
    };
    let mut stale: Vec<_> = state
        .containers
        .values()
        .filter(|container| is_stale(container))
        .cloned()
        .collect();
    stale.sort_by_key(|container| std::cmp::Reverse(container.created_unix_ms));
    stale
}

/// Whether we created it for this node.
pub(super) fn is_ours(container: &Container, home: &Home) -> bool {
    let labels = &container.labels;
    labels.contains_key(SPEC)
        && labels.get(PARENT) == Some(&home.node)
        && labels.get(CLUSTER) == Some(&home.cluster)
}

/// The container whose network it shares.
fn joined(container: &Container) -> Option<&str> {
    container.network_mode.strip_prefix("container:")
}

/// Whether the engine could not start it.
fn has_failed(container: &Container) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Whole {
        state: Inner,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inner {
        #[serde(default)]
        error: String,
    }
    let whole: Result<Whole, _> = serde_json::from_str(container.inspect.get());
    whole.is_ok_and(|whole| !whole.state.error.is_empty())
}

/// An archive with one symbolic link.
fn link(name: &str, target: &str) -> Bytes {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    // Long targets get a header of their own; writing to memory does not fail.
    let appended = archive.append_link(&mut header, name, target);
    let whole = appended.and_then(|()| archive.into_inner());
    Bytes::from(whole.unwrap_or_default())
}
