//! Views: what a filter lets through, and the messages that tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use muster_proto::v1 as pb;
use prost::Message as _;

use super::super::limits::{
    DELTAS_CACHED_MAX, GROUPS_MAX, MESSAGE_BYTES_MAX, MESSAGE_SLACK_BYTES, PART_ITEMS_MAX,
};
use super::token::{Token, filter_hash};
use super::{ChangeKind, Part, Watched};
use crate::hub::lock;
use crate::hub::store::{Change, Entry, Store, Table, Update};

/// The store that views are made of, and who made the epoch.
#[derive(Debug)]
pub(crate) struct Source<'a, W: Watched> {
    pub(crate) epoch: &'a str,
    pub(crate) store: &'a Store<W::Key, W::Value>,
}

/// A view of one filter.
#[derive(Debug)]
pub(crate) struct View<W: Watched> {
    filter: W::Filter,
    hash: u64,
    /// Empty in a view that one watch has for itself.
    shared: Option<Mutex<State<W>>>,
}

#[derive(Debug)]
struct State<W: Watched> {
    /// What the filter lets through, with the store's revisions.
    table: Option<Table<W::Key, W::Value>>,
    /// Revision of the store that the table was brought to.
    revision: u64,
    /// Deltas to `revision`, by the revision that they start from.
    deltas: BTreeMap<u64, Step>,
    /// Parts and end of a snapshot at `revision`.
    snapshot: Option<Snapshot>,
}

/// Encoded messages of a snapshot without its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) items: u32,
    pub(crate) messages: Arc<[Bytes]>,
}

/// What brings a watch forward.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Nothing in the view changed.
    Nothing,
    /// One message. `revisions`: how many revisions with changes merged in it.
    Delta { message: Bytes, revisions: u64 },
    /// The changes are too many for one message or no longer known.
    Resync,
}

impl<W: Watched> View<W> {
    fn new(filter: W::Filter, shared: bool) -> Self {
        let state = State {
            table: None,
            revision: 0,
            deltas: BTreeMap::new(),
            snapshot: None,
        };
        Self {
            hash: filter_hash(&[W::KIND, W::key(&filter)].concat()),
            filter,
            shared: shared.then(|| Mutex::new(state)),
        }
    }

    /// The filter's short name in tokens.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether other watches use the same view.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// A token of this view.
    pub(crate) fn token(&self, source: &Source<'_, W>, revision: u64) -> String {
        Token::encode(source.epoch, revision, self.hash)
    }

    /// One message of this view's watches.
    pub(crate) fn message(
        &self,
        source: &Source<'_, W>,
        revision: u64,
        resumable: bool,
        part: Part<W::Item>,
    ) -> Bytes {
        let position = pb::Position {
            epoch: source.epoch.to_owned(),
            revision,
        };
        let token = resumable.then(|| self.token(source, revision));
        W::message(position, token.unwrap_or_default(), part)
    }

    /// What brings a watch from a revision to the present one, which is returned.
    pub(crate) fn step(&self, source: &Source<'_, W>, from: u64) -> (u64, Step) {
        let Some(shared) = &self.shared else {
            return self.step_from_store(source, from);
        };
        let mut state = lock(shared);
        let table = state.advance(source, &self.filter);
        if table.revision() <= from {
            return (state.revision, Step::Nothing);
        }
        if from < table.horizon() {
            drop(state);
            return self.step_from_store(source, from);
        }
        let revision = state.revision;
        if let Some(step) = state.deltas.get(&from) {
            return (revision, step.clone());
        }
        let mut changes = Vec::new();
        if let Some(table) = &state.table {
            table.page(&mut (from, None), usize::MAX, &mut changes);
        }
        let step = self.delta(source, from, revision, changes);
        if state.deltas.len() < DELTAS_CACHED_MAX {
            state.deltas.insert(from, step.clone());
        }
        (revision, step)
    }

