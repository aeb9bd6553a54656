//! The keys of a cluster as one node knows them: registers of which the later value
//! holds, so that nodes that were told different things agree once they talk.
//!
//! A register's stamp is one above every stamp that its writer knew. Stamp 0 is what a
//! node got by its own settings: it is never passed on, and any word of the cluster
//! goes before it.
//!
//! The primary's register carries the key itself, and that key is held whatever its own
//! register says: of nodes that take away each other's last key at once all have the
//! primary left. What a node holds follows from its registers alone, so the order of
//! merges makes no difference.

mod merge;

use std::collections::BTreeMap;

use muster_engine::Stage;
use muster_engine::crypto::{Key, KeyId, Keyring};
use muster_proto::token::KeyBytes;

use super::KEYS_MAX;

/// Removed keys that are remembered, so that nobody brings them back. At the bound the
/// one removed first is forgotten.
pub const REMOVED_MAX: usize = 64;

/// Count of changes: grows over the whole cluster.
pub type Stamp = u64;

/// A value and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register<T> {
    /// When.
    pub stamp: Stamp,
    /// What.
    pub value: T,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub stamp: Stamp,
    /// Installed or removed.
    pub state: State,
}

/// Installed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It opens.
    Installed {
        /// The key.
        secret: KeyBytes,
        /// Every node removes it once this time has come, milliseconds since 1970.
        retire_at_unix_ms: Option<u64>,
    },
    /// It was taken away.
    Removed,
}

/// The key that seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Its id.
    pub id: KeyId,
    /// The key.
    pub secret: KeyBytes,
}

/// Why a ring cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// No such key.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// It seals.
    #[error("key {0} is the primary: use another one first")]
    Primary(KeyId),
    /// It is all there is.
    #[error("key {0} is the last one")]
    Last(KeyId),
    /// There are enough.
    #[error("there are {KEYS_MAX} keys, more are not held: remove one first")]
    Full,
    /// There is none.
    #[error("this node has no key: install one on it first (muster keys install --local)")]
    Empty,
    /// Its bytes make no key.
    #[error("bad key: {0}")]
    Bad(String),
}

/// The ring of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    pub(super) entries: BTreeMap<KeyId, Entry>,
    pub(super) primary: Option<Register<Primary>>,
    pub(super) stage: Option<Register<Stage>>,
}

impl Ring {
    /// The ring of a node's settings: the first key is primary.
    ///
    /// # Errors
    /// [`RingError::Bad`], [`RingError::Full`].
    pub fn of_settings(keys: &[KeyBytes], stage: Stage) -> Result<Self, RingError> {
        let mut ring = Self::default();
        for key in keys {
            ring.put(0, key)?;
        }
        if !ring.entries.is_empty() {
            ring.stage = Some(Register {
                stamp: 0,
                value: stage,
            });
        }
        Ok(ring)
    }

    /// The id of a key.
    ///
    /// # Errors
    /// [`RingError::Bad`].
    pub fn id_of(key: &KeyBytes) -> Result<KeyId, RingError> {
        Ok(made(key)?.id())
    }

    /// Whether it opens with that key.
    #[must_use]
    pub fn holds(&self, id: KeyId) -> bool {
        self.installed().any(|(held, _)| held == id)
    }

    /// The keys that open: the primary, and what was installed and not removed.
    pub fn installed(&self) -> impl Iterator<Item = (KeyId, &KeyBytes)> {
        let entries = self.entries.iter();
        let installed = entries.filter_map(|(id, entry)| match &entry.state {
            State::Installed { secret, .. } => Some((*id, secret)),
            State::Removed => None,
        });
        let primary = self.primary.iter().map(|register| &register.value);
        let only_sealing = primary.filter(|primary| !self.is_installed(primary.id));
        installed.chain(only_sealing.map(|primary| (primary.id, &primary.secret)))
    }

    /// The keys that were taken away and are remembered, by id.
    pub fn removed(&self) -> impl Iterator<Item = KeyId> {
        let removed = self.entries.iter();
        removed
            .filter(|(_, entry)| entry.state == State::Removed)
            .map(|(id, _)| *id)
            .filter(|id| !self.holds(*id))
    }

