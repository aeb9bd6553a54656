//! The parts of the daemon and how they are joined.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use muster_engine::crypto::Keyring;
use muster_engine::{Event, Stage};
use tokio::sync::watch;

use super::dump::Dump;
use super::identity::BootStore;
use super::peering::{self, Core};
use super::reload::Reloader;
use super::surroundings::services;
use super::{
    Assembled, Shared, VERSION, children, containers, handling, legacy, retries, serf, supervising,
};
use crate::config::Config;
use crate::gossip::mdns::{self, MdnsConfig};
use crate::gossip::rpc::Pipes;
use crate::gossip::{self, Driver, EventUpdate, Handle, MemberUpdate, Sink};
use crate::grpc::serve::{self, Limits};
use crate::grpc::socket::{Listener, SocketConfig};
use crate::grpc::transport_metrics::TransportMetrics;
use crate::grpc::{Gate, SocketKind};
use crate::handlers::cursors::CursorStore;
use crate::hub::Hub;
use crate::keys::{self, Ring};
use crate::peers::Me;
use crate::process::orphans;
use crate::queries;
use crate::queries::receiver::{Inbox, Received};
use crate::tags::Tags;

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
    let docker = containers::start(&shared).await?;
    let shared = containers::advertised(shared, &docker).await;
    if orphans::are_ours() {
        let reap = orphans::reap(shared.tasks.stop_token());
        shared.tasks.spawn_guarded("orphans", reap);
    }
    let begun = peering::begin_keys(&shared)?;
    let gossip = start_gossip(&shared, &begun.ring).await?;
    let (core, driver, cursors) = (gossip.core, gossip.driver, gossip.cursors);
    let (handle, hub) = (core.handle.clone(), Arc::clone(&core.hub));
    let (pipes, questions) = (gossip.pipes, gossip.questions);
    let (files_to, files) = watch::channel(Arc::default());
    let containers = (&docker, files);
    let (queries, keys, inspector) =
        peering::serve_peers(&shared, &core, pipes, questions, begun, containers);
    let reloader = on_signals(&shared, &core.hub, &handle);
    if let Some(listener) = serf_rpc {
        serf::spawn(&shared, listener, &core, &queries, &keys);
    }
    let handlers = handling::start(
        &shared,
        Arc::clone(&hub),
        cursors,
        queries.responders.clone(),
    );
    let legacy = legacy::start(&shared, &hub, &handle, &queries.responders, &docker).await?;
    if let Some(legacy) = &legacy {
        legacy.tell(files_to, &shared);
    }
    retries::start(&shared, &keys);
    supervising::start(&shared, &docker, &handle);
    let parts = (core, queries, handlers, keys);
    let children = children::start(&shared, &docker, legacy.as_ref());
    let around = (reloader, docker, (legacy, children), inspector);
    let gate = services(&shared, parts, &driver, &sockets, around).await?;
    serve_sockets(&shared, listeners, &gate);
    Ok(Assembled {
        bound: driver.local_addr(),
        advertise: driver.advertise(),
        sockets,
        encryption: gossip.encryption,
        leave: Box::new(|| async move { Ok(handle.leave().await?) }.boxed()),
    })
}

/// Gossip, running, and what hangs on it.
struct Gossip {
    core: Core,
    driver: Driver,
    /// Calls between peers travel here.
    pipes: Pipes,
    /// Queries of others.
    questions: (Received, queries::Metrics),
    /// Where handlers stood.
    cursors: CursorStore,
    encryption: Option<Stage>,
}

/// Starts the engine with what the run before left behind.
async fn start_gossip(shared: &Shared, ring: &Ring) -> anyhow::Result<Gossip> {
    let config = &shared.config;
    let hub = Arc::new(Hub::new(shared.identity.epoch.clone()));
    let (relaying, stop) = (Arc::clone(&hub), shared.tasks.stop_token());
    // Without it no watch would hear of anything, and nobody of that.
    shared.tasks.spawn("relay", async move {
        stop.run_until_cancelled(relaying.relay()).await;
        Ok(())
    });
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
    let mut gossip = gossip_config(config, tags, shared.identity.boot, ring)?;
    let encryption = gossip.engine.keyring.as_ref().map(Keyring::stage);
    let restored = shared.snapshots.load();
    let cursors = handling::cursors(shared).await;
    gossip.restore = restored.snapshot.map(|mut snapshot| {
        for (origin, sequence) in cursors.unfinished() {
            snapshot.hold_back(&origin, sequence);
        }
        snapshot
    });
    let (found_to, found) = mdns::channel();
    gossip.found = config.peers.discovery.is_some().then_some(found);
    let (handle, mut driver) = gossip::start(gossip, outlet, &shared.tasks, shared.heart.clone())?;
    let handle = handle.keeping(Arc::new(shared.live.tags.clone()));
    let (keeping, stop) = (handle.clone(), shared.tasks.stop_token());
    let keep = (shared.snapshots.clone()).keep(keeping, restored.stays_left, stop);
    shared.tasks.spawn_guarded("snapshot", keep);
    discover(shared, &driver, found_to);
    let core = Core {
        deliveries: peering::deliveries(shared, &hub),
        hub,
        me,
        handle,
    };
    Ok(Gossip {
        core,
        pipes: driver.take_rpc().context("the pipes are taken")?,
        driver,
        questions: (received, query_metrics),
        cursors,
        encryption,
    })
}

/// Looks for members on the local network, if that is wanted.
fn discover(shared: &Shared, driver: &Driver, found: watch::Sender<Vec<SocketAddr>>) {
    let config = &shared.config;
    let Some(discovery) = &config.peers.discovery else {
        return;
    };
    let mdns = MdnsConfig {
        discover: discovery.name.clone(),
        member: config.node.name.clone(),
        addr: driver.advertise(),
        interface: discovery.interface.clone(),
    };
    let looking = mdns::run(mdns, found, shared.tasks.stop_token());
    shared.tasks.spawn_guarded("mdns", looking);
}

/// Serves the API on its sockets.
fn serve_sockets(shared: &Shared, listeners: Vec<Listener>, gate: &Gate) {
    let transport = TransportMetrics::default();
    shared
        .metrics
        .register(|registry| transport.register(registry));
    for listener in listeners {
        let name = match listener.config().kind {
            SocketKind::Api => "api socket",
            SocketKind::Child => "child socket",
        };
        let serving = serve::serve(
            listener,
            gate.clone(),
            Limits::default(),
            shared.tasks.clone(),
            transport.clone(),
            shared.config.process.drain_timeout,
        );
        shared.tasks.spawn(name, serving);
    }
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
    let check = |config: &Config, tags: &Tags| {
        gossip_config(config, tags.clone(), 0, &Ring::default()).map(drop)
    };
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

fn gossip_config(
    config: &Config,
    tags: Tags,
    boot: u64,
    ring: &Ring,
) -> anyhow::Result<gossip::Config> {
    let engine = muster_engine::Config {
        name: config.node.name.clone(),
        cluster: config.node.cluster.clone(),
        advertise: config.peers.advertise,
        boot,
        tags,
        roles: config.node.roles.clone(),
        version: VERSION.to_owned(),
        keyring: keys::keyring(ring, config.peers.public.is_some()),
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
