//! ContainerService.

mod filter;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_proto::v1 as pb;
use muster_proto::v1::container_service_server::{ContainerService, ContainerServiceServer};
use pb::watch_containers_response::Event;
use tonic::body::Body;
use tonic::{Request, Response, Status};

use self::filter::ContainerFilter;
use super::access::{Capabilities, Capability};
use super::convert::timestamp;
use super::frames::{self, Opened, Streams, WithStreams};
use super::metrics::Metrics;
use super::watch::group::{Source, Views};
use super::watch::pulse::{heartbeat_interval, min_interval};
use super::watch::stream::{Ask, Watch};
use super::watch::{ChangeKind, Part, Watched};
use crate::containers::{Asked, Inspector, find};
use crate::hub::Hub;
use crate::hub::containers::summary::{Files, Health};
use crate::hub::containers::{ContainerKey, NodeContainer, StaleReason};
use crate::hub::store::Entry;

/// Containers as watches see them.
#[derive(Debug)]
pub(crate) struct Containers;

impl Watched for Containers {
    const KIND: &'static [u8] = b"containers";
    type Key = ContainerKey;
    type Value = NodeContainer;
    type Filter = ContainerFilter;
    type Item = pb::Container;

    fn key(filter: &ContainerFilter) -> &[u8] {
        filter.key()
    }

    fn matches(filter: &ContainerFilter, container: &NodeContainer) -> bool {
        filter.matches(container)
    }

    fn item(entry: &Entry<NodeContainer>) -> pb::Container {
        pb::Container {
            changed_revision: entry.changed,
            ..container(&entry.value)
        }
    }

    fn message(position: pb::Position, resume_token: String, part: Part<pb::Container>) -> Bytes {
        let event = match part {
            Part::Begin(begin) => Event::SnapshotBegin(begin),
            Part::Items(containers) => Event::SnapshotPart(pb::ContainerList { containers }),
            Part::End(end) => Event::SnapshotEnd(end),
            Part::Resumed => Event::Resumed(pb::Resumed {}),
            Part::Heartbeat => Event::Heartbeat(pb::Heartbeat {}),
            Part::Delta(items) => {
                let change = |(kind, container)| pb::ContainerChange {
                    kind: change_kind(kind).into(),
                    container: Some(container),
                };
                let changes = items.into_iter().map(change).collect();
                Event::Delta(pb::ContainerDelta { changes })
            }
        };
        frames::framed(&pb::WatchContainersResponse {
            position: Some(position),
            resume_token,
            event: Some(event),
        })
    }
}

const fn change_kind(kind: ChangeKind) -> pb::ContainerChangeKind {
    match kind {
        ChangeKind::Added => pb::ContainerChangeKind::Added,
        ChangeKind::Updated => pb::ContainerChangeKind::Updated,
        ChangeKind::Removed => pb::ContainerChangeKind::Removed,
    }
}

fn container(held: &NodeContainer) -> pb::Container {
    let summary = &*held.summary;
    let port = |port: &crate::hub::containers::summary::PortMapping| pb::ContainerPort {
        container_port: port.container_port.into(),
        protocol: port.protocol.clone(),
        host_ip: port.host_ip.clone(),
        host_port: port.host_port.into(),
    };
    let started = summary.started_unix_ms;
    pb::Container {
        id: summary.id.to_string(),
        name: summary.name.clone(),
        node: held.node.to_string(),
        image: summary.image.clone(),
        image_id: summary.image_id.clone(),
        state: summary.state.clone(),
        health: health(summary.health).into(),
        labels: summary.labels.clone(),
        ports: summary.ports.iter().map(port).collect(),
        ip_by_network: summary.ip_by_network.clone(),
        created_at: Some(timestamp(summary.created_unix_ms)),
        started_at: (started > 0).then(|| timestamp(started)),
        exit_code: summary.exit_code,
        roles: summary.roles.clone(),
        changed_revision: 0,
        stale_since: held.stale.map(|stale| timestamp(stale.since_unix_ms)),
        stale_reason: match held.stale.map(|stale| stale.reason) {
            None => pb::StaleReason::Unspecified,
            Some(StaleReason::Node) => pb::StaleReason::Node,
            Some(StaleReason::Engine) => pb::StaleReason::Engine,
        }
        .into(),
        labels_left_out: summary.labels_left_out,
        local: held.is_local,
        files: match summary.files {
            Files::None => pb::FileDelivery::Unspecified,
            Files::Pending => pb::FileDelivery::Pending,
            Files::Delivered => pb::FileDelivery::Delivered,
            Files::Undeliverable(_) => pb::FileDelivery::Undeliverable,
        }
        .into(),
        files_problem: summary.files.problem().to_owned(),
    }
}

