//! A versioned table: readers ask what changed since a revision.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::lock;

/// Removals that are remembered; beyond it the oldest go, and readers that have
/// not seen them must read everything again.
pub const TOMBSTONES_MAX: usize = 65_536;

/// How long a removal is remembered.
pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Pointers copied under one hold of the lock. Longer reads take several holds,
/// so that the writer waits for microseconds at most.
pub const PAGE_ITEMS: usize = 1_024;

/// What to do with one key.
#[derive(Debug, Clone)]
pub enum Update<K, V> {
    /// Insert or replace.
    Put(K, Arc<V>),
    /// Remove.
    Remove(K),
}

/// A value and when it changed.
#[derive(Debug)]
pub struct Entry<V> {
    /// The value; of a removed key the last one.
    pub value: Arc<V>,
    /// Revision at which the key appeared.
    pub created: u64,
    /// As `created`, or, if the key was removed and came back while the removal was
    /// remembered, the revision of its first appearance. Who read the table before
    /// this revision has never held the key.
    pub first: u64,
    /// Revision of the last change.
    pub changed: u64,
    /// Wall clock of the last change, milliseconds.
    pub changed_unix_ms: u64,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

/// The last change of one key.
#[derive(Debug, Clone)]
pub struct Change<K, V> {
    /// Whose.
    pub key: K,
    /// State after it.
    pub entry: Entry<V>,
    /// The key is gone.
    pub removed: bool,
}

/// Everything that changed between two revisions, each key once, ordered by the
/// revision of its last change.
#[derive(Debug)]
pub struct Changes<K, V> {
    /// Applied to the state at the revision asked from, this gives the state at
    /// this revision.
    pub revision: u64,
    /// The changes.
    pub items: Vec<Change<K, V>>,
}

/// Removals since the revision asked from are no longer remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("removals since that revision are no longer remembered")]
pub struct Behind;

/// The table. All methods take `&self`; writers are serialised.
#[derive(Debug)]
pub struct Store<K, V> {
    inner: Mutex<Inner<K, V>>,
    current: AtomicU64,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner<K, V> {
    revision: u64,
    entries: BTreeMap<K, Entry<V>>,
    tombstones: BTreeMap<K, Entry<V>>,
    /// Keys by the revision of their last change; each key is in it once.
    log: BTreeMap<u64, BTreeSet<K>>,
    /// The tombstones, oldest first.
    removals: BTreeSet<(u64, K)>,
    /// Revision of the newest removal that was forgotten.
    horizon: u64,
}

impl<K, V> Default for Store<K, V>
where
    K: Ord + Clone,
    V: PartialEq,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Store<K, V>
where
    K: Ord + Clone,
    V: PartialEq,
{
    /// An empty table at revision 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                revision: 0,
                entries: BTreeMap::new(),
                tombstones: BTreeMap::new(),
                log: BTreeMap::new(),
                removals: BTreeSet::new(),
                horizon: 0,
            }),
            current: AtomicU64::new(0),
            revision: watch::Sender::new(0),
        }
    }

    /// Applies a batch as one revision and wakes the readers once. Returns the
    /// revision after it: the old one if nothing changed.
    pub fn apply(&self, batch: Vec<Update<K, V>>, unix_ms: u64) -> u64 {
        let (revision, grew) = {
            let mut inner = lock(&self.inner);
            let next = inner.revision + 1;
            let mut grew = false;
            for update in batch {
                grew |= inner.apply(update, next, unix_ms);
            }
            if grew {
                inner.revision = next;
            }
            inner.forget(unix_ms);
            self.current.store(inner.revision, Ordering::Release);
            (inner.revision, grew)
        };
        if grew {
            self.revision.send_replace(revision);
        }
        revision
    }

    /// The revision now.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// Tells of every new revision; several may merge.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Keys held now.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.inner).entries.len()
    }

    /// No key is held now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Entry<V>> {
        lock(&self.inner).entries.get(key).cloned()
    }

    /// The first entry at or after `from` that fits, while keys are `near`.
    #[must_use]
    pub fn find(
        &self,
        from: &K,
        near: impl Fn(&K) -> bool,
        fits: impl Fn(&V) -> bool,
    ) -> Option<Entry<V>> {
        let inner = lock(&self.inner);
        let mut at = inner.entries.range(from..).take_while(|(key, _)| near(key));
        at.find(|(_, entry)| fits(&entry.value))
            .map(|(_, entry)| entry.clone())
    }

    /// What changed after `since`.
    ///
    /// # Errors
    /// [`Behind`] if removals since then were forgotten, or if `since` is ahead of
    /// the table. From 0 there is always an answer.
    pub fn changes_since(&self, since: u64) -> Result<Changes<K, V>, Behind> {
        let mut items = Vec::new();
        let mut cursor = (since, None);
        let mut horizon = None;
        loop {
            let inner = lock(&self.inner);
            if since != 0 && (since < inner.horizon || since > inner.revision) {
                return Err(Behind);
            }
            if *horizon.get_or_insert(inner.horizon) != inner.horizon {
                // Something copied earlier may be gone without a trace: read again.
                items.clear();
                cursor = (since, None);
                horizon = Some(inner.horizon);
            }
            if inner.page(&mut cursor, &mut items) {
                let revision = inner.revision;
                drop(inner);
                let items = latest(items);
                return Ok(Changes { revision, items });
            }
        }
    }
}

