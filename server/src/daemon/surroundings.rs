//! The gRPC API and what it needs of the daemon around it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::identity::BootStore;
use super::legacy::Legacy;
use super::peering::Core;
use super::reload::Reloader;
use super::shutdown::Phase;
use super::snapshots::Snapshots;
use super::{Shared, VERSION};
use crate::children;
use crate::config::{Config, Problems};
use crate::containers::Inspector;
use crate::docker::Docker;
use crate::gossip::{Driver, Report};
use crate::grpc::{self, Access, Gate, Hooks, Queries, Reloaded};
use crate::handlers::Handlers;
use crate::keys::Keys;
use crate::tags::TagStore;
use crate::telemetry::{Log, LogFilter, Metrics, Tail};

/// What this build offers, for `muster info`.
const FEATURES: [&str; 9] = [
    "members",
    "roles",
    "events",
    "queries",
    "keys",
    "containers",
    "reflection",
    "health",
    "docker",
];

/// The gRPC services, with their health following the phase of the daemon.
pub(super) async fn services(
    shared: &Shared,
    (core, queries, handlers, keys): (Core, Queries, Handlers, Keys),
    driver: &Driver,
    sockets: &[PathBuf],
    (reloader, docker, (legacy, children), inspector): (
        Reloader,
        Docker,
        (Option<Legacy>, Children),
        Inspector,
    ),
) -> anyhow::Result<Gate> {
    let api = api(shared, driver, sockets);
    let metrics = grpc::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let hooks = Arc::new(Surroundings {
        metrics: shared.metrics.clone(),
        log: shared.log.clone(),
        config: shared.reload.clone(),
        boots: shared.boots.clone(),
        snapshots: shared.snapshots.clone(),
        handlers,
        tags: shared.live.tags.clone(),
        left: shared.left.clone(),
        reloader,
        docker,
        legacy,
        children,
        keys: keys.clone(),
    });
    let stop = shared.tasks.stop_token();
    let parts = grpc::Parts {
        hub: core.hub,
        handle: core.handle,
        deliveries: core.deliveries,
        queries,
        keys,
        inspector,
    };
    let services = grpc::services(parts, api, hooks, metrics, stop.clone());
    let (gate, health) = services.await?;
    let mut phase = shared.phase.clone();
    shared.tasks.spawn("health", async move {
        loop {
            let running = *phase.borrow_and_update() == Phase::Running;
            health.set_serving(running).await;
            tokio::select! {
                changed = phase.changed() => if changed.is_err() { return Ok(()) },
                () = stop.cancelled() => return Ok(()),
            }
        }
    });
    Ok(gate)
}

/// What the API is told of this node and of its callers.
fn api(shared: &Shared, driver: &Driver, sockets: &[PathBuf]) -> grpc::Config {
    let config = &shared.config;
    let identity = grpc::Identity {
        name: Arc::from(config.node.name.as_str()),
        cluster: config.node.cluster.clone(),
        version: VERSION.to_owned(),
        bind: driver.local_addr().to_string(),
        sockets: sockets
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        features: FEATURES.map(str::to_owned).to_vec(),
        started_unix_ms: shared.started_unix_ms,
    };
    grpc::Config {
        identity,
        access: Access {
            daemon_uid: rustix::process::geteuid().as_raw(),
            allow: config.api.allow.clone(),
        },
        payload_bytes_max: config.limits.event_payload_bytes,
        calls_max: grpc::limits::STREAMS_MAX,
    }
}

/// How the children of this node are.
type Children = watch::Receiver<Vec<children::Report>>;

/// What the API needs of the daemon around it.
#[derive(Debug)]
struct Surroundings {
    metrics: Metrics,
    log: Log,
    config: watch::Receiver<Arc<Config>>,
    boots: BootStore,
    snapshots: Snapshots,
    handlers: Handlers,
    tags: TagStore,
    left: tokio_util::sync::CancellationToken,
    reloader: Reloader,
    docker: Docker,
    legacy: Option<Legacy>,
    children: Children,
    keys: Keys,
}

impl Hooks for Surroundings {
    fn metrics_text(&self, report: &Report) -> String {
        self.metrics.encode(report.counters.clone())
    }

    fn log_filter(&self) -> String {
        self.log.filter.current()
    }

    fn set_log_filter(&self, filter: &str) -> Result<String, String> {
        self.log
            .filter
            .set(filter)
            .map_err(|error| error.to_string())
    }

    fn left(&self, stay: bool) {
        if !stay {
            self.left.cancel();
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.borrow().warnings.clone();
        warnings.extend(self.boots.warning());
        warnings.extend(self.snapshots.warning());
        let handlers = self.handlers.report();
        warnings.extend(handlers.iter().filter_map(|report| report.warning()));
        warnings.extend(self.tags.warning());
        warnings.extend(self.keys.warnings());
        warnings.extend(self.docker.warning());
        warnings.extend(self.legacy.iter().flat_map(Legacy::warnings));
        let reports = self.children.borrow();
        warnings.extend(reports.iter().filter_map(children::Report::warning));
        warnings
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Vec<String>>> {
        let reload = async {
            let mistakes = |problems: Problems| {
                let lines = problems.0.iter().map(ToString::to_string);
                lines.collect()
            };
            self.reloader.reload().await.map_err(mistakes)
        };
        reload.boxed()
    }

    fn log(&self) -> (Tail, LogFilter) {
        (self.log.tail.clone(), self.log.filter.clone())
    }
}