/// A health for the outside.
pub(crate) fn health(health: Health) -> pb::ContainerHealth {
    match health {
        Health::None => pb::ContainerHealth::None,
        Health::Starting => pb::ContainerHealth::Starting,
        Health::Healthy => pb::ContainerHealth::Healthy,
        Health::Unhealthy => pb::ContainerHealth::Unhealthy,
    }
}

/// The containers of a hub.
fn source(hub: &Hub) -> Source<'_, Containers> {
    Source {
        epoch: hub.epoch(),
        store: hub.containers().store(),
    }
}

/// The service.
#[derive(Debug)]
pub(crate) struct ContainerCalls {
    hub: Arc<Hub>,
    views: Views<Containers>,
    inspector: Inspector,
    metrics: Metrics,
    decode_max: usize,
}

/// The service with its streams.
pub(crate) fn service(
    calls: Arc<ContainerCalls>,
) -> WithStreams<ContainerServiceServer<ContainerCalls>, ContainerCalls> {
    let server = ContainerServiceServer::from_arc(Arc::clone(&calls));
    let server = server.max_decoding_message_size(calls.decode_max);
    WithStreams::new(server, calls)
}

impl ContainerCalls {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        inspector: Inspector,
        metrics: &Metrics,
        decode_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::clone(hub),
            views: Views::new(),
            inspector,
            metrics: metrics.clone(),
            decode_max,
        })
    }

    fn watch(&self, request: pb::WatchContainersRequest) -> Result<Watch<Containers>, Status> {
        let ask = Ask {
            token: request.resume_token,
            once: request.snapshot_only,
            heartbeat: heartbeat_interval(request.heartbeat_interval)?,
            pause: min_interval(request.min_interval, Duration::ZERO)?,
        };
        let filter = request.filter.unwrap_or_default();
        let filter = ContainerFilter::compile(filter, request.local_only)?;
        let view = self.views.of(filter);
        let count = self.metrics.deliveries("WatchContainers");
        let counts = (self.metrics.clone(), count);
        Watch::open(Arc::clone(&self.hub), source, view, ask, counts)
    }
}

impl Streams for ContainerCalls {
    fn open(self: &Arc<Self>, method: &str, body: Body) -> Opened {
        match method {
            "WatchContainers" => Opened::stream(self, body, self.decode_max, Self::watch),
            _ => Opened::Other(body),
        }
    }
}

#[tonic::async_trait]
impl ContainerService for ContainerCalls {
    async fn inspect_container(
        &self,
        request: Request<pb::InspectContainerRequest>,
    ) -> Result<Response<pb::InspectContainerResponse>, Status> {
        let capabilities = request.extensions().get::<Capabilities>();
        let secrets = capabilities.is_some_and(|held| held.contains(&Capability::Admin));
        let request = request.into_inner();
        let asked = Asked::read(&request.container, &request.node)?;
        let found = find(&self.hub, &asked)?;
        let node = found.container.node.to_string();
        let inspection = self.inspector.inspect(&found, secrets).await?;
        Ok(Response::new(pb::InspectContainerResponse {
            node,
            inspect_json: inspection.json.into(),
            redacted: inspection.redacted,
            stale_since: inspection.stale_since_unix_ms.map(timestamp),
        }))
    }
}
