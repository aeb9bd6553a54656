//! Composition root: builds every part, runs the phases of the daemon.

mod assemble;
mod children;
mod containers;
mod dump;
mod handling;
pub mod identity;
mod legacy;
pub mod notify;
mod peering;
pub mod reload;
mod retries;
mod serf;
pub mod shutdown;
pub mod signal;
pub mod snapshots;
mod supervising;
pub mod supervisor;
mod surroundings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use muster_engine::Stage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::storage::{DataDir, StorageError};
use crate::tags::TagStore;
use crate::telemetry::{Log, Metrics};

pub use assemble::assemble;
use identity::{BootStore, Identity};
use notify::Notifier;
use reload::{Live, Reread};
use shutdown::{Ending, Lifecycle, Phase, Timing, Wishes};
use signal::{ProcessSignals, Signals};
use snapshots::{SnapshotConfig, Snapshots};
use supervisor::{Heartbeat, Tasks};

/// Version of the daemon.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a daemon is started with.
#[derive(Debug)]
pub struct Setup {
    /// Checked settings.
    pub config: Config,
    /// The environment, for the service manager's variables.
    pub environment: BTreeMap<String, String>,
    /// The log of the process.
    pub log: Log,
    /// Reads the settings again.
    pub reread: Reread,
}

/// What the parts of a daemon are built from and share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Checked settings of the start.
    pub config: Arc<Config>,
    /// The environment of the process.
    pub environment: Arc<BTreeMap<String, String>>,
    /// The settings that hold: those of the start with what reloads applied. Parts that
    /// can follow a reload wait for changes here.
    pub reload: watch::Receiver<Arc<Config>>,
    /// What a reload changes.
    pub live: Live,
    /// What signals ask for.
    pub wishes: Wishes,
    /// Who this run is.
    pub identity: Identity,
    /// Keeps the boot number should the engine raise it; its warning belongs into info.
    pub boots: BootStore,
    /// Keeps what the next start should know; its warning belongs into info.
    pub snapshots: Snapshots,
    /// Every task is spawned here.
    pub tasks: Tasks,
    /// Every metric is registered here.
    pub metrics: Metrics,
    /// The log of the process.
    pub log: Log,
    /// The engine's loop beats here, at least once a second.
    pub heart: Heartbeat,
    /// The phase, for health: only [`Phase::Running`] serves.
    pub phase: watch::Receiver<Phase>,
    /// To be cancelled once a client made this node leave and the daemon is to end.
    pub left: CancellationToken,
    /// When this run began, milliseconds since 1970.
    pub started_unix_ms: u64,
}

/// How the cluster is left.
pub type Leave = Box<dyn FnOnce() -> BoxFuture<'static, anyhow::Result<()>> + Send>;

/// A daemon whose sockets are bound and whose tasks run.
pub struct Assembled {
    /// Where it listens for peers, the real port in it.
    pub bound: SocketAddr,
    /// What peers are told.
    pub advertise: SocketAddr,
    /// API sockets.
    pub sockets: Vec<PathBuf>,
    /// How far it is on its way from plaintext; `None` without keys.
    pub encryption: Option<Stage>,
    /// Leaves the cluster.
    pub leave: Leave,
}

impl fmt::Debug for Assembled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembled")
            .field("bound", &self.bound)
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

/// Runs a daemon until it is told to end. `assemble` binds all sockets, then spawns
/// all tasks.
///
/// # Errors
/// What kept it from starting.
pub async fn run<A, F>(setup: Setup, assemble: A) -> anyhow::Result<ExitCode>
where
    A: FnOnce(Shared) -> F,
    F: Future<Output = anyhow::Result<Assembled>>,
{
    // First of all: a signal during the start must not be lost.
    let mut signals = ProcessSignals::catch().context("cannot catch signals")?;
    if setup.config.process.exit_with_stdin {
        signals
            .watch_stdin()
            .context("cannot wait for the end of standard input (--exit-with-stdin)")?;
    }
    run_with(setup, signals, assemble).await
}

/// As [`run`], with signals from anywhere.
///
/// # Errors
/// What kept it from starting.
pub async fn run_with<S, A, F>(setup: Setup, signals: S, assemble: A) -> anyhow::Result<ExitCode>
where
    S: Signals,
    A: FnOnce(Shared) -> F,
    F: Future<Output = anyhow::Result<Assembled>>,
{
    for warning in &setup.config.warnings {
        tracing::warn!("{warning}");
    }
    let notifier = Notifier::from_environment(&setup.environment)
        .context("cannot reach the service manager (NOTIFY_SOCKET)")?;
    let (phase, phases) = watch::channel(Phase::Running);
    let shared = shared(setup, phases, notifier.clone())?;
    let tasks = shared.tasks.clone();
    let assembled = match assemble(shared.clone()).await {
        Ok(assembled) => assembled,
        Err(error) => {
            tasks.stop_within(shared.config.process.drain_timeout).await;
            return Err(error);
        }
    };
    let status = banner(&shared, &assembled);
    notifier.ready(&status);
    tasks.spawn_guarded(
        "watchdog",
        notifier
            .clone()
            .watch(shared.heart.clone(), tasks.stop_token()),
    );
    let life = Lifecycle {
        tasks,
        signals,
        left: shared.left.clone(),
        phase,
        notifier,
        timing: shared.live.timing.subscribe(),
        wishes: shared.wishes.clone(),
    };
    let ending = life.run(assembled.leave).await;
    Ok(exit_code(&ending, shared.config.process.serf_exit_codes))
}

