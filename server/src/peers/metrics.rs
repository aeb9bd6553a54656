//! What the calls between peers count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Connections to peers.
    pub(super) outgoing: Gauge,
    /// Connections from peers.
    pub(super) incoming: Gauge,
    /// Connections opened to peers.
    pub(super) opened: Counter,
    /// Connections to peers that could not be opened.
    pub(super) open_errors: Counter,
    /// Calls that found no place for a connection.
    pub(super) crowded: Counter,
    /// Connections taken from peers.
    pub(super) accepted: Counter,
    /// Connections from peers that found no place.
    pub(super) refused: Counter,
    /// Connections that broke.
    pub(super) broken: Counter,
    /// Connections whose calls had to be cut off.
    pub(super) cut: Counter,
    /// Calls to peers.
    pub(super) calls_sent: Counter,
    /// Calls to peers that found no way.
    pub(super) calls_failed: Counter,
    /// Calls from peers.
    pub(super) calls_received: Counter,
    /// Calls from peers without a good name or boot.
    pub(super) callers_unknown: Counter,
    /// Calls from peers that hit a bug.
    pub(super) call_panics: Counter,
}

/// A gauge that is one higher while this lives.
#[derive(Debug)]
pub(super) struct Up(Gauge);

impl Up {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Calls to peers so far.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> u64 {
        self.calls_sent.get()
    }

    /// Puts the metrics on show, as `muster_peers_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_peers");
        let gauges = [
            ("outgoing", "gRPC connections to peers", &self.outgoing),
            ("incoming", "gRPC connections from peers", &self.incoming),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("opened", "Connections opened", &self.opened),
            ("open_errors", "Failures to open one", &self.open_errors),
            (
                "crowded",
                "Calls that found no place for a connection",
                &self.crowded,
            ),
            ("accepted", "Connections accepted", &self.accepted),
            ("refused", "Connections over the limit", &self.refused),
            ("broken", "Connections that broke", &self.broken),
            ("cut", "Connections whose calls were cut off", &self.cut),
            ("calls_sent", "Calls to peers", &self.calls_sent),
            (
                "calls_failed",
                "Calls to peers that found no way",
                &self.calls_failed,
            ),
            ("calls_received", "Calls from peers", &self.calls_received),
            (
                "callers_unknown",
                "Calls without a good name or boot",
                &self.callers_unknown,
            ),
            (
                "call_panics",
                "Calls from peers that panicked",
                &self.call_panics,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
