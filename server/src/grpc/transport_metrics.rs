//! What the unix sockets count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the listeners and their connections. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct TransportMetrics {
    /// Connections open now.
    pub connections: Gauge,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections closed at once because too many are open.
    pub connections_refused: Counter,
    /// Connections closed because their reader took nothing for too long.
    pub consumers_stalled: Counter,
    /// Connections that a drain had to cut off.
    pub connections_cut: Counter,
    /// Failures of `accept`, such as too many open files.
    pub accept_errors: Counter,
    /// Calls that panicked and were answered INTERNAL.
    pub call_panics: Counter,
    /// Header blocks whose `:authority` was replaced.
    pub authorities_rewritten: Counter,
    /// Connections whose header blocks the authority filter could not follow.
    pub authority_filters_off: Counter,
    /// Sockets created again after somebody had deleted or replaced their file.
    pub sockets_recreated: Counter,
    /// Failed attempts to create a socket again.
    pub socket_recreation_errors: Counter,
}

impl TransportMetrics {
    /// Puts the metrics on show, as `muster_grpc_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_grpc");
        registry.register(
            "connections",
            "Connections open now",
            self.connections.clone(),
        );
        let counters = [
            (
                "connections_accepted",
                "Connections accepted",
                &self.connections_accepted,
            ),
            (
                "connections_refused",
                "Connections over the limit",
                &self.connections_refused,
            ),
            (
                "consumers_stalled",
                "Readers that stopped reading",
                &self.consumers_stalled,
            ),
            (
                "connections_cut",
                "Connections cut off by a drain",
                &self.connections_cut,
            ),
            ("accept_errors", "Failures of accept", &self.accept_errors),
            ("call_panics", "Calls that panicked", &self.call_panics),
            (
                "authorities_rewritten",
                "Replaced authorities",
                &self.authorities_rewritten,
            ),
            (
                "authority_filters_off",
                "Connections with unreadable headers",
                &self.authority_filters_off,
            ),
            (
                "sockets_recreated",
                "Sockets created again",
                &self.sockets_recreated,
            ),
            (
                "socket_recreation_errors",
                "Failures to create a socket again",
                &self.socket_recreation_errors,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
