//! Tells everybody what becomes of the children of this node, as serfnode did.

use std::path::PathBuf;
use std::sync::Arc;

use muster_engine::EventDraft;
use tokio_util::sync::CancellationToken;

use super::{Shared, unix_ms};
use crate::docker::{Container, Docker, EngineStatus};
use crate::gossip::Handle;
use crate::legacy::children::children;
use crate::legacy::supervise::{self, Supervision};

/// Starts it where programs are there that wait for it: with a root for their files.
pub(super) fn start(shared: &Shared, docker: &Docker, handle: &Handle) {
    let Some(root) = shared.config.legacy.root.clone() else {
        return;
    };
    let telling = Telling {
        docker: docker.clone(),
        handle: handle.clone(),
        root: std::path::absolute(&root).unwrap_or(root),
        node: shared.config.node.name.clone(),
        stop: shared.tasks.stop_token(),
    };
    shared
        .tasks
        .spawn_guarded("supervisor events", telling.run());
}

struct Telling {
    docker: Docker,
    handle: Handle,
    root: PathBuf,
    node: String,
    stop: CancellationToken,
}

impl Telling {
    async fn run(self) {
        let mut states = self.docker.state();
        let mut supervision = Supervision::default();
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            // While the engine is away nobody knows what became of them.
            if matches!(state.engine, EngineStatus::Live { .. }) {
                let all = children(&state, self.docker.places(), &self.node, &self.root);
                let all: Vec<Arc<Container>> =
                    all.into_iter().map(|child| child.container).collect();
                for notice in supervision.look(&all, unix_ms()) {
                    let payload = notice.payload(&self.node);
                    tokio::select! {
                        () = self.tell(payload) => {}
                        () = self.stop.cancelled() => return,
                    }
                }
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Waits while there is no room for events.
    async fn tell(&self, payload: Vec<u8>) {
        let draft = EventDraft::new(supervise::EVENT, payload);
        if let Err(error) = self.handle.send_event(draft).await {
            tracing::debug!(%error, "what became of a child is not told");
        }
    }
}
