//! Where a ring outlives the daemon.
//!
//! The keyring file, if there is one, says which keys there are and which is primary:
//! people and configuration management edit it. The file `keyring` of the data
//! directory remembers what was changed at run time and when. Without either, a
//! restart goes back to the settings.

use std::path::PathBuf;
use std::sync::Arc;

use muster_engine::Stage;
use muster_proto::peer as pb;
use muster_proto::token::KeyBytes;

use super::file::{self, FileError};
use super::ring::{Register, Ring, RingError, State};
use crate::storage::{DataDir, Loaded, StorageError};

/// File in the data directory.
const FILE: &str = "keyring";

/// What the settings say of keys.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Keys, the primary first: those of the keyring file if it is there, else those of
    /// the key file or the token. None: plaintext by explicit wish.
    pub keys: Vec<KeyBytes>,
    /// The stage, if the settings name one.
    pub stage: Option<Stage>,
    /// The keyring file, kept up to date.
    pub file: Option<PathBuf>,
    /// `keys` come from that file.
    pub from_file: bool,
}

/// Why a ring is not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The keyring file.
    #[error("keyring file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// The data directory.
    #[error(transparent)]
    Data(#[from] StorageError),
    /// The settings have a key that is none.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Keeps rings.
#[derive(Debug, Clone)]
pub struct Store {
    file: Option<PathBuf>,
    data: Option<Arc<DataDir>>,
}

/// What a daemon begins with.
#[derive(Debug)]
pub struct Begun {
    /// The ring.
    pub ring: Ring,
    /// Where it is kept.
    pub store: Store,
    /// What a person should know of how it came about.
    pub notes: Vec<String>,
}

impl Store {
    /// The ring of a start: settings and what was kept. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk or the settings have wrong.
    pub fn begin(settings: &Settings, data: Option<Arc<DataDir>>) -> Result<Begun, StoreError> {
        let store = Self {
            file: settings.file.clone(),
            data,
        };
        let mut notes = Vec::new();
        let stage = settings.stage.unwrap_or_default();
        let given = Ring::of_settings(&settings.keys, stage)?;
        let mut ring = match store.kept(&mut notes)? {
            None => given,
            Some(kept) if settings.from_file => reconciled(given, &kept),
            Some(kept) => chosen(given, kept, &mut notes),
        };
        if let Some(stage) = settings.stage
            && ring.stage() != stage
            && ring.primary().is_some()
        {
            notes.push(format!(
                "encryption is at stage {stage} by the settings, the last run was at {}",
                ring.stage()
            ));
            ring.stage = Some(Register {
                stamp: 0,
                value: stage,
            });
        }
        Ok(Begun { ring, store, notes })
    }

    /// Whether anything outlives the daemon.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.file.is_some() || self.data.is_some()
    }

    /// Keeps a ring. Blocks on the disk.
    ///
    /// # Errors
    /// What was not written; the other file may have been.
    pub fn keep(&self, ring: &Ring) -> Result<(), StoreError> {
        if let Some(data) = &self.data {
            data.write(FILE, &ring.to_message())?;
        }
        if let Some(path) = &self.file {
            let keys = ring.in_order();
            if !keys.is_empty() {
                file::write(path, &keys).map_err(|source| StoreError::File {
                    path: path.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    fn kept(&self, notes: &mut Vec<String>) -> Result<Option<Ring>, StoreError> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        match data.read::<pb::KeyState>(FILE)? {
            Loaded::Missing => Ok(None),
            Loaded::Found(message) => match Ring::from_message(message) {
                Ok(ring) => Ok(Some(ring)),
                Err(error) => {
                    let _set_aside: Loaded<pb::KeyState> = data.damaged(FILE, error.to_string());
                    notes.push(format!("the kept keyring is not usable: {error}"));
                    Ok(None)
                }
            },
            Loaded::Damaged { why, .. } => {
                notes.push(format!("the kept keyring is damaged: {why}"));
                Ok(None)
            }
        }
    }
}

/// The keys of the keyring file, with what is remembered of them.
fn reconciled(mut given: Ring, kept: &Ring) -> Ring {
    for (id, entry) in &kept.entries {
        let removed = entry.state == State::Removed;
        match given.entries.get_mut(id) {
            // The file has it again although it was removed: the file is the later word.
            Some(_) if removed => {}
            Some(held) => *held = entry.clone(),
            None if !removed => {}
            None => {
                given.entries.insert(*id, entry.clone());
            }
        }
    }
    if kept.primary() == given.primary() {
        given.primary.clone_from(&kept.primary);
    }
    given.stage = kept.stage.or(given.stage);
    given
}

/// What was kept, as long as the key of the settings is one of its keys, even a removed
/// one: keys were changed at run time. Another key is a new beginning.
fn chosen(given: Ring, kept: Ring, notes: &mut Vec<String>) -> Ring {
    match given.primary() {
        None if kept.primary().is_none() => given,
        None => {
            notes.push(format!(
                "this node has keys since the last run and is at stage {}: --insecure-plaintext \
                 does not undo that (remove the file {FILE} of the data directory to do so)",
                kept.stage()
            ));
            kept
        }
        Some(id) if kept.holds(id) || kept.entries.contains_key(&id) => {
            if kept.primary() != Some(id) {
                notes.push(
                    "keys were changed at run time: those are used, not the ones of the settings"
                        .to_owned(),
                );
            }
            kept
        }
        Some(_) => {
            notes.push(
                "the settings have another key than the last run: keys changed at run time are \
                 forgotten"
                    .to_owned(),
            );
            given
        }
    }
}

#[cfg(test)]
mod tests;