/// Keeps the last change of each key. Only reads of more than one page can hold a
/// key twice, when it changed between two pages.
fn latest<K: Ord + Clone, V>(items: Vec<Change<K, V>>) -> Vec<Change<K, V>> {
    if items.len() <= PAGE_ITEMS {
        return items;
    }
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> = items
        .into_iter()
        .rev()
        .filter(|change| seen.insert(change.key.clone()))
        .collect();
    kept.reverse();
    kept
}

impl<K: Ord + Clone, V: PartialEq> Inner<K, V> {
    fn apply(&mut self, update: Update<K, V>, revision: u64, unix_ms: u64) -> bool {
        match update {
            Update::Put(key, value) => self.put(key, value, revision, unix_ms),
            Update::Remove(key) => self.remove(key, revision, unix_ms),
        }
    }

    fn put(&mut self, key: K, value: Arc<V>, revision: u64, unix_ms: u64) -> bool {
        let old = self.entries.get(&key);
        if old.is_some_and(|old| old.value == value) {
            return false;
        }
        let mut entry = Entry {
            value,
            created: revision,
            first: revision,
            changed: revision,
            changed_unix_ms: unix_ms,
        };
        let before = if let Some(old) = old {
            entry.created = old.created;
            entry.first = old.first;
            Some(old.changed)
        } else if let Some(old) = self.tombstones.remove(&key) {
            entry.first = old.first;
            self.removals.remove(&(old.changed, key.clone()));
            Some(old.changed)
        } else {
            None
        };
        if let Some(before) = before {
            self.unlog(before, &key);
        }
        self.log.entry(revision).or_default().insert(key.clone());
        self.entries.insert(key, entry);
        true
    }

    fn remove(&mut self, key: K, revision: u64, unix_ms: u64) -> bool {
        let Some(mut entry) = self.entries.remove(&key) else {
            return false;
        };
        self.unlog(entry.changed, &key);
        entry.changed = revision;
        entry.changed_unix_ms = unix_ms;
        self.log.entry(revision).or_default().insert(key.clone());
        self.removals.insert((revision, key.clone()));
        self.tombstones.insert(key, entry);
        true
    }

    fn unlog(&mut self, revision: u64, key: &K) {
        if let Some(keys) = self.log.get_mut(&revision) {
            keys.remove(key);
            if keys.is_empty() {
                self.log.remove(&revision);
            }
        }
    }

    /// Forgets removals that are too many or too old, oldest first.
    fn forget(&mut self, unix_ms: u64) {
        let age = u64::try_from(TOMBSTONE_AGE.as_millis()).unwrap_or(u64::MAX);
        while let Some((revision, key)) = self.removals.first().cloned() {
            let old = self.tombstones.get(&key);
            let due = old.is_none_or(|old| old.changed_unix_ms.saturating_add(age) < unix_ms);
            if !due && self.tombstones.len() <= TOMBSTONES_MAX {
                return;
            }
            self.removals.pop_first();
            self.tombstones.remove(&key);
            self.unlog(revision, &key);
            self.horizon = revision;
        }
    }

    /// Copies up to [`PAGE_ITEMS`] changes after the cursor; true at the end.
    fn page(&self, cursor: &mut (u64, Option<K>), items: &mut Vec<Change<K, V>>) -> bool {
        let mut room = PAGE_ITEMS;
        let first = cursor.0;
        for (&revision, keys) in self.log.range(first..) {
            let after = match &cursor.1 {
                Some(key) if revision == first => Bound::Excluded(key.clone()),
                None if revision == first => continue,
                _ => Bound::Unbounded,
            };
            for key in keys.range((after, Bound::Unbounded)) {
                if room == 0 {
                    return false;
                }
                room -= 1;
                items.extend(self.change(key));
                *cursor = (revision, Some(key.clone()));
            }
        }
        true
    }

    fn change(&self, key: &K) -> Option<Change<K, V>> {
        let held = self.entries.get(key).map(|entry| (entry, false));
        let (entry, removed) =
            held.or_else(|| self.tombstones.get(key).map(|entry| (entry, true)))?;
        Some(Change {
            key: key.clone(),
            entry: entry.clone(),
            removed,
        })
    }
}

#[cfg(test)]
mod tests;
