//! The containers of all nodes: a versioned store beside that of the members, made of
//! what members publish.
//!
//! They go when their owner says so and when it is reaped. While the owner, or its
//! engine, cannot say anything they stay and are marked.

mod files;
pub mod summary;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use muster_engine::{Member, MemberKey, Published, Status};
use prometheus_client::metrics::counter::Counter;

use self::summary::{ENGINE_KEY, EngineState, EngineSummary, KEY_PREFIX, Summary};
use super::store::{Store, Update};
use super::{MemberUpdate, lock};

/// Key of a container in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerKey {
    /// Its owner.
    pub member: MemberKey,
    /// The first [`summary::ID_DIGITS`] digits of its id.
    pub id: Arc<str>,
}

/// Why what is known of a container may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReason {
    /// The node has failed or left.
    Node,
    /// The node does not reach its engine.
    Engine,
}

/// Since when what is known of a container may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// Unix milliseconds.
    pub since_unix_ms: u64,
    /// Why.
    pub reason: StaleReason,
}

/// One container of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContainer {
    /// Name of its node, as people are shown it.
    pub node: Arc<str>,
    /// The node is this one.
    pub is_local: bool,
    /// What the node says of it.
    pub summary: Arc<Summary>,
    /// Set while nobody can say whether that is right.
    pub stale: Option<Stale>,
}

/// What one node owns.
#[derive(Debug)]
struct Owner {
    node: Arc<str>,
    is_local: bool,
    /// Since when it is failed or gone.
    down_since: Option<u64>,
    engine: EngineSummary,
    held: BTreeMap<Arc<str>, Arc<Summary>>,
}

/// The containers of all nodes.
#[derive(Debug, Default)]
pub struct Containers {
    store: Store<ContainerKey, NodeContainer>,
    owners: Mutex<BTreeMap<MemberKey, Owner>>,
    pub(super) refused: Counter,
}

impl Containers {
    /// The store, for readers.
    #[must_use]
    pub fn store(&self) -> &Store<ContainerKey, NodeContainer> {
        &self.store
    }

    /// What the nodes say of their engines, those that say something, by node.
    #[must_use]
    pub fn engines(&self) -> Vec<(Arc<str>, EngineSummary)> {
        let owners = lock(&self.owners);
        let said = owners
            .values()
            .filter(|owner| owner.engine.state != EngineState::Off);
        said.map(|owner| (Arc::clone(&owner.node), owner.engine.clone()))
            .collect()
    }

    /// Applies what a batch says of containers: at most one revision.
    pub(super) fn apply(&self, batch: &[MemberUpdate], unix_ms: u64) {
        let mut updates = Vec::new();
        {
            let mut owners = lock(&self.owners);
            for update in batch {
                match update {
                    MemberUpdate::Updated(member) => seen(&mut owners, member, &mut updates),
                    MemberUpdate::Removed(key) => {
                        let gone = owners.remove(key).map(|owner| owner.held);
                        let gone = gone.into_iter().flatten();
                        updates.extend(gone.map(|(id, _)| Update::Remove(container(key, &id))));
                    }
                    MemberUpdate::Published { member, published } => {
                        if let Some(owner) = owners.get_mut(member) {
                            let refused = owner.take(member, published, &mut updates);
                            self.refused.inc_by(refused);
                        }
                    }
                }
            }
        }
        if !updates.is_empty() {
            self.store.apply(updates, unix_ms);
        }
    }
}

type Updates = Vec<Update<ContainerKey, NodeContainer>>;

/// A member appeared or changed: its containers carry its mark.
fn seen(owners: &mut BTreeMap<MemberKey, Owner>, member: &Member, updates: &mut Updates) {
    let down = matches!(member.status, Status::Failed | Status::Left);
    let down_since = down.then_some(member.change.at_unix_ms);
    let key = member.key();
    let Some(owner) = owners.get_mut(&key) else {
        let owner = Owner {
            node: Arc::clone(member.display_name()),
            is_local: member.is_self,
            down_since,
            engine: EngineSummary::default(),
            held: BTreeMap::new(),
        };
        owners.insert(key, owner);
        return;
    };
    if owner.down_since != down_since {
        owner.down_since = down_since;
        owner.mark(&key, updates);
    }
}

impl Owner {
    /// Takes what the node publishes; gives how much of it made no sense.
    fn take(&mut self, of: &MemberKey, published: &Published, updates: &mut Updates) -> u64 {
        let mut refused = 0;
        if published.fresh {
            let named = |id: &Arc<str>| {
                let mut keys = published.changes.iter().map(|(key, _)| key);
                keys.any(|key| key.strip_prefix(KEY_PREFIX) == Some(id))
            };
            let gone: Vec<_> = self.held.keys().filter(|id| !named(id)).cloned().collect();
            for id in gone {
                self.held.remove(&id);
                updates.push(Update::Remove(container(of, &id)));
            }
            self.set_engine(of, None, updates);
        }
        for (key, value) in &published.changes {
            if **key == *ENGINE_KEY {
                self.set_engine(of, value.clone(), updates);
            } else if let Some(id) = key.strip_prefix(KEY_PREFIX) {
                refused += u64::from(!self.set(of, id, value.clone(), updates));
            }
        }
        refused
    }

    fn set(
        &mut self,
        of: &MemberKey,
        id: &str,
        value: Option<Bytes>,
        updates: &mut Updates,
    ) -> bool {
        let told = value.is_some();
        let summary = value.and_then(Summary::decode);
        let id: Arc<str> = Arc::from(id);
        let fits = summary.filter(|summary| summary.id.starts_with(&*id) && !id.is_empty());
        match fits {
            Some(summary) => {
                let summary = Arc::new(summary);
                updates.push(Update::Put(container(of, &id), self.show(&summary)));
                self.held.insert(id, summary);
                true
            }
            None => {
                // What cannot be read is not kept as it was before either.
                self.held.remove(&id);
                updates.push(Update::Remove(container(of, &id)));
                !told
            }
        }
    }

    fn set_engine(&mut self, of: &MemberKey, value: Option<Bytes>, updates: &mut Updates) {
        let engine = value.and_then(EngineSummary::decode).unwrap_or_default();
        let before = self.stale();
        self.engine = engine;
        if self.stale() != before {
            self.mark(of, updates);
        }
    }

    /// Tells of all containers again.
    fn mark(&self, of: &MemberKey, updates: &mut Updates) {
        let all = self.held.iter();
        updates.extend(all.map(|(id, summary)| Update::Put(container(of, id), self.show(summary))));
    }

    fn show(&self, summary: &Arc<Summary>) -> Arc<NodeContainer> {
        Arc::new(NodeContainer {
            node: Arc::clone(&self.node),
            is_local: self.is_local,
            summary: Arc::clone(summary),
            stale: self.stale(),
        })
    }

    fn stale(&self) -> Option<Stale> {
        let node = self.down_since.map(|since_unix_ms| Stale {
            since_unix_ms,
            reason: StaleReason::Node,
        });
        let away = self.engine.state == EngineState::Away;
        let engine = away.then_some(Stale {
            since_unix_ms: self.engine.away_since_unix_ms,
            reason: StaleReason::Engine,
        });
        node.or(engine)
    }
}

fn container(of: &MemberKey, id: &Arc<str>) -> ContainerKey {
    ContainerKey {
        member: of.clone(),
        id: Arc::clone(id),
    }
}

#[cfg(test)]
mod tests;
