//! What the API counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Why a call was refused before its handler ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// `capability`, `streams`.
    pub reason: &'static str,
}

/// Which stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MethodLabel {
    /// Name of the method.
    pub method: &'static str,
}

/// Counters and gauges of the API. Clones share everything.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Calls under way.
    pub(crate) calls_open: Gauge,
    /// Calls refused before their handler ran.
    pub(crate) refusals: Family<RefusalLabel, Counter>,
    /// Messages handed to watches.
    pub(crate) deliveries: Family<MethodLabel, Counter>,
    /// Deltas in which several revisions merged because a watcher was slow or asked.
    pub(crate) merges: Counter,
    /// Snapshots that a watch got in the middle.
    pub(crate) resyncs: Counter,
    /// Gaps told to event watches because they were slower than the ring.
    pub(crate) event_gaps: Counter,
    /// Watches that had no shared view because there are too many filters.
    pub(crate) unshared: Counter,
    /// Revisions that one delta spans.
    pub(crate) lag: Histogram,
    /// Events that were refused by a receipt.
    pub(crate) rejected: Counter,
    /// Streams ended because their reader took nothing for too long.
    pub(crate) stalled: Counter,
    /// Calls ended because the deadline that their caller set was over.
    pub(crate) deadlines: Counter,
    /// Panics caught in handlers and streams.
    pub(crate) panics: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let powers_of_four = (0..8).map(|power| f64::from(1_u32 << (2 * power)));
        Self {
            calls_open: Gauge::default(),
            refusals: Family::default(),
            deliveries: Family::default(),
            merges: Counter::default(),
            resyncs: Counter::default(),
            event_gaps: Counter::default(),
            unshared: Counter::default(),
            lag: Histogram::new(powers_of_four),
            rejected: Counter::default(),
            stalled: Counter::default(),
            deadlines: Counter::default(),
            panics: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers everything under `muster_grpc_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_grpc");
        let calls = "Calls under way";
        registry.register("calls_open", calls, self.calls_open.clone());
        let refusals = "Calls refused before their handler ran";
        registry.register("refusals", refusals, self.refusals.clone());
        let deliveries = "Messages handed to watches";
        registry.register("deliveries", deliveries, self.deliveries.clone());
        let merges = "Deltas in which several revisions merged";
        registry.register("watch_merges", merges, self.merges.clone());
        let resyncs = "Snapshots sent in the middle of a watch";
        registry.register("watch_resyncs", resyncs, self.resyncs.clone());
        let gaps = "Gaps told to event watches that were slower than the ring";
        registry.register("event_gaps", gaps, self.event_gaps.clone());
        let unshared = "Watches without a shared view: too many distinct filters";
        registry.register("watch_unshared", unshared, self.unshared.clone());
        let lag = "Revisions that one delta spans";
        registry.register("watch_lag_revisions", lag, self.lag.clone());
        let rejected = "Events refused by a receipt";
        registry.register("events_rejected", rejected, self.rejected.clone());
        let stalled = "Streams ended because their reader took nothing for too long";
        registry.register("streams_stalled", stalled, self.stalled.clone());
        let deadlines = "Calls whose caller's deadline passed";
        registry.register("deadlines_exceeded", deadlines, self.deadlines.clone());
        let panics = "Panics caught in handlers and streams";
        registry.register("panics", panics, self.panics.clone());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabel { reason }).inc();
    }

    pub(crate) fn deliveries(&self, method: &'static str) -> Counter {
        let label = MethodLabel { method };
        self.deliveries.get_or_create(&label).clone()
    }
}