    /// The keys that open, the primary first, the latest next.
    #[must_use]
    pub fn in_order(&self) -> Vec<&KeyBytes> {
        let primary = self.primary();
        let mut keys: Vec<_> = self.installed().collect();
        keys.sort_by_key(|(id, _)| {
            let stamp = self.entries.get(id).map_or(0, |entry| entry.stamp);
            (Some(*id) != primary, std::cmp::Reverse(stamp), *id)
        });
        keys.into_iter().map(|(_, secret)| secret).collect()
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> Option<KeyId> {
        self.primary.as_ref().map(|register| register.value.id)
    }

    /// How far the node is on its way from plaintext.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage.map_or(Stage::On, |register| register.value)
    }

    /// When a key will be removed.
    #[must_use]
    pub fn retires_at(&self, id: KeyId) -> Option<u64> {
        match &self.entries.get(&id)?.state {
            State::Installed {
                retire_at_unix_ms, ..
            } => *retire_at_unix_ms,
            State::Removed => None,
        }
    }

    /// The ring as the engine takes it; `None` without keys.
    #[must_use]
    pub fn keyring(&self) -> Option<Keyring> {
        let mut keys = self.in_order().into_iter().filter_map(|key| made(key).ok());
        let mut keyring = Keyring::new(keys.next()?).at(self.stage());
        keys.for_each(|key| keyring.install(key));
        Some(keyring)
    }

    /// Adds a key to this node only.
    ///
    /// # Errors
    /// [`RingError::Bad`], [`RingError::Full`].
    pub fn install_locally(&mut self, key: &KeyBytes) -> Result<KeyId, RingError> {
        let first = self.installed().next().is_none();
        let id = self.put(0, key)?;
        if first {
            // The cluster talks in clear: this node must go on hearing it.
            self.stage = Some(Register {
                stamp: 0,
                value: Stage::Receive,
            });
        }
        Ok(id)
    }

    /// Adds a key for the whole cluster.
    ///
    /// # Errors
    /// [`RingError::Bad`], [`RingError::Full`], [`RingError::Empty`].
    pub fn install(&mut self, key: &KeyBytes) -> Result<KeyId, RingError> {
        self.adopt()?;
        let stamp = self.next();
        let id = self.put(stamp, key)?;
        self.keep(id);
        Ok(id)
    }

    /// Seals with a key that is there.
    ///
    /// # Errors
    /// [`RingError::Unknown`].
    pub fn use_key(&mut self, id: KeyId) -> Result<(), RingError> {
        self.adopt()?;
        let secret = self.secret(id).ok_or(RingError::Unknown(id))?;
        self.keep(id);
        let (stamp, value) = (self.next(), Primary { id, secret });
        self.primary = Some(Register { stamp, value });
        Ok(())
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`RingError::Unknown`], [`RingError::Primary`], [`RingError::Last`].
    pub fn remove(&mut self, id: KeyId) -> Result<(), RingError> {
        self.adopt()?;
        self.check_removable(id)?;
        let stamp = self.next();
        let state = State::Removed;
        self.entries.insert(id, Entry { stamp, state });
        self.forget_removed();
        Ok(())
    }

    /// Plans the removal of a key.
    ///
    /// # Errors
    /// As [`Ring::remove`].
    pub fn retire(&mut self, id: KeyId, at_unix_ms: u64) -> Result<(), RingError> {
        self.adopt()?;
        self.check_removable(id)?;
        let next = self.next();
        if let Some(entry) = self.entries.get_mut(&id)
            && let State::Installed {
                retire_at_unix_ms, ..
            } = &mut entry.state
        {
            entry.stamp = next;
            *retire_at_unix_ms = Some(at_unix_ms);
        }
        Ok(())
    }

    /// Sets the stage of the whole cluster.
    ///
    /// # Errors
    /// [`RingError::Empty`].
    pub fn set_stage(&mut self, stage: Stage) -> Result<(), RingError> {
        self.adopt()?;
        let (stamp, value) = (self.next(), stage);
        self.stage = Some(Register { stamp, value });
        Ok(())
    }

