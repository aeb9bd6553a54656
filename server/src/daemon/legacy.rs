//! What the daemon does for programs that speak no gRPC.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::shutdown::Phase;
use crate::docker::Docker;
use crate::gossip::Handle;
use crate::hub::Hub;
use crate::hub::containers::summary::ChildFiles;
use crate::legacy::answers;
use crate::legacy::children::{Child, SERFNODE, View};
use crate::legacy::delivery;
use crate::legacy::fifo::{self, Allow, EVENTS_LABEL, FifoSpec, Fifos};
use crate::legacy::files::{self, Files};
use crate::legacy::metrics::Metrics;
use crate::queries::Responders;

/// What became of it.
#[derive(Debug, Clone)]
pub(super) struct Legacy {
    files: Files,
    fifos: Fifos,
}

impl Legacy {
    /// What an operator should look at.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.files.warnings();
        warnings.extend(self.fifos.warnings());
        warnings
    }

    /// The FIFOs.
    pub(super) fn fifos(&self) -> Fifos {
        self.fifos.clone()
    }

    /// Hands on what became of the files of children.
    pub(super) fn tell(&self, to: watch::Sender<Arc<ChildFiles>>, shared: &Shared) {
        let mut deliveries = self.files.deliveries();
        let stop = shared.tasks.stop_token();
        shared.tasks.spawn_guarded("deliveries", async move {
            loop {
                let told = Arc::new(delivery::told(&deliveries.borrow_and_update()));
                to.send_if_modified(|before| {
                    let changed = *before != told;
                    *before = told;
                    changed
                });
                tokio::select! {
                    changed = deliveries.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
        });
    }
}

/// Starts it, if there is a root for it. Returns once the shared FIFO is open: then
/// children may start.
///
/// # Errors
/// The root cannot be used.
pub(super) async fn start(
    shared: &Shared,
    hub: &Arc<Hub>,
    handle: &Handle,
    responders: &Responders,
    docker: &Docker,
) -> anyhow::Result<Option<Legacy>> {
    let legacy = &shared.config.legacy;
    let Some(root) = &legacy.root else {
        return Ok(None);
    };
    let root = std::path::absolute(root).unwrap_or_else(|_error| root.clone());
    let stop = shared.tasks.stop_token();
    let answering = answers::serve(responders, Arc::clone(hub), stop)?;
    shared.tasks.spawn_guarded("serfnode's queries", answering);
    let metrics = fifo::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = fifo::Config {
        rate: legacy.fifo_rate,
        payload_bytes_max: shared.config.limits.event_payload_bytes,
    };
    let opened = open(&root)?;
    let (handle, stop) = (handle.clone(), leaving(shared));
    let fifos = Fifos::start(config, opened, handle, metrics, &shared.tasks, stop);
    fifos.set(specs(&[])).await;
    let files = files(shared, root, hub, docker)?;
    let (children, stop) = (files.children(), shared.tasks.stop_token());
    let follow = follow(fifos.clone(), children, stop);
    shared.tasks.spawn_guarded("fifos of children", follow);
    Ok(Some(Legacy { files, fifos }))
}

/// Starts the files and the lines of hosts.
fn files(shared: &Shared, root: PathBuf, hub: &Arc<Hub>, docker: &Docker) -> anyhow::Result<Files> {
    let metrics = Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = files::Config {
        root,
        node: Arc::from(shared.config.node.name.as_str()),
        privacy: shared.config.legacy.privacy,
    };
    let files = Files::start(config, Arc::clone(hub), docker, metrics, &shared.tasks);
    files.context("cannot use --legacy-root")
}

/// The FIFO that all share, and that of each child that sees a directory of ours.
fn specs(children: &[Child]) -> Vec<FifoSpec> {
    let all = FifoSpec {
        child: None,
        directory: SERFNODE.into(),
        allow: Allow::All,
    };
    let seeing = children.iter().filter(|child| child.view != View::Nothing);
    let each = seeing.map(|child| FifoSpec {
        child: Some(child.key.clone()),
        directory: child.directory.clone(),
        allow: Allow::from_label(child.container.labels.get(EVENTS_LABEL).map(String::as_str)),
    });
    std::iter::once(all).chain(each).collect()
}

async fn follow(
    fifos: Fifos,
    mut children: watch::Receiver<Arc<Vec<Child>>>,
    stop: CancellationToken,
) {
    loop {
        let now = Arc::clone(&children.borrow_and_update());
        fifos.set(specs(&now)).await;
        tokio::select! {
            changed = children.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Opens the root, made if it is missing.
fn open(root: &Path) -> anyhow::Result<OwnedFd> {
    let open = || {
        std::fs::create_dir_all(root)?;
        File::open(root).map(OwnedFd::from)
    };
    open().with_context(|| format!("cannot use --legacy-root {}", root.display()))
}

/// Cancelled before this node leaves the cluster: what is read then could not be sent.
fn leaving(shared: &Shared) -> CancellationToken {
    let leaving = shared.tasks.stop_token().child_token();
    let (told, mut phase) = (leaving.clone(), shared.phase.clone());
    shared
        .tasks
        .spawn_guarded("fifos until leaving", async move {
            tokio::select! {
                _left = phase.wait_for(|phase| *phase != Phase::Running) => told.cancel(),
                () = told.cancelled() => {}
            }
        });
    leaving
}
