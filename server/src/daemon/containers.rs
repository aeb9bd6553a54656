//! The Docker engine of the daemon, and what is told of it.

mod published;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_engine::Stage;
use tokio::sync::watch;

use super::Shared;
use super::peering::Core;
use crate::config::{self, Security, is_private};
use crate::containers::{self as told, Inspector, InspectorParts, Publisher};
use crate::docker::{Container, Docker, DockerError, Metrics};
use crate::hub::containers::summary::ChildFiles;
use crate::peers::Peers;

/// How long a daemon in a container waits at its start for the engine to tell of its
/// ports.
const PORTS_WAIT: Duration = Duration::from_secs(3);

/// Begins to follow it.
pub(super) async fn start(shared: &Shared) -> anyhow::Result<Docker> {
    let metrics = Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = shared.config.docker.clone();
    let docker = Docker::start(config, metrics, &shared.tasks).await;
    docker.context("the Docker engine is required and does not answer (--docker required)")
}

/// With what peers are told where this daemon runs in a container whose port for them is
/// published, unless address and port were given.
pub(super) async fn advertised(shared: Shared, docker: &Docker) -> Shared {
    let peers = &shared.config.peers;
    let whole = peers.advertise_given && peers.advertise.port() != 0;
    if whole || peers.bind.port() == 0 || !docker.places().contained() {
        return shared;
    }
    let owner = tokio::time::timeout(PORTS_WAIT, port_owner(docker)).await;
    let owner = match owner {
        Ok(Ok(Some(owner))) => owner,
        Ok(Ok(None) | Err(DockerError::Off)) => return shared,
        Ok(Err(error)) => {
            let error = error.chain();
            tracing::info!(error, "published ports are not known: nobody tells of them");
            return shared;
        }
        Err(_elapsed) => {
            tracing::warn!("published ports are not known: the Docker engine does not answer");
            return shared;
        }
    };
    let given = peers.advertise_given.then(|| peers.advertise.ip());
    match published::place(&owner, peers.bind.port(), given) {
        Ok(Some(place)) if open(peers) && !is_private(place.ip()) => {
            tracing::warn!(%place, "not told to peers without encryption: it is public");
            shared
        }
        Ok(Some(place)) => {
            tracing::info!(%place, "peers are told where the port of this container is published");
            let mut config = (*shared.config).clone();
            config.peers.advertise = place;
            if !is_private(place.ip()) {
                let why = format!("the advertised address {} is public", place.ip());
                config.peers.public.get_or_insert(why);
            }
            Shared {
                config: Arc::new(config),
                ..shared
            }
        }
        Ok(None) => shared,
        Err(why) => {
            tracing::warn!("{why}");
            shared
        }
    }
}

/// Whether plaintext is spoken or taken.
fn open(peers: &config::Peers) -> bool {
    let plaintext = matches!(peers.security, Security::Plaintext);
    plaintext || peers.encryption.is_some_and(Stage::accepts_plaintext)
}

/// The container whose ports are ours: this one, or the one whose network it shares.
async fn port_owner(docker: &Docker) -> Result<Option<Container>, DockerError> {
    for id in docker.places().candidates() {
        let Some(me) = look(docker, &id).await? else {
            continue;
        };
        return match me.network_mode.strip_prefix("container:") {
            Some(owner) => look(docker, owner).await,
            None => Ok(Some(me)),
        };
    }
    Ok(None)
}

async fn look(docker: &Docker, id: &str) -> Result<Option<Container>, DockerError> {
    match docker.inspect(id).await {
        Ok(inspected) => Ok(Container::try_from(inspected).ok()),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells the cluster of the containers, and lets others ask for all of one.
pub(super) fn tell(
    shared: &Shared,
    core: &Core,
    docker: &Docker,
    files: watch::Receiver<Arc<ChildFiles>>,
    peers: Peers,
) -> Inspector {
    let metrics = told::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = shared.config.containers.clone();
    let secrets = config.inspect_secrets;
    let places = docker.places().clone();
    let publisher = Publisher::new(
        config,
        (docker.state(), files),
        Arc::new(move || places.me()),
        core.handle.clone(),
        metrics.clone(),
    );
    let telling = publisher.run(shared.tasks.stop_token());
    shared.tasks.spawn_guarded("containers", telling);
    Inspector::new(InspectorParts {
        hub: Arc::clone(&core.hub),
        peers,
        docker: docker.clone(),
        secrets,
        metrics,
    })
}
