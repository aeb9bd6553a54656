//! The snapshot: read at the start, written while the cluster changes and at the end.

mod metrics;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_engine::Snapshot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::gossip::{Changes, Handle};
use crate::storage::{Loaded, StorageError, StoredFile, serf};
pub use metrics::SnapshotMetrics;

/// Changes gather for this long before they are written.
const GATHER: Duration = Duration::from_millis(250);

/// Least time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Bytes written a second on average, at most: a large cluster's snapshot is written
/// less often.
const WRITE_BYTES_PER_SECOND: u64 = 256 << 10;

/// A write that failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// How long the engine may take at the end to say what it knew last.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What to keep, and for whom.
#[derive(Debug, Clone)]
pub struct SnapshotConfig {
    /// The file, if anything is to be kept.
    pub file: Option<std::path::PathBuf>,
    /// Come back after a leave.
    pub rejoin: bool,
    /// Name of the cluster.
    pub cluster: String,
}

/// The snapshot of one daemon. Clones share everything. Without a file it keeps nothing.
#[derive(Debug, Clone)]
pub struct Snapshots {
    file: Option<StoredFile>,
    config: SnapshotConfig,
    warning: Arc<Mutex<Option<String>>>,
    metrics: SnapshotMetrics,
}

/// What the start found.
#[derive(Debug, Default)]
pub struct Restored {
    /// For the engine.
    pub snapshot: Option<Snapshot>,
    /// The file says that the node left: it is kept until the node has met somebody.
    pub stays_left: bool,
}

impl Snapshots {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(config: SnapshotConfig) -> Self {
        Self {
            file: config.file.clone().map(StoredFile::new),
            config,
            warning: Arc::default(),
            metrics: SnapshotMetrics::default(),
        }
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> &SnapshotMetrics {
        &self.metrics
    }

    /// What an operator should know of the disk.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        warning.clone()
    }

    /// Reads what the run before kept; blocks on the disk. Whatever is wrong with it,
    /// the daemon starts.
    #[must_use]
    pub fn load(&self) -> Restored {
        let Some(file) = &self.file else {
            return Restored::default();
        };
        let snapshot = match self.read(file) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Restored::default(),
            Err(error) => {
                self.note(Some(&error), "the snapshot cannot be read");
                return Restored::default();
            }
        };
        let stays_left = snapshot.left && !self.config.rejoin;
        if stays_left {
            tracing::info!(
                "this node left the cluster: it joins by its seeds only, or with --rejoin"
            );
        } else {
            tracing::info!(
                members = snapshot.members(),
                addresses = snapshot.addresses.len(),
                "looks for the members of the run before"
            );
        }
        let snapshot = if stays_left {
            snapshot.without_members()
        } else {
            snapshot
        };
        Restored {
            snapshot: Some(snapshot),
            stays_left,
        }
    }

    fn read(&self, file: &StoredFile) -> Result<Option<Snapshot>, StorageError> {
        let Some(bytes) = file.bytes()? else {
            return Ok(None);
        };
        if !StoredFile::is_ours(&bytes)
            && let Some(found) = serf::parse(&bytes, self.config.rejoin)
        {
            return Ok(Some(self.import(file, found)));
        }
        Ok(match file.read::<Snapshot>()? {
            Loaded::Found(snapshot) if snapshot.cluster == self.config.cluster => Some(snapshot),
            Loaded::Found(snapshot) => {
                let why = format!("it is of cluster {:?}", snapshot.cluster);
                let _set_aside: Loaded<Snapshot> = file.damaged(why);
                None
            }
            Loaded::Missing | Loaded::Damaged { .. } => None,
        })
    }

    /// Takes over from serf, once: its file stays beside as `FILE.serf`.
    fn import(&self, file: &StoredFile, found: serf::SerfSnapshot) -> Snapshot {
        let mut snapshot = Snapshot::of_addresses(&self.config.cluster, &found.addresses);
        snapshot.left = found.left;
        snapshot.lamport = found.event_clock.saturating_add(1);
        let kept = file.copy_aside("serf");
        let written = kept.and_then(|kept| file.write(&snapshot).map(|()| kept));
        match written {
            Ok(kept) => tracing::info!(
                addresses = snapshot.addresses.len(),
                kept = %kept.display(),
                "took the members over from a snapshot of serf"
            ),
            Err(error) => self.note(Some(&error), "the snapshot of serf is not replaced"),
        }
        snapshot
    }

    /// Writes whatever changes, until the daemon stops; then what the engine knew last.
    pub async fn keep(self, handle: Handle, stays_left: bool, stop: CancellationToken) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let mut changes = handle.changes();
        let mut keeper = Keeper {
            store: self,
            file,
            hold: stays_left,
            next: Instant::now(),
            failed: false,
        };
        keeper.run(&handle, &mut changes, &stop).await;
        let last = timeout(
            LAST_WAIT,
            changes.wait_for(|changes| changes.last.is_some()),
        );
        let last = match last.await {
            Ok(Ok(changes)) => changes.last.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match last {
            Some(last) => keeper.write(Snapshot::clone(&last)).await,
            None => tracing::warn!("the engine did not say what it knew last"),
        }
    }

    fn note(&self, error: Option<&StorageError>, what: &str) {
        let text = error.map(|error| {
            let source = std::error::Error::source(error);
            let source = source.map_or_else(String::new, |source| format!(": {source}"));
            format!("{what}: {error}{source}")
        });
        let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if *warning != text {
            match &text {
                Some(text) => tracing::warn!("{text}"),
                None => tracing::info!("the snapshot is written again"),
            }
        }
        *warning = text;
    }
}

/// Decides when to write.
struct Keeper {
    store: Snapshots,
    file: StoredFile,
    /// Nobody was met since a leave: the file stays as it is.
    hold: bool,
    next: Instant,
    failed: bool,
}

impl Keeper {
    async fn run(
        &mut self,
        handle: &Handle,
        changes: &mut watch::Receiver<Changes>,
        stop: &CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(self.next), if self.failed => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
            let due = self.next.max(Instant::now() + GATHER);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(due) => {}
                // Whatever happens next, this must not be forgotten.
                left = changes.wait_for(|changes| changes.left) => if left.is_err() { return },
            }
            changes.mark_unchanged();
            let Ok(snapshot) = handle.snapshot().await else {
                return; // It stops.
            };
            self.write(snapshot).await;
        }
    }

    async fn write(&mut self, snapshot: Snapshot) {
        if self.hold && snapshot.knows_nobody() {
            return;
        }
        self.hold = false;
        let bytes = prost::Message::encoded_len(&snapshot);
        let (store, file) = (self.store.clone(), self.file.clone());
        let written = tokio::task::spawn_blocking(move || {
            let written = file.make_directory().and_then(|()| file.write(&snapshot));
            store.note(written.as_ref().err(), "the snapshot is not written");
            store
                .metrics
                .wrote(written.is_ok(), bytes, snapshot.saved_unix_ms);
            written.is_ok()
        });
        self.failed = !written.await.unwrap_or(false);
        let pause = if self.failed { RETRY } else { pause(bytes) };
        self.next = Instant::now() + pause;
    }
}

/// Time until the next write after one of so many bytes.
fn pause(bytes: usize) -> Duration {
    let seconds = u64::try_from(bytes).unwrap_or(u64::MAX) / WRITE_BYTES_PER_SECOND;
    WRITE_EVERY.max(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
