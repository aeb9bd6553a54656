//! Watching containers: a local copy that stays right across restarts of the daemon.

use std::collections::{BTreeMap, VecDeque};

use tonic::transport::Channel;

use crate::error::{Code, Error};
use crate::link::{HEARTBEAT, Link, LinkEvent, Lost};
use crate::member_watch::ChangeKind;
use crate::pb;
use crate::pb::container_service_client::ContainerServiceClient;
use pb::watch_containers_response::Event as Message;

const CALL: &str = "WatchContainers";

/// Most containers that a snapshot may hold. Above it the stream is dropped as broken
/// and opened again; clusters end far below.
const SNAPSHOT_CONTAINERS_MAX: usize = 1 << 20;

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

/// One news of a watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum ContainerUpdate {
    /// The whole view, complete and consistent. Replaces everything before.
    Snapshot {
        /// Why it was sent.
        reason: pb::SnapshotReason,
        /// Ordered by node, then id.
        containers: Vec<pb::Container>,
    },
    /// What changed, as one step. Never empty.
    Changes(Vec<ContainerChange>),
    /// The daemon is gone; the copy stays as it was. The watch goes on by itself.
    Disconnected(Lost),
    /// The daemon is back.
    Reconnected {
        /// True: only what changed meanwhile follows. False: a snapshot follows.
        resumed: bool,
    },
}

/// One changed container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerChange {
    /// What happened to it, seen from the copy that the watch holds.
    pub kind: ChangeKind,
    /// What the copy held before.
    pub before: Option<pb::Container>,
    /// State after the change; for a removal the last known state.
    pub container: pb::Container,
}

/// A watch on containers. Made by [`crate::Client::watch_containers`].
#[derive(Debug)]
pub struct ContainerWatch {
    client: ContainerServiceClient<Channel>,
    options: ContainerWatchOptions,
    link: Link<pb::WatchContainersResponse>,
    copy: Copy,
    pending: VecDeque<ContainerUpdate>,
    lost: bool,
}

/// Node and id.
type Key = (String, String);

/// The copy and the rules of the stream; no I/O.
#[derive(Debug, Default)]
struct Copy {
    containers: BTreeMap<Key, pb::Container>,
    position: Option<pb::Position>,
    /// Position of `containers`; kept through a half-received snapshot.
    token: String,
    partial: Option<(pb::SnapshotReason, Vec<pb::Container>)>,
}

