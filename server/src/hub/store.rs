//! A versioned table with one writer and many readers, who ask what changed since
//! a revision.

pub mod table;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

pub use self::table::{
    Behind, Change, Changes, Entry, TOMBSTONE_AGE, TOMBSTONES_MAX, Table, Update,
};
use super::lock;
use super::signal::{Listener, Signal};

/// Pointers copied under one hold of the lock. Longer reads take several holds,
/// so that the writer waits for microseconds at most.
pub const PAGE_ITEMS: usize = 1_024;

/// The table. All methods take `&self`; writers are serialised.
#[derive(Debug)]
pub struct Store<K, V> {
    inner: Mutex<Table<K, V>>,
    current: AtomicU64,
    revision: watch::Sender<u64>,
    signal: Arc<Signal>,
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
            inner: Mutex::new(Table::new()),
            current: AtomicU64::new(0),
            revision: watch::Sender::new(0),
            signal: Arc::default(),
        }
    }

    /// Applies a batch as one revision and wakes the readers once. Returns the
    /// revision after it: the old one if nothing changed.
    pub fn apply(&self, batch: Vec<Update<K, V>>, unix_ms: u64) -> u64 {
        let (revision, grew) = {
            let mut inner = lock(&self.inner);
            let next = inner.revision() + 1;
            let mut grew = false;
            for update in batch {
                grew |= inner.apply(update, next, unix_ms);
            }
            inner.forget(unix_ms);
            self.current.store(inner.revision(), Ordering::Release);
            (inner.revision(), grew)
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

    /// As [`Store::subscribe`], for the many streams of the API.
    #[must_use]
    pub fn listen(&self) -> Listener {
        self.signal.listen()
    }

    /// Keeps those who listen told; see [`Signal::relay`].
    pub async fn relay(&self) {
        self.signal.relay(self.subscribe()).await;
    }

    /// Whether the changes after a revision are all remembered.
    #[must_use]
    pub fn knows(&self, since: u64) -> bool {
        lock(&self.inner).knows(since).is_ok()
    }

    /// Keys held now.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.inner).len()
    }

    /// No key is held now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Entry<V>> {
        lock(&self.inner).get(key).cloned()
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
        let mut at = inner.range(from).take_while(|(key, _)| near(key));
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
            inner.knows(since)?;
            if *horizon.get_or_insert(inner.horizon()) != inner.horizon() {
                // Something copied earlier may be gone without a trace: read again.
                items.clear();
                cursor = (since, None);
                horizon = Some(inner.horizon());
            }
            if inner.page(&mut cursor, PAGE_ITEMS, &mut items) {
                let revision = inner.revision();
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

#[cfg(test)]
mod tests;
