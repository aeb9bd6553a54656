//! Event handlers: programs that are run when something happens in the cluster, with
//! the contract of serf's.
//!
//! Each handler is a worker of its own with its own queue: one that is slow or hangs
//! delays no other. [`Handlers::replace`] changes the set while the daemon runs;
//! handlers that stay keep their queues and calls.

mod contract;
pub mod cursors;
mod dir;
mod glob;
pub mod job;
mod json;
mod lanes;
mod manager;
pub mod members;
pub mod metrics;
mod progress;
pub mod results;
pub mod spec;
mod worker;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_engine::Member;
use tokio::sync::{mpsc, oneshot};

use self::cursors::CursorStore;
use self::manager::{Command, Manager};
use self::members::Batch;
use self::metrics::Metrics;
use self::results::{Board, Report};
use self::spec::{Selector, Spec};
use crate::coalesce::Windows;
use crate::daemon::supervisor::Tasks;
use crate::hub::{Hub, lock};
use crate::process::{Program, User};
use crate::queries::Responders;

/// Handlers at one time, those of the directory included. Further ones are refused,
/// files of the directory left out and told.
pub const HANDLERS_MAX: usize = 256;

/// Largest `handler-concurrency`.
pub const CONCURRENCY_MAX: usize = 256;

/// Largest `handler-queue`.
pub const QUEUE_MAX: usize = 65_536;

/// Commands that wait for the manager.
const COMMANDS_MAX: usize = 4;

/// What the subsystem is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Handlers, in the order of the settings.
    pub specs: Vec<Spec>,
    /// Directory of programs that are named after what they are for.
    pub dir: Option<PathBuf>,
    /// When a call is killed.
    pub timeout: Duration,
    /// Calls of one handler at a time.
    pub concurrency: usize,
    /// Events that wait for one handler.
    pub queue: usize,
    /// As whom programs are run.
    pub user: Option<User>,
    /// JSON on standard input.
    pub json: bool,
    /// At least once.
    pub redeliver: bool,
    /// How long changes of members are collected.
    pub coalesce: Duration,
}

/// What handlers are told of the daemon around them.
#[derive(Debug)]
pub struct Around {
    /// Name of this node.
    pub name: String,
    /// The API socket.
    pub socket: PathBuf,
    /// Where serf's RPC is served.
    pub serf_rpc: Option<String>,
    /// Variables that programs inherit; without secrets.
    pub environment: BTreeMap<OsString, OsString>,
    /// How long calls may go on when the daemon ends.
    pub grace: Duration,
    /// Where queries come from.
    pub queries: Responders,
}

/// The handlers of a daemon. Clones share everything.
#[derive(Clone)]
pub struct Handlers {
    commands: mpsc::Sender<Command>,
    boards: Boards,
}

/// The reports of all handlers, by key.
type Boards = Arc<Mutex<BTreeMap<String, Board>>>;

/// The handlers could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct Stopped;

/// What the workers share.
#[derive(Debug)]
struct Common {
    hub: Arc<Hub>,
    name: String,
    socket: PathBuf,
    serf_rpc: Option<String>,
    environment: BTreeMap<OsString, OsString>,
    user: Option<User>,
    windows: Windows,
    cursors: CursorStore,
    metrics: Metrics,
}

/// One handler as it is run.
#[derive(Debug, PartialEq, Eq)]
struct Definition {
    /// What it is known by across restarts.
    key: String,
    /// What it is called in the log and in metrics.
    label: String,
    spec: Spec,
    program: Program,
    timeout: Duration,
    concurrency: usize,
    queue: usize,
    json: bool,
    redeliver: bool,
}

