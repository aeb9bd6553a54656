//! What handlers count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Which handler: its number, or its name in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandlerLabel {
    /// Bounded by [`super::HANDLERS_MAX`] at any time.
    pub handler: String,
}

/// Which handler, and how its call went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunLabel {
    /// As in [`HandlerLabel`].
    pub handler: String,
    /// `ok`, `failed`, `timeout`, `stopped`, `not_started`.
    pub outcome: &'static str,
}

/// Counters and gauges of handlers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Calls that ended.
    pub(super) runs: Family<RunLabel, Counter>,
    /// Calls under way.
    pub(super) running: Family<HandlerLabel, Gauge>,
    /// Events that wait.
    pub(super) queued: Family<HandlerLabel, Gauge>,
    /// Events that a handler will never get: it was slower than the ring, no member
    /// holds them any more, or a crash left them uncertain.
    pub(super) missed: Family<HandlerLabel, Counter>,
    /// Bytes of output that were thrown away.
    pub(super) output_cut: Counter,
    /// How long calls took.
    pub(super) seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
        Self {
            runs: Family::default(),
            running: Family::default(),
            queued: Family::default(),
            missed: Family::default(),
            output_cut: Counter::default(),
            seconds: Histogram::new(seconds),
        }
    }
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Calls of handlers that ended, by outcome";
        registry.register("muster_handler_runs", help, self.runs.clone());
        let help = "Calls of handlers under way";
        registry.register("muster_handler_running", help, self.running.clone());
        let help = "Events that wait for a handler";
        registry.register("muster_handler_queued", help, self.queued.clone());
        let help = "Events that a handler will never get";
        registry.register("muster_handler_missed_events", help, self.missed.clone());
        let help = "Bytes of the output of handlers that were thrown away";
        registry.register(
            "muster_handler_output_cut_bytes",
            help,
            self.output_cut.clone(),
        );
        let help = "How long calls of handlers took";
        registry.register("muster_handler_seconds", help, self.seconds.clone());
    }

    /// Drops what is kept of a handler that is gone, but for its counters.
    pub(super) fn forget(&self, label: &HandlerLabel) {
        self.running.remove(label);
        self.queued.remove(label);
    }
}
