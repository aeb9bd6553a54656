//! Where handlers stand in the events, kept in the data directory.
//!
//! A handler that runs at most once reserves ahead: before it starts an event it has
//! written down the end of the next [`AHEAD`] that wait, and after a crash it goes on
//! behind that, so nothing runs twice. One that redelivers goes on behind what it
//! finished, and marks what may have been started before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use muster_engine::Origin;
use prost::Message;

use crate::hub::lock;
use crate::storage::{DataDir, Loaded};

/// Most sequences reserved with one write.
pub const AHEAD: u64 = 64;

/// Origins (a name and a boot) that are kept of one handler; the lowest boots of a
/// name go first.
pub const ORIGINS_KEPT_MAX: usize = 4_096;

/// Handlers whose cursors are kept. Those that are no longer configured go first.
pub const HANDLERS_KEPT_MAX: usize = 1_024;

/// File in the data directory.
const FILE: &str = "handlers";

/// Where a handler stands with one origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Up to here everything was run or will never be.
    pub done: u64,
    /// Up to here something may have been started.
    pub reserved: u64,
}

/// Where a handler stands.
pub type Cursors = BTreeMap<Origin, Cursor>;

/// The cursors of all handlers. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct CursorStore {
    data: Option<Arc<DataDir>>,
    kept: Arc<Mutex<BTreeMap<String, Cursors>>>,
    /// Held while the file is written.
    writing: Arc<Mutex<()>>,
}

#[derive(Clone, PartialEq, Message)]
struct CursorFile {
    #[prost(message, repeated, tag = "1")]
    handlers: Vec<HandlerCursors>,
}

#[derive(Clone, PartialEq, Message)]
struct HandlerCursors {
    #[prost(string, tag = "1")]
    handler: String,
    #[prost(message, repeated, tag = "2")]
    origins: Vec<OriginCursor>,
}

#[derive(Clone, PartialEq, Message)]
struct OriginCursor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    boot: u64,
    #[prost(uint64, tag = "3")]
    done: u64,
    #[prost(uint64, tag = "4")]
    reserved: u64,
}

impl CursorStore {
    /// Reads what a former run left; blocks on the disk. Without a directory, or
    /// with a file that cannot be read, nothing is known.
    #[must_use]
    pub fn open(data: Option<Arc<DataDir>>) -> Self {
        let read = data.as_ref().map(|data| data.read::<CursorFile>(FILE));
        let file = match read {
            Some(Ok(Loaded::Found(file))) => file,
            Some(Ok(Loaded::Missing | Loaded::Damaged { .. })) | None => CursorFile::default(),
            Some(Err(error)) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(
                    error,
                    "cannot read the cursors of handlers: starting at now"
                );
                CursorFile::default()
            }
        };
        let handlers = file.handlers.into_iter().take(HANDLERS_KEPT_MAX);
        Self {
            data,
            kept: Arc::new(Mutex::new(handlers.map(parse).collect())),
            writing: Arc::default(),
        }
    }

    /// Whether anything outlives the process.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.data.is_some()
    }

    /// Where a handler stood; `None` if it is new.
    #[must_use]
    pub fn get(&self, handler: &str) -> Option<Cursors> {
        lock(&self.kept).get(handler).cloned()
    }

    /// For each origin the last sequence that no handler which was there then has to
    /// be given any more.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(Origin, u64)> {
        let mut lowest = BTreeMap::new();
        for cursors in lock(&self.kept).values() {
            for (origin, at) in cursors {
                let done = lowest.entry(origin.clone()).or_insert(at.done);
                *done = at.done.min(*done);
            }
        }
        lowest.into_iter().collect()
    }

    /// Forgets the handlers that are not named.
    pub fn retain(&self, handlers: impl Fn(&str) -> bool) {
        lock(&self.kept).retain(|handler, _| handlers(handler));
    }

    /// Notes where a handler stands; the next write has it.
    pub fn note(&self, handler: &str, cursors: &Cursors) {
        let mut kept = lock(&self.kept);
        if kept.len() < HANDLERS_KEPT_MAX || kept.contains_key(handler) {
            kept.insert(handler.to_owned(), cursors.clone());
        }
    }

    /// Writes everything that was noted; blocks on the disk. A disk that takes no
    /// writes is logged: handlers go on, and after a crash events may be run again.
    pub fn write(&self) {
        let Some(data) = &self.data else { return };
        let _writing = lock(&self.writing);
        let file = CursorFile {
            handlers: lock(&self.kept).iter().map(show).collect(),
        };
        if let Err(error) = data.write(FILE, &file) {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(error, "the cursors of handlers are not kept");
        }
    }
}

