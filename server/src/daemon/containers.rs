//! The Docker engine of the daemon, and what is told of it.

mod published;

use std::net::IpAddr;
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
            follow(&mut config.node, &mut config.containers, place.ip());
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

/// Moves the service address to where peers reach this node, unless it was set.
fn follow(node: &mut config::Node, containers: &mut told::Config, ip: IpAddr) {
    let Some(follows) = &node.follows else {
        return;
    };
    containers.service_ip = ip;
    for role in &mut node.roles {
        if follows.contains(&role.name) {
            role.service_ip = ip;
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use muster_engine::Role;

    use super::*;

    fn role(name: &str, ip: &str) -> Role {
        Role {
            name: name.to_owned(),
            service_ip: ip.parse().unwrap(),
            service_port: 80,
            since_unix_ms: 0,
            container: None,
            healthy: true,
        }
    }

    /// Service addresses of containers and of both roles once the node is at 192.0.2.9.
    fn moved(follows: Option<BTreeSet<String>>) -> [String; 3] {
        let mut node = config::Node {
            name: "n1".to_owned(),
            cluster: "c".to_owned(),
            tags: BTreeMap::new(),
            tag_changes: crate::tags::TagChanges::default(),
            tags_file: None,
            roles: vec![role("web", "172.17.0.2"), role("db", "10.0.0.7")],
            follows,
        };
        let mut containers = told::Config {
            node: "n1".to_owned(),
            service_ip: "172.17.0.2".parse().unwrap(),
            inspect_secrets: false,
        };
        follow(&mut node, &mut containers, "192.0.2.9".parse().unwrap());
        let roles = [node.roles[0].service_ip, node.roles[1].service_ip];
        [containers.service_ip, roles[0], roles[1]].map(|ip| ip.to_string())
    }

    #[test]
    fn services_are_where_the_node_is_unless_somebody_said_otherwise() {
        let web = BTreeSet::from(["web".to_owned()]);
        assert_eq!(moved(Some(web)), ["192.0.2.9", "192.0.2.9", "10.0.0.7"]);
        assert_eq!(moved(None), ["172.17.0.2", "172.17.0.2", "10.0.0.7"]);
    }
}
