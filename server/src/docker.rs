//! The node's Docker engine: its containers as they are now, and what can be done with
//! them.
//!
//! Readers follow [`Docker::state`]: whole views, the newest replaces the one before, so
//! that a slow reader misses steps and never the end. Membership never waits for the
//! engine.

mod client;
mod config;
mod connection;
mod container;
mod engine;
mod error;
mod event;
mod follow;
#[cfg(test)]
mod fuzz;
mod inspect;
mod lines;
mod metrics;
mod names;
mod pending;
mod places;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
mod transport;
mod version;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use self::client::Client;
pub use self::config::{Config, Host, Mode, SOCKET};
pub use self::container::{Container, Health, Mount, Port};
pub use self::engine::{Engine, Executed};
pub use self::error::DockerError;
use self::follow::Follower;
pub use self::inspect::Inspected;
pub use self::metrics::Metrics;
pub use self::places::Places;
use self::transport::Transport;
use self::view::View;
use crate::daemon::supervisor::Tasks;

/// How long a start waits for an engine that is required.
const REQUIRED_WAIT: Duration = Duration::from_secs(10);

/// Time between tries meanwhile.
const REQUIRED_POLL: Duration = Duration::from_millis(100);

/// What this node knows of its engine.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// How the engine is.
    pub engine: EngineStatus,
    /// All containers, stopped ones too, by full id. Kept while the engine is away: see
    /// [`EngineStatus::Away`].
    pub containers: BTreeMap<Arc<str>, Arc<Container>>,
}

/// How the engine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EngineStatus {
    /// `--docker off`.
    #[default]
    Off,
    /// Nothing was heard from it yet; there may be none.
    Unknown {
        /// What the last try came to.
        error: Option<String>,
    },
    /// The containers are as the engine says.
    Live {
        /// Version of the engine.
        version: String,
    },
    /// The containers are as they were then.
    Away {
        /// When it was last known to be right.
        since: SystemTime,
        /// Why.
        error: String,
    },
}

impl EngineStatus {
    /// How old the containers are; `None` while they are right, or where there are none.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Away { since, .. } => Some(now.duration_since(*since).unwrap_or_default()),
            Self::Off | Self::Unknown { .. } | Self::Live { .. } => None,
        }
    }
}

/// The engine, for everybody in this daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Docker {
    state: watch::Receiver<Arc<State>>,
    engine: Engine,
    places: Places,
    /// See [`Docker::right_at`].
    right_at: Gauge,
}

impl Docker {
    /// Begins to follow the engine, if one is wanted.
    ///
    /// # Errors
    /// An engine that is required and does not answer within ten seconds.
    pub async fn start(
        config: Config,
        metrics: Metrics,
        tasks: &Tasks,
    ) -> Result<Self, DockerError> {
        let (sender, state) = watch::channel(Arc::new(State::default()));
        if config.mode == Mode::Off {
            let places = Places::of_process(state.clone(), "self", config.host_prefix);
            return Ok(Self {
                state,
                engine: Engine::default(),
                places,
                right_at: Gauge::default(),
            });
        }
        let transport = Transport::new(config.host, tasks.clone());
        let client = Client::new(Arc::new(transport));
        let engine = Engine::new(client.clone())?;
        if config.mode == Mode::Required {
            answers(&client).await?;
        }
        sender.send_replace(Arc::new(State {
            engine: EngineStatus::Unknown { error: None },
            containers: BTreeMap::new(),
        }));
        let right_at = metrics.right_at.clone();
        let follower = Follower {
            client,
            view: View::new(sender, metrics.clone()),
            metrics,
            stop: tasks.stop_token(),
        };
        tasks.spawn("docker", follower.run());
        let places = Places::of_process(state.clone(), "self", config.host_prefix);
        Ok(Self {
            state,
            engine,
            places,
            right_at,
        })
    }

    /// A view that another one writes, on a host, and no engine.
    #[must_use]
    pub fn of(state: watch::Receiver<Arc<State>>) -> Self {
        Self {
            places: Places::on_host(state.clone()),
            engine: Engine::default(),
            state,
            right_at: Gauge::default(),
        }
    }

    /// What is known now, and a way to wait for more.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// When the engine last said something, to the second: so long [`Docker::state`] was
    /// right. 1970 if that is not known.
    #[must_use]
    pub fn right_at(&self) -> SystemTime {
        let seconds = u64::try_from(self.right_at.get()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What can be done with containers.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where this daemon is, as the engine sees it.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// One container as the engine shows it now: see [`Engine::inspect`].
    ///
    /// # Errors
    /// [`DockerError::is_missing`] where there is none.
    pub async fn inspect(&self, which: &str) -> Result<Inspected, DockerError> {
        self.engine.inspect(which).await
    }

    /// What an operator should know of it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let state = self.state.borrow();
        let age = state.engine.age(SystemTime::now())?;
        let EngineStatus::Away { error, .. } = &state.engine else {
            return None;
        };
        let age = age.as_secs();
        Some(format!(
            "the Docker engine is away: containers are shown as they were {age} s ago ({error})"
        ))
    }
}

/// Waits for an engine that must be there.
async fn answers(client: &Client) -> Result<(), DockerError> {
    let until = tokio::time::Instant::now() + REQUIRED_WAIT;
    loop {
        let error = match client.negotiate().await {
            Ok(_api) => return Ok(()),
            Err(error) => error,
        };
        if tokio::time::Instant::now() + REQUIRED_POLL > until {
            return Err(error);
        }
        tokio::time::sleep(REQUIRED_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{FakeEngine, SOON};
    use super::*;

    fn config(mode: Mode, engine: &FakeEngine) -> Config {
        Config {
            mode,
            host: engine.host(),
            host_prefix: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_required_engine_must_answer() {
        let mut engine = FakeEngine::stopped();
        let tasks = Tasks::default();
        let required = config(Mode::Required, &engine);
        let start = Docker::start(required.clone(), Metrics::default(), &tasks);
        let error = start.await.unwrap_err().chain();
        assert!(error.contains("docker.sock: No such file"), "{error}");
        assert!(tasks.live().is_empty());
        engine.listen();
        Docker::start(required, Metrics::default(), &tasks)
            .await
            .unwrap();
        assert!(tasks.stop_within(SOON).await.is_empty());
    }

    #[tokio::test]
    async fn off_is_off() {
        let engine = FakeEngine::start();
        let tasks = Tasks::default();
        let off = config(Mode::Off, &engine);
        let docker = Docker::start(off, Metrics::default(), &tasks)
            .await
            .unwrap();
        assert_eq!(docker.state().borrow().engine, EngineStatus::Off);
        assert!(matches!(docker.inspect("a").await, Err(DockerError::Off)));
        assert!(tasks.live().is_empty());
        assert_eq!(engine.requests(""), [] as [&str; 0]);
    }
}
