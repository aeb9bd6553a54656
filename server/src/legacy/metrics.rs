//! What is counted of files and lines of hosts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Which file of a child.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FileLabel {
    /// `/me.json`, `/serfnode` or `/etc/hosts`.
    pub file: &'static str,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `ok` or `failed`.
    pub outcome: &'static str,
}

/// Counters and gauges. Clones share everything.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Files that were replaced.
    pub(super) written: Counter,
    /// Writes that failed.
    pub(super) failed: Counter,
    /// Files of hosts that were changed.
    pub(super) hosts: Counter,
    /// Times that a file of hosts changed under the writer.
    pub(super) raced: Counter,
    /// Roles whose new address waits for room, over all files of hosts.
    pub(super) waiting: Gauge,
    /// Files that cannot be where they belong.
    pub(super) undeliverable: Family<FileLabel, Gauge>,
    /// Children.
    pub(super) children: Gauge,
    /// Archives put into containers.
    pub(super) posts: Family<OutcomeLabel, Counter>,
    /// How long passes took.
    pub(super) seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0];
        Self {
            written: Counter::default(),
            failed: Counter::default(),
            hosts: Counter::default(),
            raced: Counter::default(),
            waiting: Gauge::default(),
            undeliverable: Family::default(),
            children: Gauge::default(),
            posts: Family::default(),
            seconds: Histogram::new(seconds),
        }
    }
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "muster_legacy_files_written",
            "Files for programs without gRPC that were replaced",
            &self.written,
        );
        counter(
            "muster_legacy_files_failed",
            "Files for programs without gRPC that could not be written",
            &self.failed,
        );
        counter(
            "muster_legacy_hosts_changed",
            "Changes of files of hosts",
            &self.hosts,
        );
        counter(
            "muster_legacy_hosts_raced",
            "Times that somebody else changed a file of hosts at the same time",
            &self.raced,
        );
        registry.register(
            "muster_legacy_hosts_waiting",
            "Roles whose new address waits for room in a file of hosts",
            self.waiting.clone(),
        );
        registry.register(
            "muster_legacy_undeliverable",
            "Files of children that cannot be where they belong",
            self.undeliverable.clone(),
        );
        registry.register(
            "muster_legacy_children",
            "Containers that are children of this node",
            self.children.clone(),
        );
        registry.register(
            "muster_legacy_posts",
            "Archives of files put into containers",
            self.posts.clone(),
        );
        registry.register(
            "muster_legacy_pass_seconds",
            "How long it took to write what changed",
            self.seconds.clone(),
        );
    }
}
