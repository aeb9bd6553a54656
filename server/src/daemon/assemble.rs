//! The parts of the daemon and how they are joined.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::Event;
use muster_engine::crypto::{Key, Keyring};
use tokio::sync::watch;

use super::dump::Dump;
use super::handling;
use super::identity::BootStore;
use super::reload::Reloader;
use super::serf;
use super::shutdown::Phase;
use super::snapshots::Snapshots;
use super::{Assembled, Shared, VERSION};
use crate::config::{Config, Problems, Security};
use crate::deliver::{self, Deliveries, Post, Reporter};
use crate::gossip::mdns::{self, MdnsConfig};
use crate::gossip::{self, Driver, EventUpdate, Handle, MemberUpdate, Report, Sink};
use crate::grpc::serve::{self, Limits};
use crate::grpc::socket::{Listener, SocketConfig};
use crate::grpc::transport_metrics::TransportMetrics;
use crate::grpc::{self, Access, Gate, Hooks, Queries, Reloaded, SocketKind};
use crate::handlers::Handlers;
use crate::hub::Hub;
use crate::peers::{self, Me, Peers};
use crate::queries::receiver::{Inbox, Received};
use crate::queries::{self, Asker, Receiver, Responders};
use crate::routes::Routes;
use crate::tags::{TagStore, Tags};
use crate::telemetry::{Log, LogFilter, Metrics, Tail};

/// What this build offers, for `muster info`.
const FEATURES: [&str; 6] = [
    "members",
    "roles",
    "events",
    "queries",
    "reflection",
    "health",
];

/// Mode of the child socket.
const CHILD_SOCKET_MODE: u32 = 0o666;

/// Binds every socket, then spawns every part.
///
/// # Errors
/// Which socket could not be bound.
pub async fn assemble(shared: Shared) -> anyhow::Result<Assembled> {
    let config = Arc::clone(&shared.config);
    let listeners = listeners(&config)?;
    let serf_rpc = serf::listen(&config).await?;
    let sockets: Vec<PathBuf> = listeners.iter().map(|l| l.config().path.clone()).collect();
    let hub = Arc::new(Hub::new(shared.identity.epoch.clone()));
    let me = Me::new(&config.node.name, shared.identity.boot);
    shared.metrics.register(|registry| hub.register(registry));
    let query_metrics = queries::Metrics::default();
    let (inbox, received) = queries::receiver::inbox(query_metrics.clone());
    let outlet = Arc::new(Outlet {
        hub: Arc::clone(&hub),
        me: me.clone(),
        inbox,
        boots: shared.boots.clone(),
        disk: tokio::runtime::Handle::current(),
    });
    let tags = shared.live.tags.over(&config.node.tags);
    let mut gossip = gossip_config(&config, tags, shared.identity.boot)?;
    let restored = shared.snapshots.load();
    let cursors = handling::cursors(&shared).await;
    gossip.restore = restored.snapshot.map(|mut snapshot| {
        for (origin, sequence) in cursors.unfinished() {
            snapshot.hold_back(&origin, sequence);
        }
        snapshot
    });
    let discovery = config.peers.discovery.as_ref().map(|discovery| {
        let (sender, found) = mdns::channel();
        gossip.found = Some(found);
        (discovery, sender)
    });
    let (handle, mut driver) = gossip::start(gossip, outlet, &shared.tasks, shared.heart.clone())?;
    let handle = handle.keeping(Arc::new(shared.live.tags.clone()));
    let snapshots = shared.snapshots.clone();
    let (keeping, stop) = (handle.clone(), shared.tasks.stop_token());
    shared.tasks.spawn_guarded(
        "snapshot",
        snapshots.keep(keeping, restored.stays_left, stop),
    );
    if let Some((discovery, found)) = discovery {
        let mdns = MdnsConfig {
            discover: discovery.name.clone(),
            member: config.node.name.clone(),
            addr: driver.advertise(),
            interface: discovery.interface.clone(),
        };
        let stop = shared.tasks.stop_token();
        shared
            .tasks
            .spawn_guarded("mdns", mdns::run(mdns, found, stop));
    }
    let deliveries = deliveries(&shared, &hub);
    let core = Core {
        hub: Arc::clone(&hub),
        me,
        handle: handle.clone(),
        deliveries,
    };
    let queries = serve_peers(&shared, &core, &mut driver, (received, query_metrics))?;
    let reloader = on_signals(&shared, &core.hub, &handle);
    if let Some(listener) = serf_rpc {
        serf::spawn(&shared, listener, &core.hub, &handle, &queries);
    }
    let handlers = handling::start(&shared, hub, cursors, queries.responders.clone());
    let parts = (core, queries, handlers);
    let gate = services(&shared, parts, &driver, &sockets, reloader).await?;
    let transport = TransportMetrics::default();
    shared
        .metrics
        .register(|registry| transport.register(registry));
    for listener in listeners {
        let name = match listener.config().kind {
            SocketKind::Api => "api socket",
            SocketKind::Child => "child socket",
        };
        let drain = config.process.drain_timeout;
        let (tasks, metrics) = (shared.tasks.clone(), transport.clone());
        let serving = serve::serve(
            listener,
            gate.clone(),
            Limits::default(),
            tasks,
            metrics,
            drain,
        );
        shared.tasks.spawn(name, serving);
    }
    let bound = driver.local_addr();
    Ok(Assembled {
        bound,
        sockets,
        leave: Box::new(|| async move { Ok(handle.leave().await?) }.boxed()),
    })
}

