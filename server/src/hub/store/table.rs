//! The table itself, without lock and readers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Removals that are remembered; beyond it the oldest go, and readers that have
/// not seen them must read everything again.
pub const TOMBSTONES_MAX: usize = 65_536;

/// How long a removal is remembered.
pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

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

/// Keys, values and the order of their last changes. Revisions are the caller's and only
/// grow; a view of another table uses the revisions of that table.
#[derive(Debug)]
pub struct Table<K, V> {
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

impl<K: Ord + Clone, V: PartialEq> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone, V: PartialEq> Table<K, V> {
    /// An empty table at revision 0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            revision: 0,
            entries: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            log: BTreeMap::new(),
            removals: BTreeSet::new(),
            horizon: 0,
        }
    }

    /// A table that was read at once from another one: it knows nothing of what was
    /// before `revision`.
    #[must_use]
    pub fn from_entries(entries: impl Iterator<Item = (K, Entry<V>)>, revision: u64) -> Self {
        let mut table = Self::new();
        for (key, entry) in entries {
            let keys = table.log.entry(entry.changed).or_default();
            keys.insert(key.clone());
            table.entries.insert(key, entry);
        }
        table.revision = revision;
        table.horizon = revision;
        table
    }

    /// Applies one update at a revision that is not below the last one. False if
    /// it changed nothing.
    pub fn apply(&mut self, update: Update<K, V>, revision: u64, unix_ms: u64) -> bool {
        let changed = match update {
            Update::Put(key, value) => self.put(key, value, revision, unix_ms),
            Update::Remove(key) => self.remove(key, revision, unix_ms),
        };
        if changed {
            self.revision = revision;
        }
        changed
    }

    /// Revision of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Readers that were last here before this revision must start again.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Keys held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One entry.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&Entry<V>> {
        self.entries.get(key)
    }

    /// Every entry, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Entry<V>)> {
        self.entries.iter()
    }

    /// Entries from a key on.
    pub fn range<'a>(&'a self, from: &K) -> impl Iterator<Item = (&'a K, &'a Entry<V>)> {
        self.entries.range(from..)
    }

    /// Whether the changes after `since` are all remembered.
    ///
    /// # Errors
    /// [`Behind`] if not, or if `since` is ahead of the table.
    pub fn knows(&self, since: u64) -> Result<(), Behind> {
        if since != 0 && (since < self.horizon || since > self.revision) {
            return Err(Behind);
        }
        Ok(())
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
    pub fn forget(&mut self, unix_ms: u64) {
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

    /// Copies up to `room` changes after the cursor (a revision, and a key in it or
    /// all of it); true at the end.
    pub fn page(
        &self,
        cursor: &mut (u64, Option<K>),
        mut room: usize,
        items: &mut Vec<Change<K, V>>,
    ) -> bool {
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
