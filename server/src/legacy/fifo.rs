//! The FIFO `/serfnode/parent`: a line `["<event_name>", {<payload>}]` that a container
//! writes to it becomes an event.
//!
//! ```text
//!   echo '["deploy", {"v": 1}]' > /serfnode/parent
//!        | pipe, 64 KiB: writers wait when it is full
//!   Reader, one per FIFO: lines -> message -> allowed? -> Handle::send_event
//!        | waits for room, so that writers wait
//!   gossip
//! ```
//! One FIFO per child, so that its events name it, and one that all share. Each is held
//! open to read and write, from before the child starts: nobody waits for a reader, and
//! it never ends. The keeper makes a FIFO again that was deleted or replaced.

mod allow;
mod bucket;
mod complaint;
#[cfg(test)]
mod fuzz;
pub(crate) mod keeper;
pub(crate) mod lines;
pub(crate) mod message;
mod metrics;
mod pipe;
mod reader;
mod sending;

use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::allow::{Allow, EVENTS_LABEL};
use self::keeper::{Command, Keeper, Outcomes};
pub use self::metrics::Metrics;
use crate::daemon::supervisor::Tasks;
use crate::gossip::Handle;

/// FIFOs at once. One more is not made, and its status says so.
pub const FIFOS_MAX: usize = 1_024;

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Lines per second that one FIFO may bring on average, twice as many at once. What
    /// is faster waits. `None`: no limit.
    pub rate: Option<NonZeroU32>,
    /// Largest payload of an event, bytes.
    pub payload_bytes_max: usize,
}

/// A FIFO that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FifoSpec {
    /// Name of the child whose events come from it; `None` for the one that all share.
    pub child: Option<String>,
    /// Its directory, below the root. Made if it is missing.
    pub directory: PathBuf,
    /// Which events it may bring.
    pub allow: Allow,
}

/// The FIFOs of this node. Clones share everything.
#[derive(Debug, Clone)]
pub struct Fifos {
    commands: mpsc::Sender<Command>,
    outcomes: watch::Receiver<Outcomes>,
}

impl Fifos {
    /// Starts with none, below `root`. Reading ends with `stop`, before this node leaves
    /// the cluster: what is not read stays in the pipes for the next run, as long as
    /// somebody holds them open.
    #[must_use]
    pub fn start(
        config: Config,
        root: OwnedFd,
        handle: Handle,
        metrics: Metrics,
        tasks: &Tasks,
        stop: CancellationToken,
    ) -> Self {
        let (commands, commands_end) = mpsc::channel(keeper::COMMANDS_MAX);
        let (outcomes_end, outcomes) = watch::channel(Outcomes::default());
        let keeper = Keeper::new(config, root, handle, metrics, tasks.clone(), stop);
        tasks.spawn_guarded("fifos", keeper.run(commands_end, outcomes_end));
        Self { commands, outcomes }
    }

    /// Wants exactly these from now on. Returns once each of them is open, or cannot be
    /// opened (it is tried again each second): then a child may start. What others left
    /// behind in a pipe is read to its end.
    pub async fn set(&self, specs: Vec<FifoSpec>) {
        let (done, answer) = oneshot::channel();
        // Without a keeper the daemon stops.
        if self.commands.send(Command { specs, done }).await.is_ok() {
            let _stopped = answer.await.is_err();
        }
    }

    /// Whether the FIFO in that directory is open.
    ///
    /// # Errors
    /// Why not.
    pub fn status(&self, directory: &Path) -> Result<(), String> {
        let outcomes = self.outcomes.borrow();
        let outcome = outcomes.get(directory);
        outcome.map_or_else(|| Err("it is not wanted".to_owned()), Clone::clone)
    }

    /// Returns once the FIFO in that directory is read, or the daemon stops: then nobody
    /// who opens it waits, and a child may start. The caller bounds the wait.
    pub async fn open(&self, directory: &Path) {
        let mut outcomes = self.outcomes.clone();
        let open = outcomes.wait_for(|outcomes| matches!(outcomes.get(directory), Some(Ok(()))));
        let _stopped = open.await.is_err();
    }

    /// What an operator should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let outcomes = self.outcomes.borrow();
        let failed = outcomes.iter().filter_map(|(directory, outcome)| {
            let error = outcome.as_ref().err()?;
            Some(format!(
                "FIFO {}/{}: {error}",
                directory.display(),
                pipe::NAME
            ))
        });
        failed.collect()
    }
}
