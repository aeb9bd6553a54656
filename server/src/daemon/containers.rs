//! The Docker engine of the daemon, and what is told of it.

use std::sync::Arc;

use anyhow::Context as _;

use super::Shared;
use super::peering::Core;
use crate::containers::{self as told, Inspector, InspectorParts, Publisher};
use crate::docker::{Docker, Metrics};
use crate::peers::Peers;

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

/// Tells the cluster of the containers, and lets others ask for all of one.
pub(super) fn tell(shared: &Shared, core: &Core, docker: &Docker, peers: Peers) -> Inspector {
    let metrics = told::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let config = shared.config.containers.clone();
    let secrets = config.inspect_secrets;
    let places = docker.places().clone();
    let publisher = Publisher::new(
        config,
        docker.state(),
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
