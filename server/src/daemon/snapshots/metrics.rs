//! What is counted of the snapshot.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Numbers of the snapshot. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct SnapshotMetrics {
    writes: Counter,
    failures: Counter,
    bytes: Gauge<u64, AtomicU64>,
    written: Gauge<u64, AtomicU64>,
}

impl SnapshotMetrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "muster_snapshot_writes",
            "Snapshots written",
            self.writes.clone(),
        );
        registry.register(
            "muster_snapshot_write_failures",
            "Snapshots that could not be written",
            self.failures.clone(),
        );
        registry.register(
            "muster_snapshot_bytes",
            "Size of the snapshot written last",
            self.bytes.clone(),
        );
        registry.register(
            "muster_snapshot_timestamp_seconds",
            "Time of the snapshot written last, seconds since 1970",
            self.written.clone(),
        );
    }

    /// A write came to its end.
    pub(super) fn wrote(&self, ok: bool, bytes: usize, unix_ms: u64) {
        if ok {
            self.writes.inc();
            self.bytes.set(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.written.set(unix_ms / 1_000);
        } else {
            self.failures.inc();
        }
    }
}