    /// The same without a view. What left the view cannot be told from what was never
    /// in it, so removals may be of items that the watch does not hold; nor can what
    /// changed be told from what entered, so it is told as added, which replaces.
    fn step_from_store(&self, source: &Source<'_, W>, from: u64) -> (u64, Step) {
        let Ok(changes) = source.store.changes_since(from) else {
            return (from, Step::Resync);
        };
        let changed = changes.items.into_iter().map(|mut change| {
            change.removed |= !W::matches(&self.filter, &change.entry.value);
            change
        });
        let everything = W::key(&self.filter).is_empty();
        let changed = changed.map(|mut change| {
            if !everything && !change.removed {
                change.entry.created = change.entry.changed;
            }
            change
        });
        let step = self.delta(source, from, changes.revision, changed.collect());
        (changes.revision, step)
    }

    fn delta(
        &self,
        source: &Source<'_, W>,
        from: u64,
        to: u64,
        changes: Vec<Change<W::Key, W::Value>>,
    ) -> Step {
        let mut items = Vec::new();
        let mut bytes = MESSAGE_SLACK_BYTES;
        let (mut revisions, mut last) = (0, 0);
        for change in changes {
            let entry = &change.entry;
            let kind = match change.removed {
                true if entry.first > from => continue,
                true => ChangeKind::Removed,
                false if entry.created > from => ChangeKind::Added,
                false => ChangeKind::Updated,
            };
            revisions += u64::from(entry.changed != last);
            last = entry.changed;
            let item = W::item(entry);
            bytes += item.encoded_len() + ITEM_OVERHEAD;
            if bytes > MESSAGE_BYTES_MAX && !items.is_empty() {
                return Step::Resync;
            }
            items.push((kind, item));
        }
        if items.is_empty() {
            return Step::Nothing;
        }
        let message = self.message(source, to, true, Part::Delta(items));
        Step::Delta { message, revisions }
    }

    /// The whole view.
    pub(crate) fn snapshot(&self, source: &Source<'_, W>) -> Snapshot {
        let Some(shared) = &self.shared else {
            let (revision, entries) = self.entries(source);
            return self.encode_snapshot(source, revision, entries.iter());
        };
        let mut state = lock(shared);
        state.advance(source, &self.filter);
        if let Some(snapshot) = &state.snapshot {
            return snapshot.clone();
        }
        let entries = state.table.iter().flat_map(Table::iter);
        let entries = entries.map(|(_, entry)| entry);
        let snapshot = self.encode_snapshot(source, state.revision, entries);
        state.snapshot = Some(snapshot.clone());
        snapshot
    }

    fn encode_snapshot<'e>(
        &self,
        source: &Source<'_, W>,
        revision: u64,
        entries: impl Iterator<Item = &'e Entry<W::Value>>,
    ) -> Snapshot {
        let mut messages = Vec::new();
        let (mut part, mut bytes, mut items) = (Vec::new(), MESSAGE_SLACK_BYTES, 0);
        for entry in entries {
            let item = W::item(entry);
            let length = item.encoded_len() + ITEM_OVERHEAD;
            let full = part.len() == PART_ITEMS_MAX || bytes + length > MESSAGE_BYTES_MAX;
            if full && !part.is_empty() {
                let whole = Part::Items(std::mem::take(&mut part));
                messages.push(self.message(source, revision, false, whole));
                bytes = MESSAGE_SLACK_BYTES;
            }
            bytes += length;
            items += 1;
            part.push(item);
        }
        if !part.is_empty() {
            messages.push(self.message(source, revision, false, Part::Items(part)));
        }
        let end = Part::End(pb::SnapshotEnd { items });
        messages.push(self.message(source, revision, true, end));
        Snapshot {
            revision,
            items,
            messages: messages.into(),
        }
    }

    /// Every entry of the view by key, and the store's revision.
    pub(crate) fn entries(&self, source: &Source<'_, W>) -> (u64, Vec<Entry<W::Value>>) {
        if let Some(shared) = &self.shared {
            let mut state = lock(shared);
            let table = state.advance(source, &self.filter);
            let entries = table.iter().map(|(_, entry)| entry.clone()).collect();
            return (state.revision, entries);
        }
        let (revision, entries) = read_all::<W>(source, &self.filter);
        (revision, entries.into_values().collect())
    }

    /// Revision of the last change in the view, and the store's revision. Without a
    /// shared view every change of the store counts.
    pub(crate) fn last_change(&self, source: &Source<'_, W>) -> (u64, u64) {
        let Some(shared) = &self.shared else {
            let revision = source.store.revision();
            return (revision, revision);
        };
        let mut state = lock(shared);
        let changed = state.advance(source, &self.filter).revision();
        (changed, state.revision)
    }
}

