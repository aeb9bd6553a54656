//! The keys of the cluster at run time: installed, used and removed on every member,
//! kept over restarts, and told to members that were away.
//!
//! ```text
//!   grpc KeyService -> Keys (operations) -> each member's KeyPeerService -> its Keys
//!                        |  ring (registers, later stamps hold)
//!                        +-> engine and pipes (gossip::Handle), keyring file, data directory
//! ```
//! Every exchange merges both rings, so a change spreads by any talk: a member that was
//! down asks when it is back, and is told under the key that it still has.

mod exchange;
pub mod file;
mod follow;
mod message;
mod metrics;
mod operations;
mod peer;
mod report;
pub mod ring;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use muster_engine::Stage;
use muster_engine::crypto::{KeyId, Keyring};
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot};

use crate::daemon::supervisor::Tasks;
use crate::gossip::{CommandError, Handle};
use crate::hub::{Hub, lock};

pub use self::exchange::KeyNet;
pub use self::metrics::Metrics;
pub use self::operations::OVERLAP_MAX;
pub use self::peer::KeyPeer;
pub use self::report::{KeyReport, KeySummary, MemberKeys};
pub use self::ring::{Ring, RingError};
pub use self::store::{Begun, Settings, Store, StoreError};

/// Most keys of a ring: it is rotated, not collected. Further ones are refused.
pub const KEYS_MAX: usize = 16;

/// Why a change of keys was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The ring does not allow it.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A member is in the way; nothing was changed, or only what the text says.
    #[error("{member}: {why}")]
    NotReady {
        /// Which.
        member: String,
        /// Why.
        why: String,
    },
    /// The request makes no sense here.
    #[error("{0}")]
    Refused(String),
    /// The engine did not take it.
    #[error(transparent)]
    Engine(#[from] CommandError),
}

/// The keys of this node and the way to those of all others. Clones share everything.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

/// What keys are made of.
pub struct Parts {
    /// Name of this node.
    pub name: Arc<str>,
    /// Who there is.
    pub hub: Arc<Hub>,
    /// To the engine, which runs with the ring that was begun.
    pub handle: Handle,
    /// To the others.
    pub net: Arc<dyn KeyNet>,
    /// The ring and where it is kept.
    pub begun: Begun,
    /// Why plaintext must not be accepted here.
    pub public: Option<String>,
    /// Changes run as tasks of their own: a caller that goes away does not cut one.
    pub tasks: Tasks,
    /// What is counted.
    pub metrics: Metrics,
}

struct Shared {
    name: Arc<str>,
    hub: Arc<Hub>,
    handle: Handle,
    net: Arc<dyn KeyNet>,
    store: Store,
    public: Option<String>,
    tasks: Tasks,
    metrics: Metrics,
    /// Held while a change is written to the disk and told to the engine.
    ring: AsyncMutex<Ring>,
    /// One operation of this node at a time: it asks everybody more than once.
    operation: AsyncMutex<()>,
    /// The ring is another one now.
    changed: Notify,
    /// Why the ring is not kept.
    problem: Mutex<Option<String>>,
    notes: Vec<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The ring as the engine of a node takes it: where an address is public, plaintext is
/// not accepted whatever the ring says.
#[must_use]
pub fn keyring(ring: &Ring, public: bool) -> Option<Keyring> {
    let keyring = ring.keyring()?;
    Some(if public {
        keyring.at(Stage::On)
    } else {
        keyring
    })
}

impl Keys {
    /// Of a node whose engine runs. Spawns the task that follows the cluster.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Begun { ring, store, notes } = parts.begun;
        parts.metrics.installed.set(count(&ring));
        let keys = Self {
            shared: Arc::new(Shared {
                name: parts.name,
                hub: parts.hub,
                handle: parts.handle,
                net: parts.net,
                store,
                public: parts.public,
                tasks: parts.tasks.clone(),
                metrics: parts.metrics,
                ring: AsyncMutex::new(ring),
                operation: AsyncMutex::new(()),
                changed: Notify::new(),
                problem: Mutex::default(),
                notes,
            }),
        };
        parts.tasks.spawn("keys", follow::run(keys.clone()));
        keys
    }