/// The sockets of the API, bound.
fn listeners(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let api = &config.api;
    let wanted = [
        Some((api.socket.clone(), SocketKind::Api)),
        api.child_socket
            .clone()
            .map(|path| (path, SocketKind::Child)),
    ];
    let bind = |(path, kind)| {
        let mode = match kind {
            SocketKind::Api => api.socket_mode,
            // Everybody who can reach the directory: it offers nothing but reading and
            // events.
            SocketKind::Child => CHILD_SOCKET_MODE,
        };
        let socket = SocketConfig {
            mode,
            group: api.socket_group,
            ..SocketConfig::new(path, kind)
        };
        Listener::bind(socket).context("cannot serve the API")
    };
    wanted.into_iter().flatten().map(bind).collect()
}

/// Spawns what SIGHUP and SIGUSR1 ask for.
fn on_signals(shared: &Shared, hub: &Arc<Hub>, handle: &Handle) -> Reloader {
    let check = |config: &Config, tags: &Tags| gossip_config(config, tags.clone(), 0).map(drop);
    let reloader = Reloader::new(shared.live.clone(), handle.clone(), check);
    shared
        .metrics
        .register(|registry| reloader.register(registry));
    let (tasks, wishes) = (&shared.tasks, &shared.wishes);
    let follow = reloader
        .clone()
        .follow(Arc::clone(&wishes.reload), tasks.stop_token());
    tasks.spawn("reload", follow);
    let dump = Dump {
        hub: Arc::clone(hub),
        handle: handle.clone(),
        metrics: shared.metrics.clone(),
        tasks: tasks.clone(),
        writer: shared.log.writer.clone(),
        format: shared.config.process.log_format,
    };
    tasks.spawn(
        "dump",
        dump.follow(Arc::clone(&wishes.dump), tasks.stop_token()),
    );
    reloader
}

fn gossip_config(config: &Config, tags: Tags, boot: u64) -> anyhow::Result<gossip::Config> {
    let engine = muster_engine::Config {
        name: config.node.name.clone(),
        cluster: config.node.cluster.clone(),
        advertise: config.peers.advertise,
        boot,
        tags,
        roles: config.node.roles.clone(),
        version: VERSION.to_owned(),
        keyring: keyring(&config.peers.security)?,
        limits: config.limits.clone(),
        reap_left: config.members.reap_left,
        reap_failed: config.members.reap_failed,
        coordinates: config.peers.coordinates,
        retry_interval: config.peers.retry_interval,
    };
    engine.check().context("cannot be a member")?;
    Ok(gossip::Config {
        bind: config.peers.bind,
        seeds: config.peers.join.clone(),
        engine,
        restore: None,
        found: None,
    })
}

