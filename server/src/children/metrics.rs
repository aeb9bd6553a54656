//! What launching counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of children. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Children that were wanted at the last look.
    pub(super) wanted: Gauge,
    /// Children that were as they should be at the last look.
    pub(super) settled: Gauge,
    /// Containers that were created.
    pub(super) created: Counter,
    /// Containers that were started.
    pub(super) started: Counter,
    /// Containers that were removed: no longer wanted, changed, or of a parent that is gone.
    pub(super) removed: Counter,
    /// Images that were pulled.
    pub(super) pulled: Counter,
    /// Tries that failed.
    pub(super) failed: Counter,
    /// Children that started before their files were there.
    pub(super) unready: Counter,
    /// Children that were killed at the end of the daemon.
    pub(super) killed: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Children that are wanted";
        registry.register("muster_children_wanted", help, self.wanted.clone());
        let help = "Children that are as they should be";
        registry.register("muster_children_settled", help, self.settled.clone());
        let counters = [
            (
                "created",
                "Containers of children that were created",
                &self.created,
            ),
            ("started", "Starts of children", &self.started),
            (
                "removed",
                "Containers of children that were removed",
                &self.removed,
            ),
            (
                "images_pulled",
                "Images that were pulled for children",
                &self.pulled,
            ),
            (
                "launches_failed",
                "Tries to launch a child that failed",
                &self.failed,
            ),
            (
                "unready",
                "Children that started before their files were there",
                &self.unready,
            ),
            (
                "killed",
                "Children that were killed at the end",
                &self.killed,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("muster_children_{name}"), help, counter.clone());
        }
    }
}
