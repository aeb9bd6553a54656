//! The one way by which surfaces command the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_engine::crypto::Keyring;
use muster_engine::{
    Accepted, EngineError, EventDraft, EventError, Explanation, Member, OwnUpdate, Role, Snapshot,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::coordinates::Coordinates;

/// Commands that wait for the engine; more callers wait up to [`SEND_WAIT`].
pub const COMMANDS_MAX: usize = 64;

/// Events that wait for the engine. While the event window is full they stay
/// here and callers wait: this is the back-pressure of `SendEvent`.
pub const EVENTS_MAX: usize = 256;

/// How long a command may wait for a place in the queue.
pub const SEND_WAIT: Duration = Duration::from_secs(5);

/// Why a command brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine refused the event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The engine refused the command.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The daemon shuts down.
    #[error("the daemon is shutting down")]
    Stopped,
    /// The queue stayed full.
    #[error("the daemon is overloaded: the command queue stayed full")]
    Busy,
}

/// How one address of a join went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOutcome {
    /// As given by the caller, with the resolved address where it differs.
    pub address: String,
    /// Name of the member that answered, or why none did.
    pub result: Result<String, String>,
}

/// State of the engine, for `muster info` and the metrics.
#[derive(Debug, Clone)]
pub struct Report {
    /// This node.
    pub me: Arc<Member>,
    /// Every counter and gauge of the engine and the driver, by name.
    pub counters: Vec<(&'static str, u64)>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
    /// Whether peers are talked to under a key.
    pub encrypted: bool,
}

/// Keeps what clients changed of this node's tags, for the next start.
pub trait TagKeeper: fmt::Debug + Send + Sync {
    /// Keeps a change that the engine took. What goes wrong is told elsewhere: the
    /// change holds all the same.
    fn keep(&self, set: BTreeMap<String, String>, remove: Vec<String>) -> BoxFuture<'_, ()>;
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A command on its way to the engine.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        addresses: Vec<String>,
        reply: Reply<Vec<JoinOutcome>>,
    },
    Leave {
        reply: Reply<()>,
    },
    ForceLeave {
        name: String,
        prune: bool,
        reply: Reply<Result<(), EngineError>>,
    },
    UpdateTags {
        set: BTreeMap<String, String>,
        remove: Vec<String>,
        reply: Reply<Result<Arc<Member>, EngineError>>,
    },
    SetKeyring {
        keyring: Option<Keyring>,
        reply: Reply<()>,
    },
    UpdateOwn {
        update: OwnUpdate,
        reply: Reply<Result<(), EngineError>>,
    },
    Report {
        reply: Reply<Report>,
    },
    Snapshot {
        reply: Reply<Snapshot>,
    },
    Explain {
        name: String,
        reply: Reply<Option<Explanation>>,
    },
}

/// An event on its way to the engine.
#[derive(Debug)]
pub(crate) struct EventCommand {
    pub(crate) draft: EventDraft,
    pub(crate) reply: Reply<Result<Accepted, EventError>>,
}

/// The engine's ends of a handle.
#[derive(Debug)]
pub(crate) struct HandleEnds {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Receiver<EventCommand>,
    pub(crate) replicated: watch::Sender<Replicated>,
    pub(crate) coordinates: Arc<Coordinates>,
    pub(crate) changes: watch::Sender<Changes>,
    pub(crate) unknown_keys: watch::Sender<u64>,
}

/// How far the own events are replicated. Ordered: a later value is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replicated {
    /// Boot of this node; sequences begin anew when it is raised.
    pub boot: u64,
    /// Last sequence of that boot that two other members hold; 0 for none.
    pub sequence: u64,
}

/// What a snapshot is worth taking for.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Grows with each change.
    pub revision: u64,
    /// This node leaves or has left.
    pub left: bool,
    /// What the engine knew when it stopped.
    pub last: Option<Arc<Snapshot>>,
}

/// Commands the engine from any task or thread.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<EventCommand>,
    replicated: watch::Receiver<Replicated>,
    coordinates: Arc<Coordinates>,
    changes: watch::Receiver<Changes>,
    keeper: Option<Arc<dyn TagKeeper>>,
    /// Held over a change of the tags, so that they are kept in the order in which the
    /// engine took them.
    tags: Arc<Mutex<()>>,
    unknown_keys: watch::Receiver<u64>,
}

impl Handle {
    /// A handle and the ends that the driver serves.
    pub(crate) fn new() -> (Self, HandleEnds) {
        let (commands, commands_end) = mpsc::channel(COMMANDS_MAX);
        let (events, events_end) = mpsc::channel(EVENTS_MAX);
        let (replicated_end, replicated) = watch::channel(Replicated::default());
        let coordinates = Arc::new(Coordinates::default());
        let (changes_end, changes) = watch::channel(Changes::default());
        let (unknown_keys_end, unknown_keys) = watch::channel(0);
        let ends = HandleEnds {
            commands: commands_end,
            events: events_end,
            replicated: replicated_end,
            coordinates: Arc::clone(&coordinates),
            changes: changes_end,
            unknown_keys: unknown_keys_end,
        };
        (
            Self {
                commands,
                events,
                replicated,
                coordinates,
                changes,
                keeper: None,
                tags: Arc::default(),
                unknown_keys,
            },
            ends,
        )
    }