fn shared(
    setup: Setup,
    phase: watch::Receiver<Phase>,
    notifier: Notifier,
) -> anyhow::Result<Shared> {
    let started_unix_ms = unix_ms();
    let boots = boots(&setup.config)?;
    let metrics = Metrics::new(VERSION);
    let tasks = Tasks::default();
    metrics.register(|registry| {
        tasks.register(registry);
        setup.log.writer.register(registry);
    });
    let snapshots = Snapshots::new(SnapshotConfig {
        file: setup.config.process.snapshot.clone(),
        rejoin: setup.config.peers.rejoin,
        cluster: setup.config.node.cluster.clone(),
    });
    metrics.register(|registry| snapshots.metrics().register(registry));
    let config = Arc::new(setup.config);
    let (settings, reload) = watch::channel(Arc::clone(&config));
    let node = &config.node;
    let live = Live {
        config: settings,
        timing: watch::Sender::new(Timing::of(&config)),
        log: setup.log.filter.clone(),
        tags: TagStore::new(
            node.tags.clone(),
            node.tag_changes.clone(),
            node.tags_file.clone(),
        ),
        notifier,
        reread: setup.reread,
    };
    Ok(Shared {
        identity: Identity::begin(&boots, started_unix_ms, &mut rand::rng()),
        config,
        environment: Arc::new(setup.environment),
        reload,
        live,
        wishes: Wishes::default(),
        boots,
        snapshots,
        tasks,
        metrics,
        log: setup.log,
        heart: Heartbeat::default(),
        phase,
        left: CancellationToken::new(),
        started_unix_ms,
    })
}

/// Opens the data directory. A disk that takes no writes is a warning, anything
/// else that keeps it from being used ends the start.
fn boots(config: &Config) -> Result<BootStore, StorageError> {
    let Some(path) = &config.process.data_dir else {
        return Ok(BootStore::default());
    };
    match DataDir::open(path) {
        Ok(data) => Ok(BootStore::new(Some(Arc::new(data)))),
        Err(error) if error.disk_refuses() => {
            let store = BootStore::default();
            store.note_missing(error);
            Ok(store)
        }
        Err(error) => Err(error),
    }
}

/// The line that says what runs where; also the status for the service manager.
fn banner(shared: &Shared, assembled: &Assembled) -> String {
    let config = &shared.config;
    let advertise = assembled.advertise;
    let encryption = assembled.encryption.map_or("off", Stage::as_str);
    let sockets: Vec<_> = assembled
        .sockets
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    tracing::info!(
        name = config.node.name,
        cluster = config.node.cluster,
        address = %advertise,
        bind = %assembled.bound,
        sockets = sockets.join(","),
        encryption,
        boot = shared.identity.boot,
        version = VERSION,
        "musterd is up"
    );
    match assembled.encryption {
        None | Some(Stage::Receive) => tracing::warn!(
            "peers are talked to WITHOUT ENCRYPTION: anyone in this network can join and read"
        ),
        Some(Stage::Send) => tracing::warn!(
            "PLAINTEXT IS ACCEPTED from peers: anyone in this network can join; go on to stage on"
        ),
        Some(Stage::On) => {}
    }
    let name = &config.node.name;
    let cluster = &config.node.cluster;
    let open = match assembled.encryption {
        None | Some(Stage::Receive) => ", NOT ENCRYPTED",
        Some(Stage::Send) => ", ACCEPTS PLAINTEXT",
        Some(Stage::On) => "",
    };
    format!("{name} of cluster {cluster} at {advertise}{open}")
}

/// With `as_serf` only a finished leave is a success.
fn exit_code(ending: &Ending, as_serf: bool) -> ExitCode {
    match ending {
        Ending::Asked { left } => {
            tracing::info!(left, "musterd ends");
            match *left || !as_serf {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Ending::Failed(failure) => {
            tracing::error!(cause = %failure, "musterd ends by a failure");
            ExitCode::FAILURE
        }
        Ending::Cut(_) if as_serf => ExitCode::FAILURE,
        Ending::Cut(signal) => ExitCode::from(signal.exit_code()),
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
