//! What a member says about itself: versioned keys with one writer, its owner.
//!
//! Entries are kept and passed on as the owner's original bytes; everything
//! parsed is a view of them. The higher version of a key wins, so merging is
//! commutative, associative and idempotent.
//!
//! The engine knows few keys: `node`, `tags`, `roles`, `roles/<container>`, `ports`,
//! `status`. Others with a slash in them are *published*: handed over to surfaces as
//! they are, see [`Published`]. The version of a record is that up to which *everything*
//! is held; single entries may come before those that were written earlier.

mod entries;
mod parsed;
mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::ident::NodeRef;
use crate::time::Time;
use crate::wire::{RecordDelta, RecordEntry};

use self::entries::Entries;
use self::parsed::parse;
pub(crate) use self::parsed::{
    Parsed, encode_ip, encode_ports, encode_roles, is_container_id, owner_of_delta, tag_is_sound,
};
pub use self::published::Published;
pub(crate) use self::published::is_published;

/// Largest record of one member, all keys, bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 10;

/// Largest tags of one member, encoded, bytes.
pub(crate) const TAGS_BYTES_MAX: usize = 64 << 10;

/// Largest roles of one member, encoded, bytes.
pub(crate) const ROLES_BYTES_MAX: usize = 16 << 10;

/// Largest roles of one member's containers, encoded, bytes.
pub(crate) const CONTAINER_ROLES_BYTES_MAX: usize = 32 << 10;

/// Largest map of published ports of one member, encoded, bytes.
pub(crate) const PORTS_BYTES_MAX: usize = 8 << 10;

/// Longest daemon version, bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 256;

/// Latest time that a record may name, unix milliseconds: the end of the year 9999.
pub(crate) const TIME_MAX: u64 = 253_402_300_799_999;

/// Most keys of one record.
pub(crate) const KEYS_MAX: usize = 4_096;

/// How long a deleted key is remembered, so that no peer brings it back.
pub(crate) const DELETED_KEPT: Duration = Duration::from_secs(3_600);

/// Deleted keys that one record remembers: beyond it the oldest are forgotten early, and
/// a peer that has not heard of them yet takes the whole record.
pub(crate) const DELETED_MAX: usize = 512;

pub(crate) const KEY_NODE: &str = "node";
pub(crate) const KEY_TAGS: &str = "tags";
pub(crate) const KEY_ROLES: &str = "roles";
/// Before the id of a container: the roles that it serves.
pub(crate) const ROLES_OF: &str = "roles/";
pub(crate) const KEY_PORTS: &str = "ports";
pub(crate) const KEY_STATUS: &str = "status";

/// Why a record was refused. All are the sender's fault and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// Bytes that are no record.
    Malformed,
    /// A name, role or tag outside the grammar, or an owner that is not the name's.
    Grammar,
    /// More than a record may hold.
    TooLarge,
}

#[derive(Debug, Clone)]
struct Entry {
    version: u64,
    raw: Bytes,
    deleted_at: Option<Time>,
}

/// What a merge changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Merged {
    /// There are entries that were not held before.
    pub(crate) entries: bool,
    /// Some of them are of keys that the engine knows.
    pub(crate) member: bool,
    /// The version grew.
    pub(crate) version: bool,
}

impl Merged {
    /// Whether anything changed.
    pub(crate) fn is_news(self) -> bool {
        self.entries || self.version
    }
}

/// One member's record, as this node holds it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    owner: NodeRef,
    /// Everything up to it is held.
    version: u64,
    /// Highest version of a deleted key that was forgotten.
    floor: u64,
    entries: Entries,
    /// Bytes of all entries.
    bytes: usize,
    /// Entries of deleted keys.
    deleted: usize,
    parsed: Parsed,
    /// Published keys that changed since surfaces were told.
    untold: BTreeSet<String>,
    /// Surfaces have to start anew with the published keys.
    fresh: bool,
}