impl Handlers {
    /// Starts the handlers.
    #[must_use]
    pub fn start(
        config: Config,
        around: Around,
        hub: Arc<Hub>,
        cursors: CursorStore,
        metrics: Metrics,
        tasks: &Tasks,
    ) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let boards = Boards::default();
        let common = Common {
            hub,
            name: around.name,
            socket: around.socket,
            serf_rpc: around.serf_rpc,
            environment: around.environment,
            user: config.user.clone(),
            windows: members::windows(config.coalesce),
            cursors,
            metrics,
        };
        let manager = Manager::new(
            config,
            Arc::new(common),
            around.queries,
            (tasks.stop_token(), around.grace),
            Arc::clone(&boards),
        );
        tasks.spawn("handlers", manager.run(received));
        Self { commands, boards }
    }

    /// Replaces the handlers of the settings; those with equal specifications go on
    /// undisturbed. Calls of handlers that are gone may end. The directory is read
    /// again. Returns once the new ones take events.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn replace(&self, specs: Vec<Spec>) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        let sent = self.commands.send(Command { specs, done }).await;
        sent.map_err(|_closed| Stopped)?;
        wait.await.map_err(|_closed| Stopped)
    }

    /// How every handler does: those of the settings by number, then those of the
    /// directory by name.
    #[must_use]
    pub fn report(&self) -> Vec<Report> {
        let mut all: Vec<_> = lock(&self.boards).values().map(Board::read).collect();
        let number = |report: &Report| report.label.parse().unwrap_or(usize::MAX);
        all.sort_by(|a, b| (number(a), &a.label).cmp(&(number(b), &b.label)));
        all
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

impl Common {
    /// This node, or nobody's record before the engine has told of it.
    fn me(&self) -> Arc<Member> {
        let found = self.hub.member(&self.name);
        found.map_or_else(|| Arc::new(nobody(&self.name)), |entry| entry.value)
    }
}

impl Definition {
    /// A handler of the settings.
    fn of(spec: Spec, key: String, label: String, config: &Config) -> Self {
        let program = Program::Shell(spec.script.clone());
        Self::with(spec, program, key, label, config)
    }

    fn with(spec: Spec, program: Program, key: String, label: String, config: &Config) -> Self {
        let options = &spec.options;
        Self {
            timeout: options.timeout.unwrap_or(config.timeout),
            concurrency: options.concurrency.unwrap_or(config.concurrency),
            queue: options.queue.unwrap_or(config.queue),
            json: options.json || config.json,
            redeliver: options.redeliver || config.redeliver,
            key,
            label,
            spec,
            program,
        }
    }

    /// What of a batch it is for.
    fn wanted(&self, mut batch: Batch) -> Option<Batch> {
        if !self.spec.wants_member(batch.kind) {
            return None;
        }
        let selector = &self.spec.selector;
        batch.members.retain(|told| {
            let before = told.before.as_ref();
            selector.selects(&told.member) || before.is_some_and(|before| selector.selects(before))
        });
        (!batch.members.is_empty()).then_some(batch)
    }

    /// Whether it is for what comes from a member.
    fn selects(&self, hub: &Hub, name: &str) -> bool {
        let selector: &Selector = &self.spec.selector;
        selector.is_empty()
            || match hub.member(name) {
                Some(entry) => selector.selects(&entry.value),
                None => selector.selects_name(name),
            }
    }
}

/// A member of whom only the name is known.
fn nobody(name: &str) -> Member {
    use muster_engine::{Status, StatusChange, StatusReason};
    Member {
        name: Arc::from(name),
        alias: None,
        boot: 0,
        instance: 0,
        incarnation: 0,
        addr: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
        status: Status::Alive,
        change: StatusChange {
            by: None,
            at_unix_ms: 0,
            reason: StatusReason::Joined,
        },
        transitions: 0,
        started_unix_ms: 0,
        tags: BTreeMap::new(),
        roles: Vec::new(),
        ports: BTreeMap::new(),
        version: String::new(),
        protocol: (0, 0),
        plaintext: false,
        by_tcp: false,
        is_self: true,
    }
}

#[cfg(test)]
mod tests;
