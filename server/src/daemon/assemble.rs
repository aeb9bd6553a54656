//! The parts of the daemon and how they are joined.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use muster_engine::crypto::Keyring;

use super::identity::BootStore;
use super::shutdown::Phase;
use super::{Assembled, Shared, VERSION};
use crate::config::{Config, Security};
use crate::gossip::rpc::Pipes;
use crate::gossip::{self, Driver, EventUpdate, Handle, MemberUpdate, Report, Sink};
use crate::grpc::serve::{self, Limits};
use crate::grpc::socket::{Listener, SocketConfig};
use crate::grpc::transport_metrics::TransportMetrics;
use crate::grpc::{self, Access, Gate, Hooks, SocketKind};
use crate::hub::Hub;
use crate::keys::{self, Begun, Keys, Ring, Store};
use crate::peers::{self, Me, Peers};
use crate::routes::Routes;
use crate::telemetry::{LogFilter, Metrics};

/// What this build offers, for `muster info`.
const FEATURES: [&str; 6] = ["members", "roles", "events", "keys", "reflection", "health"];

/// Mode of the child socket.
const CHILD_SOCKET_MODE: u32 = 0o666;

/// Binds every socket, then spawns every part.
///
/// # Errors
/// Which socket could not be bound.
pub async fn assemble(shared: Shared) -> anyhow::Result<Assembled> {
    let config = Arc::clone(&shared.config);
    let listeners = listeners(&config)?;
    let sockets: Vec<PathBuf> = listeners.iter().map(|l| l.config().path.clone()).collect();
    let hub = Arc::new(Hub::new(shared.identity.epoch.clone()));
    let me = Me::new(&config.node.name, shared.identity.boot);
    let outlet = Arc::new(Outlet {
        hub: Arc::clone(&hub),
        me: me.clone(),
        boots: shared.boots.clone(),
        disk: tokio::runtime::Handle::current(),
    });
    let begun = begin_keys(&shared)?;
    let gossip = gossip_config(&config, shared.identity.boot, &begun.ring)?;
    let encryption = gossip.engine.keyring.as_ref().map(Keyring::stage);
    let (handle, mut driver) = gossip::start(gossip, outlet, &shared.tasks, shared.heart.clone())?;
    let pipes = driver.take_rpc().context("the pipes are taken")?;
    let keys = serve_peers(&shared, me, pipes, &hub, &handle, begun);
    let gate = services(&shared, hub, &handle, &driver, &sockets, keys).await?;
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
        encryption,
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

fn gossip_config(config: &Config, boot: u64, ring: &Ring) -> anyhow::Result<gossip::Config> {
    let engine = muster_engine::Config {
        name: config.node.name.clone(),
        cluster: config.node.cluster.clone(),
        advertise: config.peers.advertise,
        boot,
        tags: config.node.tags.clone(),
        roles: config.node.roles.clone(),
        version: VERSION.to_owned(),
        keyring: keys::keyring(ring, config.peers.public.is_some()),
        limits: config.limits.clone(),
        reap_left: config.members.reap_left,
        reap_failed: config.members.reap_failed,
    };
    engine.check().context("cannot be a member")?;
    Ok(gossip::Config {
        bind: config.peers.bind,
        seeds: config.peers.join.clone(),
        engine,
    })
}

/// The keys of this start: settings, and what was changed at run time before.
fn begin_keys(shared: &Shared) -> anyhow::Result<Begun> {
    let peers = &shared.config.peers;
    let settings = keys::Settings {
        keys: match &peers.security {
            Security::Sealed(keys) => keys.clone(),
            Security::Plaintext => Vec::new(),
        },
        stage: peers.encryption,
        file: peers.keyring_file.clone(),
        from_file: peers.keys_from_file,
    };
    let begun = Store::begin(&settings, shared.boots.data()).context("cannot read the keys")?;
    for note in &begun.notes {
        tracing::warn!("{note}");
    }
    Ok(begun)
}

/// The calls between peers: what this node serves to them, and its way to them.
fn serve_peers(
    shared: &Shared,
    me: Me,
    pipes: Pipes,
    hub: &Arc<Hub>,
    handle: &Handle,
    begun: Begun,
) -> Keys {
    let (metrics, key_metrics) = (peers::Metrics::default(), keys::Metrics::default());
    shared.metrics.register(|registry| {
        metrics.register(registry);
        key_metrics.register(registry);
    });
    let name = Arc::clone(me.name());
    let (peers, server) = Peers::new(me, pipes, &shared.tasks, metrics);
    let keys = Keys::start(keys::Parts {
        name,
        hub: Arc::clone(hub),
        handle: handle.clone(),
        net: Arc::new(peers),
        begun,
        public: shared.config.peers.public.clone(),
        tasks: shared.tasks.clone(),
        metrics: key_metrics,
    });
    let routes = Routes::default().add(keys.service());
    shared.tasks.spawn("peer calls", server.run(routes));
    keys
}

/// The gRPC services, with their health following the phase of the daemon.
async fn services(
    shared: &Shared,
    hub: Arc<Hub>,
    handle: &Handle,
    driver: &Driver,
    sockets: &[PathBuf],
    keys: Keys,
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
        log_filter: shared.log_filter.clone(),
        config: Arc::clone(config),
        boots: shared.boots.clone(),
        left: shared.left.clone(),
        keys: keys.clone(),
    });
    let stop = shared.tasks.stop_token();
    let (gate, health) =
        grpc::services(hub, handle.clone(), keys, api, hooks, metrics, stop.clone()).await?;
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
    log_filter: LogFilter,
    config: Arc<Config>,
    boots: BootStore,
    left: tokio_util::sync::CancellationToken,
    keys: Keys,
}

impl Hooks for Surroundings {
    fn metrics_text(&self, report: &Report) -> String {
        self.metrics.encode(report.counters.clone())
    }

    fn log_filter(&self) -> String {
        self.log_filter.current()
    }

    fn set_log_filter(&self, filter: &str) -> Result<String, String> {
        self.log_filter
            .set(filter)
            .map_err(|error| error.to_string())
    }

    fn left(&self, stay: bool) {
        if !stay {
            self.left.cancel();
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings.clone();
        warnings.extend(self.boots.warning());
        warnings.extend(self.keys.warnings());
        warnings
    }
}