impl ContainerWatch {
    pub(crate) fn new(channel: Channel, options: ContainerWatchOptions) -> Self {
        Self {
            client: ContainerServiceClient::new(channel),
            options,
            link: Link::new(CALL),
            copy: Copy::default(),
            pending: VecDeque::new(),
            lost: false,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself: no later try can change that.
    pub async fn next(&mut self) -> Result<ContainerUpdate, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            let (client, options, token) = (&self.client, &self.options, &self.copy.token);
            let open = || {
                let mut client = client.clone();
                let request = options.request(token);
                Box::pin(async move { client.watch_containers(request).await }) as _
            };
            match self.link.next(open).await {
                Ok(LinkEvent::Message { first, message }) => self.take(first, message),
                Ok(LinkEvent::Lost(lost)) => self.push_lost(lost),
                // A daemon of another version may not read its predecessor's tokens.
                Err(error)
                    if error.code() == Some(Code::InvalidArgument)
                        && !self.copy.token.is_empty() =>
                {
                    self.copy.token.clear();
                    let event = self.link.retry(error);
                    self.push_event_lost(event);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The local copy: as of the last [`ContainerUpdate`] that was handed out.
    pub fn containers(&self) -> impl Iterator<Item = &pb::Container> {
        self.copy.containers.values()
    }

    /// Position of the local copy in the daemon's view; `None` before the first snapshot.
    #[must_use]
    pub const fn position(&self) -> Option<&pb::Position> {
        self.copy.position.as_ref()
    }

    fn take(&mut self, first: bool, message: pb::WatchContainersResponse) {
        if first && self.lost {
            self.lost = false;
            let resumed = matches!(message.event, Some(Message::Resumed(_)));
            let back = ContainerUpdate::Reconnected { resumed };
            self.pending.push_back(back);
        }
        match self.copy.take(first, message) {
            Ok(update) => self.pending.extend(update),
            Err(what) => {
                self.copy.token.clear();
                self.copy.partial = None;
                let event = self.link.violated(what);
                self.push_event_lost(event);
            }
        }
    }

    fn push_event_lost(&mut self, event: LinkEvent<pb::WatchContainersResponse>) {
        if let LinkEvent::Lost(lost) = event {
            self.push_lost(lost);
        }
    }

    fn push_lost(&mut self, lost: Lost) {
        self.lost = true;
        self.copy.partial = None;
        self.pending.push_back(ContainerUpdate::Disconnected(lost));
    }
}

impl ContainerWatchOptions {
    pub(crate) fn request(&self, token: &str) -> pb::WatchContainersRequest {
        pb::WatchContainersRequest {
            filter: Some(self.filter.clone()),
            local_only: self.local_only,
            resume_token: token.to_owned(),
            snapshot_only: false,
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
            min_interval: prost_types::Duration::try_from(self.min_interval)
                .ok()
                .filter(|_| !self.min_interval.is_zero()),
        }
    }
}

impl Copy {
    /// Applies a message. `Err` names the rule that the daemon broke.
    fn take(
        &mut self,
        first: bool,
        message: pb::WatchContainersResponse,
    ) -> Result<Option<ContainerUpdate>, &'static str> {
        let (position, token) = (message.position, message.resume_token);
        let event = message.event.ok_or("a message without content")?;
        if first && !matches!(event, Message::SnapshotBegin(_) | Message::Resumed(_)) {
            return Err("the first message was neither `resumed` nor `snapshot_begin`");
        }
        let update = match event {
            Message::SnapshotBegin(begin) => {
                self.partial = Some((begin.reason(), Vec::new()));
                return Ok(None);
            }
            Message::SnapshotPart(part) => {
                let partial = self.partial.as_mut();
                let (_, held) = partial.ok_or("a snapshot part outside a snapshot")?;
                held.extend(part.containers);
                if held.len() > SNAPSHOT_CONTAINERS_MAX {
                    return Err("a snapshot without end");
                }
                return Ok(None);
            }
            Message::SnapshotEnd(end) => Some(self.finish_snapshot(end.items)?),
            Message::Resumed(_) if !first || self.token.is_empty() => {
                return Err("`resumed` where nothing was to be resumed");
            }
            Message::Resumed(_) => None,
            Message::Delta(_) | Message::Heartbeat(_) if self.partial.is_some() => {
                return Err("a change inside a snapshot");
            }
            Message::Delta(delta) => self.apply(delta),
            Message::Heartbeat(_) => None,
        };
        if !token.is_empty() {
            self.token = token;
        }
        if position.is_some() {
            self.position = position;
        }
        Ok(update)
    }

    fn finish_snapshot(&mut self, items: u32) -> Result<ContainerUpdate, &'static str> {
        let partial = self.partial.take();
        let (reason, containers) = partial.ok_or("a snapshot end outside a snapshot")?;
        if u32::try_from(containers.len()) != Ok(items) {
            return Err("a snapshot whose count is wrong");
        }
        let held = containers.iter();
        self.containers = held.map(|one| (key(one), one.clone())).collect();
        Ok(ContainerUpdate::Snapshot { reason, containers })
    }

    fn apply(&mut self, delta: pb::ContainerDelta) -> Option<ContainerUpdate> {
        let changes = delta.changes.into_iter();
        let changes: Vec<_> = changes
            .filter_map(|change| self.apply_one(change))
            .collect();
        (!changes.is_empty()).then_some(ContainerUpdate::Changes(changes))
    }

    fn apply_one(&mut self, change: pb::ContainerChange) -> Option<ContainerChange> {
        let removed = change.kind() == pb::ContainerChangeKind::Removed;
        let container = change.container?;
        let (kind, before) = if removed {
            // Not held: it came and went while this watch looked elsewhere.
            let before = self.containers.remove(&key(&container))?;
            (ChangeKind::Removed, Some(before))
        } else {
            let before = self.containers.insert(key(&container), container.clone());
            let kind = match before {
                Some(_) => ChangeKind::Updated,
                None => ChangeKind::Added,
            };
            (kind, before)
        };
        Some(ContainerChange {
            kind,
            before,
            container,
        })
    }
}

fn key(container: &pb::Container) -> Key {
    (container.node.clone(), container.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, state: &str) -> pb::Container {
        pb::Container {
            id: name.repeat(4),
            name: name.to_owned(),
            node: "n".to_owned(),
            state: state.to_owned(),
            ..pb::Container::default()
        }
    }

    fn message(event: Message) -> pb::WatchContainersResponse {
        pb::WatchContainersResponse {
            resume_token: "t".to_owned(),
            event: Some(event),
            ..pb::WatchContainersResponse::default()
        }
    }

    fn delta(kind: pb::ContainerChangeKind, container: pb::Container) -> Message {
        let change = pb::ContainerChange {
            kind: kind.into(),
            container: Some(container),
        };
        Message::Delta(pb::ContainerDelta {
            changes: vec![change],
        })
    }

    fn begun() -> Copy {
        let mut copy = Copy::default();
        let begin = Message::SnapshotBegin(pb::SnapshotBegin::default());
        assert!(copy.take(true, message(begin)).unwrap().is_none());
        let part = Message::SnapshotPart(pb::ContainerList {
            containers: vec![container("a", "running")],
        });
        assert!(copy.take(false, message(part)).unwrap().is_none());
        let end = Message::SnapshotEnd(pb::SnapshotEnd { items: 1 });
        let update = copy.take(false, message(end)).unwrap();
        assert!(
            matches!(update, Some(ContainerUpdate::Snapshot { containers, .. }) if containers.len() == 1)
        );
        copy
    }

    #[test]
    fn changes_are_told_with_what_was_before() {
        let mut copy = begun();
        let exited = delta(pb::ContainerChangeKind::Updated, container("a", "exited"));
        let Some(ContainerUpdate::Changes(changes)) = copy.take(false, message(exited)).unwrap()
        else {
            panic!("no change");
        };
        assert_eq!(
            changes[0].before.as_ref().map(|c| c.state.as_str()),
            Some("running")
        );
        let unknown = delta(pb::ContainerChangeKind::Removed, container("z", "exited"));
        assert!(copy.take(false, message(unknown)).unwrap().is_none());
        let gone = delta(pb::ContainerChangeKind::Removed, container("a", "exited"));
        assert!(copy.take(false, message(gone)).unwrap().is_some());
        assert!(copy.containers.is_empty());
    }

    #[test]
    fn a_daemon_that_breaks_the_rules_is_found_out() {
        let first = delta(pb::ContainerChangeKind::Added, container("a", "running"));
        assert!(Copy::default().take(true, message(first)).is_err());
        let mut copy = begun();
        let begin = Message::SnapshotBegin(pb::SnapshotBegin::default());
        assert!(copy.take(false, message(begin)).is_ok());
        let inside = delta(pb::ContainerChangeKind::Added, container("b", "running"));
        assert!(copy.take(false, message(inside)).is_err());
        let end = Message::SnapshotEnd(pb::SnapshotEnd { items: 5 });
        assert!(copy.take(false, message(end)).is_err());
    }
}
