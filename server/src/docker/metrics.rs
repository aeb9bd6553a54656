//! What following the engine counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of the engine. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// 1 while the view is right.
    pub(super) live: Gauge,
    /// When it was last known to be right, unix seconds.
    pub(super) right_at: Gauge,
    /// Containers in the view.
    pub(super) containers: Gauge,
    /// Events read.
    pub(super) events: Counter,
    /// Events that could not be read, or waited in too long a queue: the list was asked
    /// for instead.
    pub(super) dropped: Counter,
    /// Containers inspected.
    pub(super) inspects: Counter,
    /// Inspects that failed.
    pub(super) failed: Counter,
    /// Lists asked for.
    pub(super) lists: Counter,
    /// Containers that had no room.
    pub(super) left_out: Counter,
    /// Times that the engine went away.
    pub(super) losses: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Whether the view of the containers is right: 1, or 0";
        registry.register("muster_docker_live", help, self.live.clone());
        let help = "When the view of the containers was last known to be right, unix seconds";
        registry.register(
            "muster_docker_right_at_seconds",
            help,
            self.right_at.clone(),
        );
        let help = "Containers in the view";
        registry.register("muster_docker_containers", help, self.containers.clone());
        let help = "Events of the Docker engine";
        registry.register("muster_docker_events", help, self.events.clone());
        let help = "Events of the Docker engine that a new list took the place of";
        registry.register("muster_docker_dropped_events", help, self.dropped.clone());
        let help = "Containers inspected because they changed";
        registry.register("muster_docker_inspects", help, self.inspects.clone());
        let help = "Inspects that failed, but for those of containers that were gone";
        registry.register("muster_docker_failed_inspects", help, self.failed.clone());
        let help = "Lists of containers asked for";
        registry.register("muster_docker_lists", help, self.lists.clone());
        let help = "Containers that the view had no room for";
        registry.register("muster_docker_left_out", help, self.left_out.clone());
        let help = "Times that the Docker engine went away";
        registry.register("muster_docker_losses", help, self.losses.clone());
    }
}
