//! What serf's RPC counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One of few words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    /// Why.
    pub(crate) reason: &'static str,
}

/// A command of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CommandLabel {
    /// Its name.
    pub(crate) command: &'static str,
}

/// Counters and gauges. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Connections open.
    pub(crate) connections: Gauge,
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections not taken because there were too many.
    pub(crate) refused: Counter,
    /// Failed accepts.
    pub(crate) accept_errors: Counter,
    commands: Family<CommandLabel, Counter>,
    cut: Family<ReasonLabel, Counter>,
    denied: Family<ReasonLabel, Counter>,
    /// Records handed to streams, monitors and queries.
    pub(crate) records: Counter,
    /// Gaps in the events of streams, which the protocol cannot tell.
    pub(crate) gaps: Counter,
    /// User events that a later one of their name replaced, as their senders wished.
    pub(crate) coalesced: Counter,
}

impl Metrics {
    /// Registers everything under `muster_serf_rpc_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_serf_rpc");
        let open = "Connections open";
        registry.register("connections_open", open, self.connections.clone());
        let accepted = "Connections accepted";
        registry.register("connections_accepted", accepted, self.accepted.clone());
        let refused = "Connections closed at once because there were too many";
        registry.register("connections_refused", refused, self.refused.clone());
        let errors = "Connections that could not be accepted";
        registry.register("accept_errors", errors, self.accept_errors.clone());
        let commands = "Requests by command";
        registry.register("commands", commands, self.commands.clone());
        let cut = "Connections that the daemon ended, by reason";
        registry.register("connections_cut", cut, self.cut.clone());
        let denied = "Requests refused for want of a right, by reason";
        registry.register("denied", denied, self.denied.clone());
        let records = "Records handed to streams, monitors and queries";
        registry.register("records", records, self.records.clone());
        let gaps = "Gaps in the events of streams";
        registry.register("event_gaps", gaps, self.gaps.clone());
        let coalesced = "Events that a later one of their name replaced in a stream";
        registry.register("events_coalesced", coalesced, self.coalesced.clone());
    }

    pub(crate) fn command(&self, command: &'static str) {
        self.commands.get_or_create(&CommandLabel { command }).inc();
    }

    pub(crate) fn cut(&self, reason: &'static str) {
        self.cut.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn denied(&self, reason: &'static str) {
        self.denied.get_or_create(&ReasonLabel { reason }).inc();
    }
}
