//! What keys count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of keys. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Keys that open now.
    pub(super) installed: Gauge,
    /// Times that the ring of this node changed.
    pub(super) changes: Counter,
    /// Rings exchanged with members, at this node's wish.
    pub(super) exchanges: Counter,
    /// Those that brought no answer.
    pub(super) exchanges_failed: Counter,
    /// Times that a member told this node something new.
    pub(super) told: Counter,
    /// Exchanges refused because the pipe was not sealed.
    pub(super) refused_plaintext: Counter,
    /// Changes that could not be kept for the next start.
    pub(super) unkept: Counter,
}

impl Metrics {
    /// Registers everything under `muster_keys_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_keys");
        let installed = "Keys that open";
        registry.register("installed", installed, self.installed.clone());
        let changes = "Changes of this node's keys";
        registry.register("changes", changes, self.changes.clone());
        let exchanges = "Rings exchanged with members at this node's wish";
        registry.register("exchanges", exchanges, self.exchanges.clone());
        let failed = "Exchanges of rings without an answer";
        registry.register("exchanges_failed", failed, self.exchanges_failed.clone());
        let told = "Changes that other members told";
        registry.register("told", told, self.told.clone());
        let refused = "Exchanges refused as their pipe was not sealed";
        registry.register("refused_plaintext", refused, self.refused_plaintext.clone());
        let unkept = "Changes that were not kept for the next start";
        registry.register("unkept", unkept, self.unkept.clone());
    }
}