/// Bytes around an item in its list: tags, lengths and the kind of change.
const ITEM_OVERHEAD: usize = 16;

type Entries<W> = BTreeMap<<W as Watched>::Key, Entry<<W as Watched>::Value>>;

fn read_all<W: Watched>(source: &Source<'_, W>, filter: &W::Filter) -> (u64, Entries<W>) {
    // From revision 0 there is always an answer.
    let Ok(changes) = source.store.changes_since(0) else {
        return (0, BTreeMap::new());
    };
    let held = changes.items.into_iter();
    let held = held.filter(|change| !change.removed && W::matches(filter, &change.entry.value));
    let entries = held.map(|change| (change.key, change.entry)).collect();
    (changes.revision, entries)
}

impl<W: Watched> State<W> {
    /// Brings the view to the store's present revision.
    fn advance(&mut self, source: &Source<'_, W>, filter: &W::Filter) -> &Table<W::Key, W::Value> {
        if self.table.is_some() && self.revision == source.store.revision() {
            return self.table.get_or_insert_default();
        }
        self.deltas.clear();
        self.snapshot = None;
        let changes = match &self.table {
            Some(_) => source.store.changes_since(self.revision).ok(),
            None => None,
        };
        let Some(changes) = changes else {
            let (revision, entries) = read_all::<W>(source, filter);
            self.revision = revision;
            return self
                .table
                .insert(Table::from_entries(entries.into_iter(), revision));
        };
        self.revision = changes.revision;
        let table = self.table.get_or_insert_default();
        for Change {
            key,
            entry,
            removed,
        } in changes.items
        {
            let update = match !removed && W::matches(filter, &entry.value) {
                true => Update::Put(key, entry.value),
                false => Update::Remove(key),
            };
            table.apply(update, entry.changed, entry.changed_unix_ms);
            table.forget(entry.changed_unix_ms);
        }
        table
    }
}

/// The views in use, by filter.
#[derive(Debug)]
pub(crate) struct Views<W: Watched> {
    views: Mutex<BTreeMap<Vec<u8>, Arc<View<W>>>>,
}

impl<W: Watched> Views<W> {
    pub(crate) fn new() -> Self {
        Self {
            views: Mutex::new(BTreeMap::new()),
        }
    }

    /// The view of a filter: shared while there are at most [`GROUPS_MAX`] filters
    /// in use. Views that nobody uses stay until their place is needed.
    pub(crate) fn of(&self, filter: W::Filter) -> Arc<View<W>> {
        let mut views = lock(&self.views);
        if let Some(view) = views.get(W::key(&filter)) {
            return Arc::clone(view);
        }
        if views.len() >= GROUPS_MAX {
            views.retain(|_, view| Arc::strong_count(view) > 1);
        }
        let shared = views.len() < GROUPS_MAX;
        let key = shared.then(|| W::key(&filter).to_vec());
        let view = Arc::new(View::new(filter, shared));
        if let Some(key) = key {
            views.insert(key, Arc::clone(&view));
        }
        view
    }
}

#[cfg(test)]
mod tests;
