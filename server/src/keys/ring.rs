//! The keys of a cluster as one node knows them: registers of which the later value
//! holds, so that nodes that were told different things agree once they talk.
//!
//! A register's stamp is one above every stamp that its writer knew. Stamp 0 is what a
//! node got by its own settings: it is never passed on, and any word of the cluster
//! goes before it.

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
    pub(super) primary: Option<Register<KeyId>>,
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

    /// The keys that open, by id.
    pub fn installed(&self) -> impl Iterator<Item = (KeyId, &KeyBytes)> {
        self.entries
            .iter()
            .filter_map(|(id, entry)| match &entry.state {
                State::Installed { secret, .. } => Some((*id, secret)),
                State::Removed => None,
            })
    }

    /// The keys that were taken away and are remembered, by id.
    pub fn removed(&self) -> impl Iterator<Item = KeyId> {
        let removed = self.entries.iter();
        removed
            .filter(|(_, entry)| entry.state == State::Removed)
            .map(|(id, _)| *id)
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

    /// The key that seals: the one told, or if that is gone the latest installed.
    #[must_use]
    pub fn primary(&self) -> Option<KeyId> {
        let told = self.primary.map(|register| register.value);
        told.filter(|id| self.holds(*id)).or_else(|| {
            let latest = self
                .installed()
                .map(|(id, _)| (self.entries.get(&id).map_or(0, |entry| entry.stamp), id));
            latest.max().map(|(_, id)| id)
        })
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
        if !self.holds(id) {
            return Err(RingError::Unknown(id));
        }
        self.keep(id);
        let stamp = self.next();
        self.primary = Some(Register { stamp, value: id });
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

    /// Takes over what another node was told later; true if that changed anything.
    /// What would leave no key, or too many, is not taken over.
    ///
    /// # Errors
    /// [`RingError::Full`]; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<bool, RingError> {
        let mut merged = self.clone();
        for (id, entry) in &other.entries {
            match merged.entries.get(id) {
                Some(held) if rank(held) >= rank(entry) => {}
                Some(_) | None => {
                    merged.entries.insert(*id, entry.clone());
                }
            }
        }
        merged.primary = later(merged.primary, other.primary, |id| id.to_bytes());
        merged.stage = later(merged.stage, other.stage, |stage| stage);
        let count = merged.installed().count();
        if count > KEYS_MAX {
            return Err(RingError::Full);
        }
        if count == 0 && self.installed().next().is_some() {
            return Ok(false);
        }
        merged.forget_removed();
        let changed = merged != *self;
        *self = merged;
        Ok(changed)
    }

    /// What is passed on: what the cluster was told, not what settings said.
    #[must_use]
    pub fn told(&self) -> Self {
        let entries = self.entries.iter().filter(|(_, entry)| entry.stamp > 0);
        Self {
            entries: entries.map(|(id, entry)| (*id, entry.clone())).collect(),
            primary: self.primary.filter(|register| register.stamp > 0),
            stage: self.stage.filter(|register| register.stamp > 0),
        }
    }

    /// Makes the keys of the settings the word of the cluster: the first change of many
    /// begins from what its writer has. The stage is not: nodes may be at several.
    fn adopt(&mut self) -> Result<(), RingError> {
        let primary = self.primary().ok_or(RingError::Empty)?;
        let stamp = self.next();
        for entry in self.entries.values_mut().filter(|entry| entry.stamp == 0) {
            entry.stamp = stamp;
        }
        if self.primary.is_none_or(|register| register.stamp == 0) {
            let value = primary;
            self.primary = Some(Register { stamp, value });
        }
        Ok(())
    }

    /// Takes back the plan to remove a key.
    fn keep(&mut self, id: KeyId) {
        let next = self.next();
        if let Some(entry) = self.entries.get_mut(&id)
            && let State::Installed {
                retire_at_unix_ms: retire @ Some(_),
                ..
            } = &mut entry.state
        {
            entry.stamp = next;
            *retire = None;
        }
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
            self.primary = Some(Register { stamp, value: id });
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
        let primary = self.primary.map(|register| register.stamp);
        let stage = self.stage.map(|register| register.stamp);
        let highest = entries.chain(primary).chain(stage).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    fn forget_removed(&mut self) {
        let mut removed: Vec<(Stamp, KeyId)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Removed)
            .map(|(id, entry)| (entry.stamp, *id))
            .collect();
        removed.sort_unstable();
        let extra = removed.len().saturating_sub(REMOVED_MAX);
        for (_, id) in removed.iter().take(extra) {
            self.entries.remove(id);
        }
    }
}

/// Which of two entries of one key holds: the later; of two of one stamp the removed
/// one, else the one that is removed sooner.
fn rank(entry: &Entry) -> (Stamp, u8, std::cmp::Reverse<u64>) {
    let (kind, at) = match &entry.state {
        State::Installed {
            retire_at_unix_ms, ..
        } => (0, retire_at_unix_ms.unwrap_or(u64::MAX)),
        State::Removed => (1, 0),
    };
    (entry.stamp, kind, std::cmp::Reverse(at))
}

/// The later of two registers; of two of one stamp the greater.
fn later<T: Copy, O: Ord>(
    one: Option<Register<T>>,
    two: Option<Register<T>>,
    order: impl Fn(T) -> O,
) -> Option<Register<T>> {
    let rank = |register: &Register<T>| (register.stamp, order(register.value));
    [one, two].into_iter().flatten().max_by_key(rank)
}

fn made(key: &KeyBytes) -> Result<Key, RingError> {
    Key::new(key.as_bytes()).map_err(|error| RingError::Bad(error.to_string()))
}

#[cfg(test)]
mod tests;
