//! What `serf info` shows.

use std::collections::BTreeMap;

use muster_engine::Status;

use super::Shared;
use super::record::{self, Stats};
use crate::gossip::Report;

/// serf's groups and keys. What has no counterpart here is 0.
pub(crate) fn stats(shared: &Shared, report: &Report) -> Stats {
    let agent = [("name", report.me.display_name().to_string())];
    BTreeMap::from([
        ("agent", owned(agent)),
        ("event_handlers", shared.hooks.event_handlers()),
        ("runtime", owned(runtime(shared))),
        ("serf", owned(serf(shared, report))),
        ("tags", record::tags(&report.me)),
    ])
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    let owned = pairs.map(|(key, value)| (key.to_owned(), value));
    BTreeMap::from(owned)
}

fn runtime(shared: &Shared) -> [(&'static str, String); 6] {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks: usize = shared.tasks.live().values().sum();
    [
        ("arch", go_arch().to_owned()),
        ("cpu_count", threads.to_string()),
        ("goroutines", tasks.to_string()),
        ("max_procs", threads.to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("version", format!("musterd {}", shared.version)),
    ]
}

/// The name that Go gives to the architecture.
const fn go_arch() -> &'static str {
    let arch = std::env::consts::ARCH;
    match arch.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        b"x86" => "386",
        _ => arch,
    }
}

fn serf(shared: &Shared, report: &Report) -> [(&'static str, String); 12] {
    let changes = shared.hub.members().changes_since(0);
    let (revision, items) = changes.map_or((0, Vec::new()), |c| (c.revision, c.items));
    let present = || items.iter().filter(|change| !change.removed);
    let with = |status| present().filter(move |change| change.entry.value.status == status);
    let counter = |wanted: &str| {
        let mut all = report.counters.iter();
        let found = all.find(|(name, _)| *name == wanted);
        found.map_or(0, |(_, count)| *count).to_string()
    };
    let none = || "0".to_owned();
    [
        ("coordinate_resets", none()),
        ("encrypted", report.encrypted.to_string()),
        ("event_queue", none()),
        ("event_time", counter("events_lamport_time")),
        ("failed", with(Status::Failed).count().to_string()),
        ("health_score", counter("health_score")),
        ("intent_queue", none()),
        ("left", with(Status::Left).count().to_string()),
        ("member_time", revision.to_string()),
        ("members", present().count().to_string()),
        ("query_queue", none()),
        // One clock counts both.
        ("query_time", counter("events_lamport_time")),
    ]
}