    /// Sends an event. Waits while the event window is full.
    ///
    /// # Errors
    /// The engine's refusal, or [`CommandError::Stopped`].
    pub fn send_event(
        &self,
        draft: EventDraft,
    ) -> impl Future<Output = Result<Accepted, CommandError>> + Send + use<> {
        let events = self.events.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let command = EventCommand { draft, reply };
            events
                .send(command)
                .await
                .map_err(|_closed| CommandError::Stopped)?;
            Ok(answer.await.map_err(|_closed| CommandError::Stopped)??)
        }
    }

    /// The last own event that two other members hold; grows.
    #[must_use]
    pub fn replicated(&self) -> watch::Receiver<Replicated> {
        self.replicated.clone()
    }

    /// Where members are in the space of round trip times, to be read at any time.
    #[must_use]
    pub fn coordinates(&self) -> Arc<Coordinates> {
        Arc::clone(&self.coordinates)
    }

    /// Contacts addresses (names are resolved) and merges with whoever answers.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`]. A failed address is an outcome.
    pub async fn join(&self, addresses: Vec<String>) -> Result<Vec<JoinOutcome>, CommandError> {
        self.command(|reply| Command::Join { addresses, reply })
            .await
    }

    /// Leaves the cluster; returns when the leave was spread.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn leave(&self) -> Result<(), CommandError> {
        self.command(|reply| Command::Leave { reply }).await
    }

    /// Turns a failed member into a left one, or forgets it.
    ///
    /// # Errors
    /// The engine's refusal, [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn force_leave(&self, name: String, prune: bool) -> Result<(), CommandError> {
        Ok(self
            .command(|reply| Command::ForceLeave { name, prune, reply })
            .await??)
    }

    /// This handle, which keeps what clients change of the tags.
    #[must_use]
    pub fn keeping(mut self, keeper: Arc<dyn TagKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Sets and removes tags of this node for a client, and keeps the change; returns
    /// the member as it is then.
    ///
    /// # Errors
    /// The engine's refusal, [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn update_tags(
        &self,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<Arc<Member>, CommandError> {
        let _in_order = self.tags.lock().await;
        let me = self.put_tags(set.clone(), remove.clone()).await?;
        if let Some(keeper) = &self.keeper {
            keeper.keep(set, remove).await;
        }
        Ok(me)
    }

    /// As [`Handle::update_tags`] for a change of the configuration: `difference` says
    /// what to set and remove, as of now, and nothing is kept of it.
    ///
    /// # Errors
    /// The engine's refusal, [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn reconfigure_tags(
        &self,
        difference: impl FnOnce() -> (BTreeMap<String, String>, Vec<String>),
    ) -> Result<(), CommandError> {
        let _in_order = self.tags.lock().await;
        let (set, remove) = difference();
        if !(set.is_empty() && remove.is_empty()) {
            self.put_tags(set, remove).await?;
        }
        Ok(())
    }

    async fn put_tags(
        &self,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<Arc<Member>, CommandError> {
        Ok(self
            .command(|reply| Command::UpdateTags { set, remove, reply })
            .await??)
    }

    /// Sets the roles of this node's containers, instead of those of before; those of
    /// the settings stay. Each names its container; since when it serves is kept by the
    /// engine.
    ///
    /// # Errors
    /// The engine's refusal, [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn set_roles(&self, roles: Vec<Role>) -> Result<(), CommandError> {
        let update = OwnUpdate {
            roles: Some(roles),
            ..OwnUpdate::default()
        };
        self.publish(update).await
    }

    /// Changes what this node says of itself at run time, as one change of its record:
    /// all of it, or nothing.
    ///
    /// # Errors
    /// The engine's refusal, [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn publish(&self, update: OwnUpdate) -> Result<(), CommandError> {
        Ok(self
            .command(|reply| Command::UpdateOwn { update, reply })
            .await??)
    }

    /// Goes on with other keys, or without any. Returns once datagrams and new pipes
    /// follow them; pipes under a key that is gone are closing.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn set_keyring(&self, keyring: Option<Keyring>) -> Result<(), CommandError> {
        self.command(|reply| Command::SetKeyring { keyring, reply })
            .await
    }

    /// Grows when datagrams came under a key that this node does not hold, at most
    /// once a second.
    #[must_use]
    pub fn unknown_keys(&self) -> watch::Receiver<u64> {
        self.unknown_keys.clone()
    }

    /// State of the engine.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn report(&self) -> Result<Report, CommandError> {
        self.command(|reply| Command::Report { reply }).await
    }

    /// What the next run should know.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn snapshot(&self) -> Result<Snapshot, CommandError> {
        self.command(|reply| Command::Snapshot { reply }).await
    }

    /// Why a member is shown as it is; `None` if nobody is called so.
    ///
    /// # Errors
    /// [`CommandError::Stopped`], [`CommandError::Busy`].
    pub async fn explain(&self, name: String) -> Result<Option<Explanation>, CommandError> {
        self.command(|reply| Command::Explain { name, reply }).await
    }

    /// Tells when [`Handle::snapshot`] would give something new.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.clone()
    }

    async fn command<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let send = self.commands.send_timeout(make(reply), SEND_WAIT);
        send.await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => CommandError::Busy,
            mpsc::error::SendTimeoutError::Closed(_) => CommandError::Stopped,
        })?;
        answer.await.map_err(|_closed| CommandError::Stopped)
    }
}
