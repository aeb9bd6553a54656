//! The one metrics registry of the daemon.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::ProcessCollector;

/// Numbers of the engine, by name.
pub type Counters = Vec<(&'static str, u64)>;

/// Every metric of the daemon. Clones share everything.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
    engine: Arc<Mutex<Counters>>,
}

#[derive(Debug)]
struct EngineCollector(Arc<Mutex<Counters>>);

impl Metrics {
    /// A registry with the metrics of the process in it.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::default();
        let labels = [("version".to_owned(), version.to_owned())];
        registry.register("muster_build", "What runs", Info::new(labels));
        registry.register_collector(Box::new(ProcessCollector::new()));
        let engine = Arc::new(Mutex::new(Counters::new()));
        registry.register_collector(Box::new(EngineCollector(Arc::clone(&engine))));
        Self {
            registry: Arc::new(RwLock::new(registry)),
            engine,
        }
    }

    /// Lets a module register its metrics.
    pub fn register(&self, module: impl FnOnce(&mut Registry)) {
        let mut registry = self
            .registry
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        module(&mut registry);
    }

    /// All metrics as OpenMetrics text, with the numbers of the engine and its driver
    /// as they are now.
    #[must_use]
    pub fn encode(&self, engine: Counters) -> String {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = engine;
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string fails only if a collector does, and ours do not.
        if let Err(error) = encode(&mut text, &registry) {
            tracing::error!(%error, "cannot encode the metrics");
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let engine = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut put = |name: &str, help: &str, kind: MetricType, value: u64| {
            encoder
                .encode_descriptor(name, help, None, kind)?
                .encode_gauge(&value)
        };
        for (name, value) in engine.iter() {
            let name = format!("muster_engine_{name}");
            // The engine does not say which of its numbers only grow.
            put(&name, "Number of the engine", MetricType::Unknown, *value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn value(text: &str, name: &str) -> Option<f64> {
        let line = text
            .lines()
            .find(|line| line.split([' ', '{']).next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn one_text_has_process_modules_and_engine() {
        let metrics = Metrics::new("1.2.3");
        let drops = Counter::<u64>::default();
        drops.inc_by(3);
        metrics.register(|registry| registry.register("muster_drops", "Drops", drops.clone()));
        let text = metrics.encode(vec![("members", 5), ("probes_sent", 7)]);
        assert!(
            text.contains(r#"muster_build_info{version="1.2.3"} 1"#),
            "{text}"
        );
        assert_eq!(value(&text, "muster_drops_total"), Some(3.0), "{text}");
        assert_eq!(value(&text, "muster_engine_members"), Some(5.0), "{text}");
        assert_eq!(
            value(&text, "muster_engine_probes_sent"),
            Some(7.0),
            "{text}"
        );
        assert!(
            value(&text, "process_resident_memory_bytes") > Some(100_000.0),
            "{text}"
        );
        assert!(value(&text, "process_threads") >= Some(1.0), "{text}");
        assert!(value(&text, "process_open_fds") >= Some(3.0), "{text}");
        assert!(
            value(&text, "process_start_time_seconds") > Some(1.6e9),
            "{text}"
        );
        assert!(
            value(&text, "process_cpu_seconds_total").is_some(),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
