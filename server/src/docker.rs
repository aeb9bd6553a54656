//! The node's Docker engine: its containers as they are now, and what can be done with
//! them.
//!
//! Readers follow [`Docker::state`]: whole views, the newest replaces the one before, so
//! that a slow reader misses steps and never the end. Membership never waits for the
//! engine.

mod container;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

pub use self::container::{Container, Health, Mount, Port};

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
}

impl Docker {
    /// A view that another one writes.
    #[must_use]
    pub fn of(state: watch::Receiver<Arc<State>>) -> Self {
        Self { state }
    }

    /// What is known now, and a way to wait for more.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }
}
