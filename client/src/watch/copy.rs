//! The copy and the rules of the stream; no I/O.

use std::collections::BTreeMap;

use super::kind::{Event, Message, Step, Watched};
use super::{Change, ChangeKind, Update};
use crate::pb;

/// Most items that a snapshot may hold. Above it the stream is dropped as broken and
/// opened again; clusters end far below.
const SNAPSHOT_ITEMS_MAX: usize = 1 << 20;

/// What a watch holds.
#[derive(Debug)]
pub(super) struct Copy<W: Watched> {
    items: BTreeMap<W::Key, W::Item>,
    position: Option<pb::Position>,
    /// Position of `items`; kept through a half-received snapshot.
    token: String,
    partial: Option<(pb::SnapshotReason, Vec<W::Item>)>,
}

impl<W: Watched> Copy<W> {
    pub(super) const fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            position: None,
            token: String::new(),
            partial: None,
        }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &W::Item> {
        self.items.values()
    }

    pub(super) const fn position(&self) -> Option<&pb::Position> {
        self.position.as_ref()
    }

    /// Where the next stream may go on; empty: nowhere.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The next stream starts with a snapshot.
    pub(super) fn forget_token(&mut self) {
        self.token.clear();
        self.partial = None;
    }

    /// What was received of a snapshot is never completed.
    pub(super) fn forget_partial(&mut self) {
        self.partial = None;
    }

    /// Applies a message. `Err` names the rule that the daemon broke.
    pub(super) fn take(
        &mut self,
        first: bool,
        message: Message<W::Item>,
    ) -> Result<Option<Update<W::Item>>, &'static str> {
        let event = message.event.ok_or("a message without content")?;
        if first && !matches!(event, Event::Begin(_) | Event::Resumed) {
            return Err("the first message was neither `resumed` nor `snapshot_begin`");
        }
        let update = match event {
            Event::Begin(reason) => {
                self.partial = Some((reason, Vec::new()));
                return Ok(None);
            }
            Event::Part(part) => {
                let partial = self.partial.as_mut();
                let (_, held) = partial.ok_or("a snapshot part outside a snapshot")?;
                held.extend(part);
                if held.len() > SNAPSHOT_ITEMS_MAX {
                    return Err("a snapshot without end");
                }
                return Ok(None);
            }
            Event::End { count } => Some(self.finish_snapshot(count)?),
            Event::Resumed if !first || self.token.is_empty() => {
                return Err("`resumed` where nothing was to be resumed");
            }
            Event::Resumed => None,
            Event::Delta(_) | Event::Heartbeat if self.partial.is_some() => {
                return Err("a change inside a snapshot");
            }
            Event::Delta(steps) => self.apply(steps),
            Event::Heartbeat => None,
        };
        if !message.token.is_empty() {
            self.token = message.token;
        }
        if message.position.is_some() {
            self.position = message.position;
        }
        Ok(update)
    }

    fn finish_snapshot(&mut self, count: u32) -> Result<Update<W::Item>, &'static str> {
        let partial = self.partial.take();
        let (reason, items) = partial.ok_or("a snapshot end outside a snapshot")?;
        if u32::try_from(items.len()) != Ok(count) {
            return Err("a snapshot whose count is wrong");
        }
        let held = items.iter().map(|item| (W::key(item), item.clone()));
        self.items = held.collect();
        Ok(Update::Snapshot { reason, items })
    }

    fn apply(&mut self, steps: Vec<Step<W::Item>>) -> Option<Update<W::Item>> {
        let steps = steps.into_iter();
        let changes: Vec<_> = steps.filter_map(|step| self.apply_one(step)).collect();
        (!changes.is_empty()).then_some(Update::Changes(changes))
    }

    fn apply_one(&mut self, step: Step<W::Item>) -> Option<Change<W::Item>> {
        let (kind, before, item) = match step {
            Step::Remove(item) => {
                // Not held: it came and went while this watch looked elsewhere.
                let before = self.items.remove(&W::key(&item))?;
                (ChangeKind::Removed, Some(before), item)
            }
            Step::Put(item) => {
                let before = self.items.insert(W::key(&item), item.clone());
                let kind = match before {
                    Some(_) => ChangeKind::Updated,
                    None => ChangeKind::Added,
                };
                (kind, before, item)
            }
        };
        Some(Change { kind, before, item })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Containers;
    use super::*;
    use pb::watch_containers_response::Event as Told;

    fn container(name: &str, state: &str) -> pb::Container {
        pb::Container {
            id: name.repeat(4),
            name: name.to_owned(),
            node: "n".to_owned(),
            state: state.to_owned(),
            ..pb::Container::default()
        }
    }

    fn message(told: Told) -> Message<pb::Container> {
        Containers::read(pb::WatchContainersResponse {
            resume_token: "t".to_owned(),
            event: Some(told),
            ..pb::WatchContainersResponse::default()
        })
    }

    fn delta(kind: pb::ContainerChangeKind, container: pb::Container) -> Told {
        let change = pb::ContainerChange {
            kind: kind.into(),
            container: Some(container),
        };
        Told::Delta(pb::ContainerDelta {
            changes: vec![change],
        })
    }

    fn begun() -> Copy<Containers> {
        let mut copy = Copy::new();
        let begin = Told::SnapshotBegin(pb::SnapshotBegin::default());
        assert!(copy.take(true, message(begin)).unwrap().is_none());
        let part = Told::SnapshotPart(pb::ContainerList {
            containers: vec![container("a", "running")],
        });
        assert!(copy.take(false, message(part)).unwrap().is_none());
        let end = Told::SnapshotEnd(pb::SnapshotEnd { items: 1 });
        let update = copy.take(false, message(end)).unwrap();
        assert!(matches!(update, Some(Update::Snapshot { items, .. }) if items.len() == 1));
        copy
    }

    #[test]
    fn changes_are_told_with_what_was_before() {
        let mut copy = begun();
        let exited = delta(pb::ContainerChangeKind::Updated, container("a", "exited"));
        let Some(Update::Changes(changes)) = copy.take(false, message(exited)).unwrap() else {
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
        assert_eq!(copy.items().count(), 0);
    }

    #[test]
    fn a_daemon_that_breaks_the_rules_is_found_out() {
        let first = delta(pb::ContainerChangeKind::Added, container("a", "running"));
        assert!(
            Copy::<Containers>::new()
                .take(true, message(first))
                .is_err()
        );
        let mut copy = begun();
        let begin = Told::SnapshotBegin(pb::SnapshotBegin::default());
        assert!(copy.take(false, message(begin)).is_ok());
        let inside = delta(pb::ContainerChangeKind::Added, container("b", "running"));
        assert!(copy.take(false, message(inside)).is_err());
        let end = Told::SnapshotEnd(pb::SnapshotEnd { items: 5 });
        assert!(copy.take(false, message(end)).is_err());
    }
}