impl Record {
    /// A record from its first entries; they must hold the key `node`.
    pub(crate) fn new(now: Time, delta: &RecordDelta) -> Result<Self, RecordError> {
        let owner = NodeRef {
            hash: delta.hash,
            boot: delta.boot,
        };
        let mut record = Self {
            owner,
            version: 0,
            floor: 0,
            entries: Entries::default(),
            bytes: 0,
            deleted: 0,
            parsed: Parsed::nobody(),
            untold: BTreeSet::new(),
            fresh: true,
        };
        record.merge(now, delta)?;
        if record.parsed.name.is_empty() {
            return Err(RecordError::Malformed);
        }
        Ok(record)
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> NodeRef {
        self.owner
    }

    /// The version up to which everything is held.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The parsed view.
    pub(crate) fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the entries that are newer; says what that changed. On an error nothing is
    /// taken.
    pub(crate) fn merge(&mut self, now: Time, delta: &RecordDelta) -> Result<Merged, RecordError> {
        let incoming = decode(delta)?;
        // What was deleted meanwhile is not known any more: start over.
        let anew = delta.floor > self.version;
        let held = if anew { 0 } else { self.version };
        let mut undo = Vec::new();
        if anew {
            let old = self.entries.iter();
            let old = old.filter(|(_, entry)| entry.version <= delta.floor);
            for key in old.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                let entry = self.replace(&key, None);
                undo.push((key, entry));
            }
        }
        for (entry, raw) in incoming {
            let known = self.entries.get(&entry.key);
            if entry.version <= held || known.is_some_and(|known| known.version >= entry.version) {
                continue;
            }
            let kept = Entry {
                version: entry.version,
                // A slice would keep the whole body alive.
                raw: Bytes::copy_from_slice(&raw),
                deleted_at: entry.deleted.then_some(now),
            };
            let old = self.replace(&entry.key, Some(kept));
            undo.push((entry.key, old));
        }
        let member = undo.iter().any(|(key, _)| !is_published(key));
        if let Err(error) = self.check(member) {
            for (key, old) in undo.into_iter().rev() {
                self.replace(&key, old);
            }
            return Err(error);
        }
        let before = self.version;
        if anew || delta.base <= self.version {
            self.version = self.version.max(delta.upto).max(delta.floor);
        }
        self.floor = self.floor.max(delta.floor);
        self.fresh |= anew;
        let merged = Merged {
            entries: !undo.is_empty(),
            member,
            version: self.version > before,
        };
        let published = undo.into_iter().map(|(key, _)| key);
        self.untold
            .extend(published.filter(|key| is_published(key)));
        self.forget_oldest_deleted();
        Ok(merged)
    }

    /// Checks what was put in, and reads it anew if the engine knows the keys.
    fn check(&mut self, member: bool) -> Result<(), RecordError> {
        if self.bytes > RECORD_BYTES_MAX || self.entries.len() > KEYS_MAX {
            return Err(RecordError::TooLarge);
        }
        if member {
            self.parsed = parse(self.owner, &self.entries)?;
        }
        Ok(())
    }

    /// Puts an entry in the place of another, or none; gives the other.
    fn replace(&mut self, key: &str, new: Option<Entry>) -> Option<Entry> {
        let counts = |entry: &Entry| (entry.raw.len(), usize::from(entry.deleted_at.is_some()));
        let (bytes, deleted) = new.as_ref().map_or((0, 0), counts);
        let old = match new {
            Some(entry) => self.entries.insert(key.to_owned(), entry),
            None => self.entries.remove(key),
        };
        let (old_bytes, old_deleted) = old.as_ref().map_or((0, 0), counts);
        self.bytes = self.bytes + bytes - old_bytes;
        self.deleted = self.deleted + deleted - old_deleted;
        old
    }

    /// Entries above `version`, as the owner wrote them; all of them if keys were
    /// deleted and forgotten since.
    pub(crate) fn since(&self, version: u64) -> RecordDelta {
        let behind = version < self.floor;
        let base = if behind { 0 } else { version };
        let mut newer: Vec<&Entry> = self.newer(base).collect();
        newer.sort_by_key(|entry| entry.version);
        RecordDelta {
            entries: newer.into_iter().map(|entry| entry.raw.clone()).collect(),
            floor: if behind { self.floor } else { 0 },
            base,
            upto: self.version,
            ..self.nothing()
        }
    }

    /// As [`Record::since`], in so many bytes. First comes what everybody acts on: who it
    /// is, whether it leaves, its roles; then the rest, oldest changes first. What does
    /// not fit is left out, and the delta says so.
    pub(crate) fn within(&self, version: u64, room: usize) -> RecordDelta {
        let behind = version < self.floor;
        let base = if behind { 0 } else { version };
        let whole: usize = self.newer(base).map(entry_room).sum();
        if whole + DELTA_OVERHEAD <= room {
            return self.since(version);
        }
        let mut room = room.saturating_sub(DELTA_OVERHEAD);
        let mut chosen: BTreeMap<u64, &Entry> = BTreeMap::new();
        let urgent = self.entries.iter().filter(|(key, _)| is_urgent(key));
        let mut urgent: Vec<_> = urgent.filter(|(_, entry)| entry.version > base).collect();
        // Who it is first: without it nobody can take the others. Then the newest.
        urgent.sort_by_key(|(key, entry)| (*key != KEY_NODE, u64::MAX - entry.version));
        for (_, entry) in urgent {
            if let Some(left) = room.checked_sub(entry_room(entry)) {
                room = left;
                chosen.insert(entry.version, entry);
            }
        }
        let mut others: Vec<&Entry> = self.newer(base).collect();
        others.sort_by_key(|entry| entry.version);
        let mut upto = self.version;
        for entry in others {
            if chosen.contains_key(&entry.version) {
                continue;
            }
            let Some(left) = room.checked_sub(entry_room(entry)) else {
                upto = upto.min(entry.version - 1);
                break;
            };
            room = left;
            chosen.insert(entry.version, entry);
        }
        RecordDelta {
            entries: chosen.values().map(|entry| entry.raw.clone()).collect(),
            // Who lacks deletions that are forgotten here must take all at once.
            upto: if behind { 0 } else { upto },
            latest: self.version,
            base,
            ..self.nothing()
        }
    }

