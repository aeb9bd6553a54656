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
    /// Connections closed because no HTTP/2 preface came in time.
    pub connections_silent: Counter,
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
                "connections_silent",
                "Connections without an HTTP/2 preface",
                &self.connections_silent,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_on_show() {
        let (metrics, mut registry) = (TransportMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let counters = [
            &metrics.connections_accepted,
            &metrics.connections_refused,
            &metrics.consumers_stalled,
            &metrics.connections_silent,
            &metrics.connections_cut,
            &metrics.accept_errors,
            &metrics.call_panics,
            &metrics.authorities_rewritten,
            &metrics.authority_filters_off,
            &metrics.sockets_recreated,
            &metrics.socket_recreation_errors,
        ];
        for (counter, value) in counters.iter().zip(101..) {
            counter.inc_by(value);
        }
        metrics.connections.set(100);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("muster_grpc_connections 100\n"), "{text}");
        for value in 101..=111 {
            let ending = format!("_total {value}\n");
            assert_eq!(text.matches(&ending).count(), 1, "{text}");
        }
    }
}
