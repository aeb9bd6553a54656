//! What the disk did not take is written again, until it does.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::identity::BootStore;
use crate::keys::Keys;
use crate::tags::TagStore;

/// Time between two tries. The snapshot has tries of its own, the cursors of
/// handlers are written with the next event.
const EVERY: Duration = Duration::from_secs(10);

/// Retries for as long as the daemon runs.
pub(super) fn start(shared: &Shared, keys: &Keys) {
    let (boots, tags) = (shared.boots.clone(), shared.live.tags.clone());
    let retrying = run(boots, tags, keys.clone(), shared.tasks.stop_token());
    shared.tasks.spawn_guarded("disk retries", retrying);
}

async fn run(boots: BootStore, tags: TagStore, keys: Keys, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        let (boots, tags) = (boots.clone(), tags.clone());
        let files = tokio::task::spawn_blocking(move || {
            boots.retry();
            tags.retry();
        });
        if let Err(error) = files.await {
            tracing::error!(%error, "a retry on the disk did not end");
        }
        keys.retry().await;
    }
}