/// Leaves out the lowest boots of each name, then the first names, until it fits.
pub(super) fn bound(cursors: &mut Cursors) {
    while cursors.len() > ORIGINS_KEPT_MAX {
        let mut origins = cursors.keys().zip(cursors.keys().skip(1));
        let older = origins
            .find(|(one, next)| one.name == next.name)
            .map(|(one, _)| one.clone());
        let Some(origin) = older.or_else(|| cursors.keys().next().cloned()) else {
            return;
        };
        cursors.remove(&origin);
    }
}

fn parse(handler: HandlerCursors) -> (String, Cursors) {
    let cursor = |origin: OriginCursor| {
        let cursor = Cursor {
            done: origin.done,
            reserved: origin.reserved.max(origin.done),
        };
        let origin = Origin {
            name: Arc::from(origin.name),
            boot: origin.boot,
        };
        (origin, cursor)
    };
    let mut cursors = handler.origins.into_iter().map(cursor).collect();
    bound(&mut cursors);
    (handler.handler, cursors)
}

fn show((handler, cursors): (&String, &Cursors)) -> HandlerCursors {
    let cursor = |(origin, cursor): (&Origin, &Cursor)| OriginCursor {
        name: origin.name.to_string(),
        boot: origin.boot,
        done: cursor.done,
        reserved: cursor.reserved,
    };
    HandlerCursors {
        handler: handler.clone(),
        origins: cursors.iter().map(cursor).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::origin;

    fn open(dir: &tempfile::TempDir) -> CursorStore {
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        CursorStore::open(Some(Arc::new(data)))
    }

    fn at(done: u64, reserved: u64) -> Cursor {
        Cursor { done, reserved }
    }

    #[test]
    fn what_was_written_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        assert_eq!(store.get("a"), None);
        let cursors = Cursors::from([(origin("k1", 7), at(3, 64)), (origin("k2", 1), at(0, 0))]);
        store.note("a", &cursors);
        store.note("gone", &cursors);
        store.retain(|handler| handler == "a");
        store.write();
        store.note("a", &Cursors::new());
        drop(store);
        let store = open(&dir);
        let behind = Cursors::from([(origin("k1", 7), at(2, 2))]);
        store.note("b", &behind);
        let unfinished = vec![(origin("k1", 7), 2), (origin("k2", 1), 0)];
        assert_eq!(store.unfinished(), unfinished);
        assert_eq!((store.get("a"), store.get("gone")), (Some(cursors), None));
    }

    #[test]
    fn damage_and_a_full_disk_are_survived() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        store.note("a", &Cursors::from([(origin("k1", 7), at(3, 3))]));
        std::os::unix::fs::symlink("/dev/full", dir.path().join("data/handlers.tmp")).unwrap();
        store.write();
        store.write();
        drop(store);
        assert!(open(&dir).get("a").is_some());
        std::fs::write(dir.path().join("data/handlers"), "garbage").unwrap();
        assert_eq!(open(&dir).get("a"), None);
        assert!(dir.path().join("data/handlers.bad").exists());
    }

    #[test]
    fn without_a_directory_nothing_is_kept() {
        let store = CursorStore::open(None);
        assert!(!store.is_kept());
        store.note("a", &Cursors::new());
        store.write();
        assert!(store.get("a").is_some());
    }

    #[test]
    fn old_boots_are_forgotten_first() {
        let name = |n: usize| format!("n{n:04}");
        let mut cursors: Cursors = (0..ORIGINS_KEPT_MAX)
            .map(|n| (origin(&name(n), 5), at(1, 1)))
            .collect();
        cursors.insert(origin(&name(7), 9), at(2, 2));
        bound(&mut cursors);
        assert_eq!(cursors.len(), ORIGINS_KEPT_MAX);
        assert!(
            !cursors.contains_key(&origin(&name(7), 5))
                && cursors.contains_key(&origin(&name(7), 9))
        );
        cursors.insert(origin("z", 1), at(0, 0));
        bound(&mut cursors);
        assert!(
            !cursors.contains_key(&origin(&name(0), 5)) && cursors.contains_key(&origin("z", 1))
        );
    }
}
