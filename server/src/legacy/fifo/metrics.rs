//! What FIFOs count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a line brought no event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    /// `too_long`, `not_json`, `shape`, `name`, `depth`, `not_allowed`, `too_large`,
    /// `window_full`, `leaving`.
    pub(super) reason: &'static str,
}

/// Counters and gauges of all FIFOs of this node. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Held open.
    pub(super) open: Gauge,
    /// Made again.
    pub(super) remade: Counter,
    /// Could not be made.
    pub(super) failures: Counter,
    /// Lines that ended, blank ones aside.
    pub(super) lines: Counter,
    /// Events.
    pub(super) events: Counter,
    /// Of them, those that two other members hold.
    pub(super) replicated: Counter,
    /// Lines that brought none.
    pub(super) refused: Family<Reason, Counter>,
    /// Reading stopped, because there was no room.
    pub(super) waits: Counter,
    /// Reading stopped, because a child sent too fast.
    pub(super) delays: Counter,
}

impl Metrics {
    /// Registers them, as `muster_fifo_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("muster_fifo");
        registry.register("open", "FIFOs held open for containers", self.open.clone());
        registry.register(
            "refused_lines",
            "Lines that brought no event, by reason",
            self.refused.clone(),
        );
        let counters = [
            ("remade", "FIFOs made again: gone or replaced", &self.remade),
            ("failures", "FIFOs that could not be made", &self.failures),
            ("lines", "Lines read, blank ones aside", &self.lines),
            ("events", "Events sent", &self.events),
            (
                "replicated_events",
                "Events sent that two other members hold, or all there are",
                &self.replicated,
            ),
            (
                "waits",
                "Times that reading stopped until there was room for an event",
                &self.waits,
            ),
            (
                "delays",
                "Lines held back because their child sends too fast",
                &self.delays,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }

    pub(super) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}
