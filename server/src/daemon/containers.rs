//! The Docker engine of the daemon.

use anyhow::Context as _;

use super::Shared;
use crate::docker::{Docker, Metrics};

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
