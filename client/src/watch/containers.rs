//! Containers as a watch has them.

use tonic::transport::Channel;

use super::kind::{Ask, Event, Message, Sealed, Step, Watched, heartbeat, min_interval};
use crate::link::Opening;
use crate::pb;
use crate::pb::container_service_client::ContainerServiceClient;
use pb::watch_containers_response::Event as Told;

/// Containers, as something to watch.
#[derive(Debug, Clone, Copy)]
pub enum Containers {}

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct ContainerWatchOptions {
    /// Which containers; empty: all, stopped ones too.
    pub filter: pb::ContainerFilter,
    /// Only those of the daemon's own engine.
    pub local_only: bool,
    /// Least time between two updates, changes merge meanwhile; at most 60 s.
    pub min_interval: std::time::Duration,
}

impl Sealed for Containers {}

impl Watched for Containers {
    type Item = pb::Container;
    type Options = ContainerWatchOptions;
    /// Node and id.
    type Key = (String, String);
    type Response = pb::WatchContainersResponse;

    const CALL: &'static str = "WatchContainers";

    fn open(
        channel: Channel,
        options: &ContainerWatchOptions,
        ask: Ask<'_>,
    ) -> Opening<pb::WatchContainersResponse> {
        let request = pb::WatchContainersRequest {
            filter: Some(options.filter.clone()),
            local_only: options.local_only,
            resume_token: ask.token(),
            snapshot_only: ask.is_once(),
            heartbeat_interval: heartbeat(),
            min_interval: min_interval(options.min_interval),
        };
        let mut client = ContainerServiceClient::new(channel);
        Box::pin(async move { client.watch_containers(request).await })
    }

    fn read(message: pb::WatchContainersResponse) -> Message<pb::Container> {
        let event = message.event.map(|told| match told {
            Told::SnapshotBegin(begin) => Event::Begin(begin.reason()),
            Told::SnapshotPart(part) => Event::Part(part.containers),
            Told::SnapshotEnd(end) => Event::End { count: end.items },
            Told::Resumed(_) => Event::Resumed,
            Told::Delta(delta) => {
                Event::Delta(delta.changes.into_iter().filter_map(step).collect())
            }
            Told::Heartbeat(_) => Event::Heartbeat,
        });
        Message {
            position: message.position,
            token: message.resume_token,
            event,
        }
    }

    fn key(container: &pb::Container) -> (String, String) {
        (container.node.clone(), container.id.clone())
    }
}

fn step(change: pb::ContainerChange) -> Option<Step<pb::Container>> {
    let step = match change.kind() {
        pb::ContainerChangeKind::Removed => Step::Remove,
        pb::ContainerChangeKind::Unspecified
        | pb::ContainerChangeKind::Added
        | pb::ContainerChangeKind::Updated => Step::Put,
    };
    change.container.map(step)
}