    /// What an operator should know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let problem = lock(&self.shared.problem).clone();
        let unkept = self.shared.metrics.changes.get() > 0 && !self.shared.store.is_kept();
        let unkept = unkept.then(|| {
            "there is neither a data directory nor a keyring file: a restart forgets what was \
             changed"
                .to_owned()
        });
        let notes = self.shared.notes.iter().cloned();
        notes
            .chain(problem)
            .chain(unkept)
            .map(|text| format!("keys: {text}"))
            .collect()
    }

    /// The ring as it is now.
    pub async fn ring(&self) -> Ring {
        self.shared.ring.lock().await.clone()
    }

    /// Changes the ring of this node: the disk, then the engine, then all others see it.
    /// A disk that refuses is a warning: the cluster must not fall apart over it.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<T, RingError>,
    ) -> Result<T, KeysError> {
        let mut ring = self.shared.ring.lock().await;
        let mut next = ring.clone();
        let made = change(&mut next)?;
        if next == *ring {
            return Ok(made);
        }
        self.keep(&next).await;
        let public = self.shared.public.is_some();
        let (before, after) = (keyring(&ring, public), keyring(&next, public));
        self.shared.handle.set_keyring(after.clone()).await?;
        self.shared.metrics.changes.inc();
        self.shared.metrics.installed.set(count(&next));
        let gone = ring.installed().map(|(id, _)| id);
        for id in gone.filter(|id| !next.holds(*id)) {
            self.shared.net.close_key(Some(id));
        }
        if before.map(|ring| ring.stage()) != after.as_ref().map(Keyring::stage) {
            // Calls in clear go on under a key where there is one.
            self.shared.net.close_key(None);
        }
        log(&next, after.as_ref());
        *ring = next;
        self.shared.changed.notify_one();
        Ok(made)
    }

    /// Runs work to its end whether or not the caller waits for it.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, KeysError>> + Send + 'static,
    ) -> Result<T, KeysError> {
        let (done, end) = oneshot::channel();
        self.shared.tasks.spawn_guarded("key change", async move {
            if done.send(work.await).is_err() {
                tracing::debug!("whoever changed keys did not wait");
            }
        });
        end.await.unwrap_or(Err(CommandError::Stopped.into()))
    }

    /// Writes again what the disk did not take.
    pub async fn retry(&self) {
        let ring = self.shared.ring.lock().await;
        if !self.problem().is_empty() {
            self.keep(&ring).await;
        }
    }

    async fn keep(&self, ring: &Ring) {
        let (store, ring) = (self.shared.store.clone(), ring.clone());
        let written = tokio::task::spawn_blocking(move || store.keep(&ring)).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("not kept: {:#}", anyhow::Error::from(error))),
            Err(error) => Some(format!("not kept: {error}")),
        };
        let mut before = lock(&self.shared.problem);
        if let Some(problem) = &problem {
            self.shared.metrics.unkept.inc();
            if before.as_ref() != Some(problem) {
                tracing::warn!(problem, "changed keys are used, but not kept");
            }
        } else if before.is_some() {
            tracing::info!("the changed keys are kept");
        }
        *before = problem;
    }

    /// What went wrong with the last change; empty if nothing did.
    fn problem(&self) -> String {
        lock(&self.shared.problem).clone().unwrap_or_default()
    }
}

fn log(ring: &Ring, keyring: Option<&Keyring>) {
    let ids: Vec<String> = ring.installed().map(|(id, _)| id.to_string()).collect();
    let primary = ring.primary().map(|id| id.to_string()).unwrap_or_default();
    let stage = keyring.map_or("none", |keyring| keyring.stage().as_str());
    tracing::info!(keys = ids.join(","), primary, stage, "keys changed");
    if keyring.is_some_and(|keyring| keyring.stage().accepts_plaintext()) {
        tracing::warn!(
            stage,
            "PLAINTEXT IS ACCEPTED from peers: anyone in this network can join; go on to stage on"
        );
    }
}

fn count(ring: &Ring) -> i64 {
    i64::try_from(ring.installed().count()).unwrap_or(i64::MAX)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// As people read it.
fn show(id: Option<KeyId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}