    fn nothing(&self) -> RecordDelta {
        RecordDelta {
            hash: self.owner.hash,
            boot: self.owner.boot,
            ..RecordDelta::default()
        }
    }

    fn newer(&self, version: u64) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.values();
        entries.filter(move |entry| entry.version > version)
    }

    /// Forgets keys deleted for longer than [`DELETED_KEPT`]; says how many bytes
    /// that freed.
    pub(crate) fn purge(&mut self, now: Time) -> usize {
        if self.deleted == 0 {
            return 0;
        }
        self.forget_deleted(|entry| {
            let deleted = entry.deleted_at;
            deleted.is_some_and(|at| now.since(at) >= DELETED_KEPT)
        })
    }

    /// Keeps [`DELETED_MAX`]: a quarter goes at once, so that the work is rare.
    fn forget_oldest_deleted(&mut self) {
        if self.deleted <= DELETED_MAX {
            return;
        }
        let deleted = self.entries.values().filter(|e| e.deleted_at.is_some());
        let mut versions: Vec<u64> = deleted.map(|entry| entry.version).collect();
        versions.sort_unstable();
        let last = versions.len() - DELETED_MAX * 3 / 4;
        let Some(&last) = versions.get(last) else {
            return;
        };
        self.forget_deleted(|entry| entry.version < last);
    }

    fn forget_deleted(&mut self, worn: impl Fn(&Entry) -> bool) -> usize {
        let (held, mut floor, mut freed, mut forgotten) = (self.version, self.floor, 0, 0);
        self.entries.retain(|entry| {
            // What came early may still have to keep out what was written before.
            let goes = entry.deleted_at.is_some() && entry.version <= held && worn(entry);
            if goes {
                floor = floor.max(entry.version);
                freed += entry.raw.len();
                forgotten += 1;
            }
            !goes
        });
        self.floor = floor;
        self.bytes -= freed;
        self.deleted -= forgotten;
        freed
    }

    /// Writes one key; only the owner does.
    pub(crate) fn write(&mut self, now: Time, key: &str, value: Bytes) {
        self.write_all(now, vec![(key.to_owned(), Some(value))]);
    }

    /// Writes and deletes keys; only the owner does. What is so already stays as it is.
    pub(crate) fn write_all(&mut self, now: Time, values: Vec<(String, Option<Bytes>)>) {
        let mut version = self.version;
        let mut entries = Vec::new();
        for (key, value) in values {
            if self.value(&key) == value {
                continue;
            }
            version += 1;
            entries.push(match value {
                Some(value) => encode_entry(&key, version, value),
                None => encode_deleted(&key, version),
            });
        }
        let delta = RecordDelta {
            entries,
            base: self.version,
            upto: version,
            ..self.nothing()
        };
        self.merge(now, &delta)
            .expect("own entries are checked before they are written");
    }

    /// The value of a key, unless it was deleted.
    pub(crate) fn value(&self, key: &str) -> Option<Bytes> {
        live_value(self.entries.get(key)?)
    }
}

/// Bytes that a delta takes beside its entries: owner, versions, floor.
const DELTA_OVERHEAD: usize = 56;

/// Bytes of an entry in a delta, tag and length included.
fn entry_room(entry: &Entry) -> usize {
    entry.raw.len() + 4
}

/// What everybody acts on.
fn is_urgent(key: &str) -> bool {
    matches!(key, KEY_NODE | KEY_STATUS | KEY_ROLES) || key.starts_with(ROLES_OF)
}

fn live_value(entry: &Entry) -> Option<Bytes> {
    let entry = RecordEntry::decode(entry.raw.clone()).ok()?;
    (!entry.deleted).then_some(entry.value)
}

fn decode(delta: &RecordDelta) -> Result<Vec<(RecordEntry, Bytes)>, RecordError> {
    let entries = delta.entries.iter();
    let entries = entries.map(|raw| {
        let entry = RecordEntry::decode(raw.clone()).map_err(|_e| RecordError::Malformed)?;
        Ok((entry, raw.clone()))
    });
    entries.collect()
}

/// One entry, as its owner first writes it.
pub(crate) fn encode_entry(key: &str, version: u64, value: Bytes) -> Bytes {
    let entry = RecordEntry {
        key: key.to_owned(),
        version,
        deleted: false,
        value,
    };
    Bytes::from(entry.encode_to_vec())
}

fn encode_deleted(key: &str, version: u64) -> Bytes {
    let entry = RecordEntry {
        key: key.to_owned(),
        version,
        deleted: true,
        value: Bytes::new(),
    };
    Bytes::from(entry.encode_to_vec())
}

#[cfg(test)]
mod tests;