    /// Removes the keys whose time has come, unless one seals; those removed. Every
    /// node does so alike: the stamp stays.
    pub fn expire(&mut self, now_unix_ms: u64) -> Vec<KeyId> {
        let primary = self.primary();
        let due: Vec<KeyId> = self
            .installed()
            .map(|(id, _)| id)
            .filter(|id| Some(*id) != primary)
            .filter(|id| self.retires_at(*id).is_some_and(|at| at <= now_unix_ms))
            .collect();
        for id in &due {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.state = State::Removed;
            }
        }
        self.forget_removed();
        due
    }

    /// When the next key is to be removed, milliseconds since 1970.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        let primary = self.primary();
        let ids = self.installed().map(|(id, _)| id);
        ids.filter(|id| Some(*id) != primary)
            .filter_map(|id| self.retires_at(id))
            .min()
    }

    /// Makes the keys of the settings the word of the cluster: the first change of many
    /// begins from what its writer has. The stage is not: nodes may be at several.
    fn adopt(&mut self) -> Result<(), RingError> {
        let stamp = self.next();
        let primary = self.primary.as_mut().ok_or(RingError::Empty)?;
        if primary.stamp == 0 {
            primary.stamp = stamp;
        }
        for entry in self.entries.values_mut().filter(|entry| entry.stamp == 0) {
            entry.stamp = stamp;
        }
        Ok(())
    }

    /// Takes back the removal of a key that is held, or the plan of it.
    fn keep(&mut self, id: KeyId) {
        if self.is_installed(id) && self.retires_at(id).is_none() {
            return;
        }
        let Some(secret) = self.secret(id) else {
            return;
        };
        let (stamp, retire_at_unix_ms) = (self.next(), None);
        let state = State::Installed {
            secret,
            retire_at_unix_ms,
        };
        self.entries.insert(id, Entry { stamp, state });
    }

    /// The bytes of a key that is held.
    fn secret(&self, id: KeyId) -> Option<KeyBytes> {
        let mut installed = self.installed();
        installed
            .find(|(held, _)| *held == id)
            .map(|(_, secret)| secret.clone())
    }

    /// The key installed last as primary, as if settings said so: of a ring that was
    /// told of keys and not which of them seals.
    pub(super) fn latest(&self) -> Option<Register<Primary>> {
        let keys = self.installed();
        let stamped = keys.map(|(id, secret)| (self.entries.get(&id).map(|e| e.stamp), id, secret));
        let (_, id, secret) = stamped.max_by_key(|(stamp, id, _)| (*stamp, *id))?;
        let secret = secret.clone();
        Some(Register {
            stamp: 0,
            value: Primary { id, secret },
        })
    }

    /// Whether its own register says so.
    fn is_installed(&self, id: KeyId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| entry.state != State::Removed)
    }

    fn put(&mut self, stamp: Stamp, key: &KeyBytes) -> Result<KeyId, RingError> {
        let id = made(key)?.id();
        if self.holds(id) {
            return Ok(id);
        }
        if self.installed().count() >= KEYS_MAX {
            return Err(RingError::Full);
        }
        let state = State::Installed {
            secret: key.clone(),
            retire_at_unix_ms: None,
        };
        self.entries.insert(id, Entry { stamp, state });
        if self.primary.is_none() {
            let secret = key.clone();
            let value = Primary { id, secret };
            self.primary = Some(Register { stamp, value });
        }
        Ok(id)
    }

    fn check_removable(&self, id: KeyId) -> Result<(), RingError> {
        if !self.holds(id) {
            return Err(RingError::Unknown(id));
        }
        if self.installed().count() == 1 {
            return Err(RingError::Last(id));
        }
        if self.primary() == Some(id) {
            return Err(RingError::Primary(id));
        }
        Ok(())
    }

    /// One above every stamp that is known.
    fn next(&self) -> Stamp {
        let entries = self.entries.values().map(|entry| entry.stamp);
        let primary = self.primary.as_ref().map(|register| register.stamp);
        let stage = self.stage.map(|register| register.stamp);
        let highest = entries.chain(primary).chain(stage).max();
        highest.unwrap_or(0).saturating_add(1)
    }
}

fn made(key: &KeyBytes) -> Result<Key, RingError> {
    Key::new(key.as_bytes()).map_err(|error| RingError::Bad(error.to_string()))
}

#[cfg(test)]
mod tests;
