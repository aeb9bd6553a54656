//! What is counted of containers as cluster knowledge.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Changes of the own record.
    pub(crate) published: Counter,
    /// Changes that the engine refused, or that found it too busy.
    pub(crate) refused: Counter,
    /// Labels that made no sense, each once.
    pub(crate) bad_labels: Counter,
    /// Containers that the record has no room for.
    pub(crate) left_out: Gauge,
    /// Labels that the record has no room for.
    pub(crate) labels_left_out: Gauge,
    /// Containers inspected for callers of this node.
    pub(crate) inspected: Counter,
    /// Containers inspected for other members.
    pub(crate) inspected_for_peers: Counter,
}

impl Metrics {
    /// Puts the metrics on show, as `muster_containers_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_containers");
        let counters = [
            (
                "published",
                "Changes of what is told of containers",
                &self.published,
            ),
            (
                "publish_failures",
                "Changes that were not told",
                &self.refused,
            ),
            ("bad_labels", "Labels that made no sense", &self.bad_labels),
            ("inspected", "Containers inspected", &self.inspected),
            (
                "inspected_for_peers",
                "Containers inspected for other members",
                &self.inspected_for_peers,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let help = "Containers that are not told of for want of room";
        registry.register("left_out", help, self.left_out.clone());
        let help = "Labels that are not told for want of room";
        registry.register("labels_left_out", help, self.labels_left_out.clone());
    }
}