fn keyring(security: &Security) -> anyhow::Result<Option<Keyring>> {
    let Security::Sealed(keys) = security else {
        return Ok(None);
    };
    let mut keys = keys.iter().map(|key| Key::new(key.as_bytes()));
    let primary = keys.next().context("there is no key")??;
    let mut keyring = Keyring::new(primary);
    for key in keys {
        keyring.install(key?);
    }
    Ok(Some(keyring))
}

/// What the parts above gossip are built from.
struct Core {
    hub: Arc<Hub>,
    me: Me,
    handle: Handle,
    deliveries: Arc<Deliveries>,
}

/// The calls between peers: what this node serves to them, and its way to them.
fn serve_peers(
    shared: &Shared,
    core: &Core,
    driver: &mut Driver,
    (received, query_metrics): (Received, queries::Metrics),
) -> anyhow::Result<Queries> {
    let pipes = driver.take_rpc().context("the pipes are taken")?;
    let metrics = peers::Metrics::default();
    shared.metrics.register(|registry| {
        metrics.register(registry);
        query_metrics.register(registry);
    });
    let tasks = shared.tasks.clone();
    let (peers, server) = Peers::new(core.me.clone(), pipes, &tasks, metrics);
    let asker = Asker::new(
        Arc::clone(&core.hub),
        core.handle.clone(),
        core.me.clone(),
        tasks.clone(),
        query_metrics.clone(),
    );
    let responders = Responders::new(query_metrics.clone());
    let routes = Routes::default()
        .add(asker.service())
        .add(deliver::service(Arc::clone(&core.deliveries)));
    report(shared, core, peers.clone());
    tasks.spawn("peer calls", server.run(routes));
    let receiver = Receiver {
        hub: Arc::clone(&core.hub),
        me: core.me.clone(),
        peers,
        asker: asker.clone(),
        responders: responders.clone(),
        tasks: tasks.clone(),
        metrics: query_metrics,
    };
    tasks.spawn("queries", receiver.run(received));
    Ok(Queries { asker, responders })
}

/// Receipts of level DELIVERED.
fn deliveries(shared: &Shared, hub: &Arc<Hub>) -> Arc<Deliveries> {
    let metrics = deliver::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    Arc::new(Deliveries::new(Arc::clone(hub), metrics))
}

/// Tells origins which of their events are here.
fn report(shared: &Shared, core: &Core, peers: Peers) {
    let post = Arc::new(Post::new(Arc::clone(&core.hub), peers));
    let reporter = Reporter::new(Arc::clone(&core.hub), Arc::clone(&core.deliveries), post);
    let stop = shared.tasks.stop_token();
    shared.tasks.spawn("delivery reports", async move {
        tokio::select! {
            () = reporter.run() => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    });
}

/// The gRPC services, with their health following the phase of the daemon.
async fn services(
    shared: &Shared,
    (core, queries, handlers): (Core, Queries, Handlers),
    driver: &Driver,
    sockets: &[PathBuf],
    reloader: Reloader,
) -> anyhow::Result<Gate> {
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
    let api = grpc::Config {
        identity,
        access: Access {
            daemon_uid: rustix::process::geteuid().as_raw(),
            allow: config.api.allow.clone(),
        },
        payload_bytes_max: config.limits.event_payload_bytes,
        calls_max: grpc::limits::STREAMS_MAX,
    };
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
    });
    let stop = shared.tasks.stop_token();
    let services = grpc::services(
        core.hub,
        core.handle,
        core.deliveries,
        queries,
        api,
        hooks,
        metrics,
        stop.clone(),
    );
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

/// Where the engine's news go: the hub, and the disk for its boot number.
struct Outlet {
    hub: Arc<Hub>,
    me: Me,
    inbox: Inbox,
    boots: BootStore,
    disk: tokio::runtime::Handle,
}

impl Sink for Outlet {
    fn apply_members(&self, batch: Vec<MemberUpdate>) {
        self.hub.apply_members(batch);
    }

    fn push_events(&self, batch: Vec<EventUpdate>) {
        self.hub.push_events(batch);
    }

    fn queries(&self, batch: Vec<Arc<Event>>) {
        self.inbox.put(batch);
    }

    fn boot_raised(&self, boot: u64) {
        self.me.raise_boot(boot);
        let boots = self.boots.clone();
        drop(self.disk.spawn_blocking(move || boots.keep(boot)));
    }
}

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
