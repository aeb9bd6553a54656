//! What the daemon does for programs that speak no gRPC.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::shutdown::Phase;
use crate::gossip::Handle;
use crate::hub::Hub;
use crate::legacy::answers;
use crate::legacy::fifo::{self, Allow, FifoSpec, Fifos};
use crate::queries::Responders;

/// Directory of what parent and children share, below the root.
const SHARED: &str = "serfnode";

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
) -> anyhow::Result<()> {
    let legacy = &shared.config.legacy;
    let Some(root) = &legacy.root else {
        return Ok(());
    };
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
    let root = open(root)?;
    let (handle, stop) = (handle.clone(), leaving(shared));
    let fifos = Fifos::start(config, root, handle, metrics, &shared.tasks, stop);
    let all = FifoSpec {
        child: None,
        directory: SHARED.into(),
        allow: Allow::All,
    };
    fifos.set(vec![all]).await;
    Ok(())
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
