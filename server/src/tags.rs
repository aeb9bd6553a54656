//! Tags of this node: those that are configured, and over them what clients changed
//! while the daemon ran. The changes outlive a restart in the tags file.
//!
//! The file is a JSON object: a text sets a tag, null removes a configured one. A tags
//! file of serf's agent, which knows texts only, is such a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::storage::{StorageError, StoredFile};

/// Largest tags file that is read, bytes. All tags of a member have 64 KiB at most, and
/// JSON writes a byte with six at worst.
pub const TAGS_FILE_BYTES_MAX: u64 = 1 << 20;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// What was changed of the configured tags: a value, or that the tag is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagChanges(BTreeMap<String, Option<String>>);

/// The tags of a running node. Clones share everything.
#[derive(Debug, Clone)]
pub struct TagStore {
    path: Option<PathBuf>,
    state: Arc<Mutex<State>>,
    /// Why the file is behind, if it is.
    warning: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct State {
    configured: Tags,
    changes: TagChanges,
}

/// What makes one set of tags out of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagDifference {
    /// New and changed tags.
    pub set: Tags,
    /// Keys that go.
    pub remove: Vec<String>,
}

impl TagChanges {
    /// Reads a tags file; one that does not exist holds nothing.
    ///
    /// # Errors
    /// What is wrong with it, without the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return parent_exists(path).map(|()| Self::default());
            }
            Err(error) => return Err(format!("cannot open it: {error}")),
        };
        let mut text = String::new();
        let read = file.take(TAGS_FILE_BYTES_MAX + 1).read_to_string(&mut text);
        let bytes = read.map_err(|error| format!("cannot read it: {error}"))?;
        if u64::try_from(bytes).unwrap_or(u64::MAX) > TAGS_FILE_BYTES_MAX {
            return Err(format!("it has more than {TAGS_FILE_BYTES_MAX} bytes"));
        }
        Self::parse(&text)
    }

    /// Reads the text of a tags file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("it is no JSON: {error}; mend or remove it"))?;
        let Value::Object(object) = value else {
            return Err("it is no JSON object; mend or remove it".to_owned());
        };
        let change = |(key, value): (String, Value)| match value {
            Value::String(value) => Ok((key, Some(value))),
            Value::Null => Ok((key, None)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("the value of {key:?} is neither a text nor null"))
            }
        };
        object
            .into_iter()
            .map(change)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let value = |value: &Option<String>| value.clone().map_or(Value::Null, Value::String);
        let object = self
            .0
            .iter()
            .map(|(key, change)| (key.clone(), value(change)));
        let mut text = Value::Object(object.collect()).to_string();
        text.push('\n');
        text
    }

    /// The tags that hold.
    #[must_use]
    pub fn over(&self, configured: &Tags) -> Tags {
        let mut tags = configured.clone();
        for (key, change) in &self.0 {
            match change {
                Some(value) => tags.insert(key.clone(), value.clone()),
                None => tags.remove(key),
            };
        }
        tags
    }

    fn note(&mut self, configured: &Tags, set: &Tags, remove: &[String]) {
        for key in remove {
            if configured.contains_key(key) {
                self.0.insert(key.clone(), None);
            } else {
                self.0.remove(key);
            }
        }
        for (key, value) in set {
            self.0.insert(key.clone(), Some(value.clone()));
        }
    }
}

impl TagStore {
    /// Tags of a node that starts.
    #[must_use]
    pub fn new(configured: Tags, changes: TagChanges, path: Option<PathBuf>) -> Self {
        let state = State {
            configured,
            changes,
        };
        Self {
            path,
            state: Arc::new(Mutex::new(state)),
            warning: Arc::default(),
        }
    }

    /// Notes what a client changed, and writes the file: blocks on the disk. If that
    /// fails the change holds all the same, and [`TagStore::warning`] says so until a
    /// write succeeds.
    pub fn changed(&self, set: &Tags, remove: &[String]) {
        let mut state = self.state();
        let State {
            configured,
            changes,
        } = &mut *state;
        changes.note(configured, set, remove);
        self.write(changes);
    }

    /// Writes again what the disk did not take; blocks on it.
    pub fn retry(&self) {
        let state = self.state();
        if self.warning().is_some() {
            self.write(&state.changes);
        }
    }

    /// To be called under the lock, so that the last change is what stays in the file.
    fn write(&self, changes: &TagChanges) {
        if let Some(path) = &self.path {
            let file = StoredFile::new(path.clone());
            self.written(file.write_bytes(changes.to_json().as_bytes()));
        }
    }

    /// How the tags that hold would change with these configured ones.
    #[must_use]
    pub fn difference(&self, configured: &Tags) -> TagDifference {
        let state = self.state();
        let before = state.changes.over(&state.configured);
        let after = state.changes.over(configured);
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let remove = gone.cloned().collect();
        let mut set = after;
        set.retain(|key, value| before.get(key) != Some(value));
        TagDifference { set, remove }
    }

    /// Takes other configured tags; the changes stay.
    pub fn reconfigure(&self, configured: Tags) {
        self.state().configured = configured;
    }

    /// The tags that would hold with these configured ones.
    #[must_use]
    pub fn over(&self, configured: &Tags) -> Tags {
        self.state().changes.over(configured)
    }

    /// Why the file is behind, if it is.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        warning.clone()
    }

    fn written(&self, result: Result<(), StorageError>) {
        let text = result.err().map(|error| {
            let error = format!("{:#}", anyhow::Error::from(error));
            format!("the tags are not kept for the next start: {error}")
        });
        let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if *warning != text {
            match &text {
                Some(text) => tracing::warn!("{text}"),
                None => tracing::info!("the tags are kept again"),
            }
        }
        *warning = text;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TagDifference {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

fn parent_exists(path: &Path) -> Result<(), String> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(format!("{} is no directory", parent.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
