//! Inspectors for tests, on an engine that only this file knows.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use super::plan::testing::{container, live};
use super::{Inspector, InspectorParts, Metrics};
use crate::daemon::supervisor::Tasks;
use crate::docker::{Docker, EngineStatus, State};
use crate::gossip::rpc::testing::node;
use crate::hub::Hub;
use crate::peers::{self, Me, Peers};
use crate::routes::Routes;

/// A node that others may ask.
pub(crate) struct Inspected {
    pub(crate) inspector: Inspector,
    pub(crate) addr: SocketAddr,
    /// Its engine.
    pub(crate) state: watch::Sender<Arc<State>>,
    /// Ends its tasks.
    pub(crate) tasks: Tasks,
}

/// These containers as an engine that is away said them last: `inspect` asks nobody.
pub(crate) fn away(containers: Vec<crate::docker::Container>) -> State {
    State {
        engine: EngineStatus::Away {
            since: std::time::UNIX_EPOCH + std::time::Duration::from_millis(5_000),
            error: "gone".to_owned(),
        },
        ..live(containers)
    }
}

/// A node of that name with nothing in its engine, in clear if it has no key.
pub(crate) async fn inspected(
    hub: &Arc<Hub>,
    name: &str,
    key: Option<u8>,
    secrets: bool,
) -> Inspected {
    let (state, follow) = watch::channel(Arc::new(State::default()));
    let docker = Docker::of(follow);
    inspected_on(hub, (docker, state), name, key, secrets).await
}

/// The same with an engine.
pub(crate) async fn inspected_on(
    hub: &Arc<Hub>,
    (docker, state): (Docker, watch::Sender<Arc<State>>),
    name: &str,
    key: Option<u8>,
    secrets: bool,
) -> Inspected {
    let tasks = Tasks::default();
    let (pipes, addr) = node(key, &tasks).await;
    let metrics = peers::Metrics::default();
    let (peers, server) = Peers::new(Me::new(name, 1), pipes, &tasks, metrics);
    let inspector = Inspector::new(InspectorParts {
        hub: Arc::clone(hub),
        peers,
        docker,
        secrets,
        metrics: Metrics::default(),
    });
    let routes = Routes::default().add(inspector.service());
    tasks.spawn("peers", server.run(routes));
    Inspected {
        inspector,
        addr,
        state,
        tasks,
    }
}
