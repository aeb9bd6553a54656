//! What delivery receipts count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of deliveries, at both ends. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Own events that were tracked.
    pub(crate) tracked: Counter,
    /// Events refused because too many were tracked.
    pub(crate) refused: Counter,
    /// Reports that were waited for.
    pub(crate) delivered: Counter,
    /// Members that did not report in time, failed or left.
    pub(crate) silent: Counter,
    /// Reports of events that nobody waits for.
    pub(crate) unclaimed: Counter,
    /// Events that this node reported to their origins.
    pub(crate) reported: Counter,
    /// Events whose origin could not be told, or that had no place in the queue.
    pub(crate) unreported: Counter,
}

impl Metrics {
    /// Registers everything under `muster_delivery_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_delivery");
        for (name, help, counter) in [
            (
                "tracked",
                "Own events with receipt DELIVERED",
                &self.tracked,
            ),
            (
                "refused",
                "Events refused: too many wait for DELIVERED",
                &self.refused,
            ),
            (
                "delivered",
                "Reports of members that have an own event",
                &self.delivered,
            ),
            (
                "silent",
                "Members that did not report an own event",
                &self.silent,
            ),
            (
                "unclaimed",
                "Reports that nobody waited for",
                &self.unclaimed,
            ),
            (
                "reported",
                "Events reported to their origins",
                &self.reported,
            ),
            (
                "unreported",
                "Events that could not be reported",
                &self.unreported,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}
