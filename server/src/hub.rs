//! What this node knows, for every surface: versioned stores of members and of
//! containers, and a ring of events.
//!
//! One writer (the driver of the engine), any number of readers. Readers pull:
//! the hub keeps nothing per reader and never waits for one. Locks are held for
//! one batch or one page of [`store::PAGE_ITEMS`] pointers, never while encoding
//! or sending.

pub mod containers;
pub mod positions;
pub mod ring;
pub mod signal;
pub mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use muster_engine::{Event, Gap, Member, MemberKey, Origin, Published, Status};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use self::containers::Containers;
use self::ring::EventRing;
use self::store::{Store, Update};
use crate::filter::Targets;

/// One change of the member table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberUpdate {
    /// A member appeared or changed.
    Updated(Arc<Member>),
    /// A member was reaped, or its key changed; what it published goes with it.
    Removed(MemberKey),
    /// What a member publishes changed: nothing for who only watches members.
    Published {
        /// Whose.
        member: MemberKey,
        /// What.
        published: Published,
    },
}

/// One step of the event streams, in order per origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventUpdate {
    /// An event for the consumers of this node.
    Event(Arc<Event>),
    /// Something that is no event for consumers (a query): the position moves.
    Passed {
        /// Whose.
        origin: Origin,
        /// The sequence that was passed.
        sequence: u64,
    },
    /// Events that will never come.
    Gap(Gap),
    /// What came up to `sequence` was before this node's time.
    Base {
        /// Whose events.
        origin: Origin,
        /// Last sequence before this node's time.
        sequence: u64,
    },
}

/// Members and events of one run of the daemon.
#[derive(Debug)]
pub struct Hub {
    epoch: String,
    members: Store<MemberKey, Member>,
    containers: Containers,
    events: EventRing,
    /// This node, once the engine has shown it.
    me: Mutex<Option<Arc<Member>>>,
    targets: Targets,
    elsewhere: Counter,
}

impl Hub {
    /// An empty hub. `epoch` is a random 128-bit number in hex, new at every start:
    /// it is part of every position that is handed out.
    #[must_use]
    pub fn new(epoch: String) -> Self {
        Self {
            epoch,
            members: Store::new(),
            containers: Containers::default(),
            events: EventRing::new(),
            me: Mutex::new(None),
            targets: Targets::default(),
            elsewhere: Counter::default(),
        }
    }

    /// Wakes the streams of the API, on the runtime of the caller; never ends.
    pub async fn relay(&self) {
        tokio::join!(
            self.members.relay(),
            self.containers.store().relay(),
            self.events.relay()
        );
    }

    /// Applies one batch: one revision, one wake-up. Removals of unknown members
    /// and updates that change nothing are left out; a batch of only such makes no
    /// revision.
    pub fn apply_members(&self, batch: Vec<MemberUpdate>) {
        let me = |update: &&MemberUpdate| matches!(update, MemberUpdate::Updated(m) if m.is_self);
        if let Some(MemberUpdate::Updated(me)) = batch.iter().rfind(me) {
            *lock(&self.me) = Some(Arc::clone(me));
        }
        let now = unix_ms();
        self.containers.apply(&batch, now);
        let updates = batch.into_iter().filter_map(|update| match update {
            MemberUpdate::Updated(member) => Some(Update::Put(member.key(), member)),
            MemberUpdate::Removed(key) => Some(Update::Remove(key)),
            MemberUpdate::Published { .. } => None,
        });
        let updates: Vec<_> = updates.collect();
        if !updates.is_empty() {
            self.members.apply(updates, now);
        }
    }

    /// Appends one batch to the event ring: one wake-up. Of an event whose target
    /// this node is not, only the position is kept: what counts is what the node is
    /// when the event comes.
    pub fn push_events(&self, mut batch: Vec<EventUpdate>) {
        for update in &mut batch {
            if let EventUpdate::Event(event) = update
                && !self.is_for_me(event)
            {
                self.elsewhere.inc();
                *update = EventUpdate::Passed {
                    origin: event.origin.clone(),
                    sequence: event.sequence,
                };
            }
        }
        self.events.push(batch);
    }

    /// Whether this node is a target of an event or query.
    #[must_use]
    pub fn is_for_me(&self, event: &Event) -> bool {
        event.target.is_empty()
            || lock(&self.me)
                .as_ref()
                .is_some_and(|me| self.targets.means(&event.target, me))
    }

    /// Alive and suspect members that a target means, this node included.
    #[must_use]
    pub fn meant(&self, target: &Bytes) -> Vec<Arc<Member>> {
        let filter = self.targets.filter(target);
        // From 0 there is always an answer.
        let Ok(all) = self.members.changes_since(0) else {
            return Vec::new();
        };
        let held = all.items.into_iter().filter(|change| !change.removed);
        let live = held.map(|change| change.entry.value).filter(|member| {
            matches!(member.status, Status::Alive | Status::Suspect)
                && (target.is_empty() || filter.as_ref().is_some_and(|f| f.matches(member)))
        });
        live.collect()
    }

    /// This node, once the engine has shown it.
    #[must_use]
    pub fn me(&self) -> Option<Arc<Member>> {
        lock(&self.me).clone()
    }

    /// Registers what the hub counts.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Events that were not for this node";
        registry.register("muster_events_elsewhere", help, self.elsewhere.clone());
        let help = "Container summaries of other members that made no sense";
        let refused = self.containers.refused.clone();
        registry.register("muster_container_summaries_refused", help, refused);
    }

    /// The epoch of every position of this run.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &Store<MemberKey, Member> {
        &self.members
    }

    /// The containers of all nodes.
    #[must_use]
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &EventRing {
        &self.events
    }

    /// A member by name, or by alias (`NAME~<8 hex>`).
    #[must_use]
    pub fn member(&self, name: &str) -> Option<store::Entry<Member>> {
        let (real, aliased) = match name.split_once('~') {
            Some((real, _hex)) => (real, true),
            None => (name, false),
        };
        let from = MemberKey {
            name: Arc::from(real),
            conflict_boot: u64::from(aliased),
        };
        self.members.find(
            &from,
            |key| &*key.name == real && (aliased || key.conflict_boot == 0),
            |member| &**member.display_name() == name,
        )
    }
}

/// Wall clock, for times that people read.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Locks a mutex whose data is valid after every single statement that changes
/// it, so that a panic elsewhere in a holder poisons nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
