//! The handlers of the daemon.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::config::Config;
use crate::config::schema;
use crate::handlers::cursors::CursorStore;
use crate::handlers::metrics::Metrics;
use crate::handlers::{Around, Handlers};
use crate::hub::Hub;
use crate::queries::Responders;

/// Variables that are between the daemon and its service manager.
const NOT_INHERITED: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
];

/// Where the handlers of a former run stood.
pub(super) async fn cursors(shared: &Shared) -> CursorStore {
    let data = shared.boots.data();
    let opened = tokio::task::spawn_blocking(move || CursorStore::open(data)).await;
    opened.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the cursors of handlers: starting at now");
        CursorStore::default()
    })
}

/// Starts them.
pub(super) fn start(
    shared: &Shared,
    hub: Arc<Hub>,
    cursors: CursorStore,
    queries: Responders,
) -> Handlers {
    let metrics = Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = &shared.config;
    let around = Around {
        name: config.node.name.clone(),
        socket: std::path::absolute(&config.api.socket).unwrap_or(config.api.socket.clone()),
        serf_rpc: config.serf_rpc.as_ref().map(|rpc| rpc.bind.to_string()),
        environment: inherited(&shared.environment),
        // The rest is for those that must be killed.
        grace: config.process.drain_timeout / 2,
        queries,
    };
    let tasks = &shared.tasks;
    let settings = config.handlers.clone();
    let handlers = Handlers::start(settings, around, hub, cursors, metrics, tasks);
    let (reload, stop) = (shared.reload.clone(), tasks.stop_token());
    tasks.spawn_guarded("handler settings", follow(handlers.clone(), reload, stop));
    handlers
}

/// Replaces the handlers when a reload brings others.
async fn follow(
    handlers: Handlers,
    mut reload: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = reload.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let specs = reload.borrow_and_update().handlers.specs.clone();
        if handlers.replace(specs).await.is_err() {
            return;
        }
    }
}

/// What handlers inherit of the environment: all but secrets and what is meant for
/// the daemon alone.
fn inherited(environment: &BTreeMap<String, String>) -> BTreeMap<OsString, OsString> {
    let secrets = schema::settings().filter(|setting| setting.is_secret());
    let secrets: Vec<String> = secrets.filter_map(schema::Setting::env).collect();
    let kept = environment
        .iter()
        .filter(|(name, _)| !secrets.contains(name) && !NOT_INHERITED.contains(&name.as_str()));
    kept.map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_inherited() {
        let given = [
            ("PATH", "/bin"),
            ("MUSTER_TOKEN", "secret"),
            ("NOTIFY_SOCKET", "/n"),
            ("MUSTER_NAME", "a"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let kept = inherited(&given.into());
        let names: Vec<_> = kept.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["MUSTER_NAME", "PATH"]);
    }
}
