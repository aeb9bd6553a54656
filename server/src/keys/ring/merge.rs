//! What rings take over from each other: of every register the later value. That is a
//! join: commutative, associative, and the same value twice changes nothing.

use std::cmp::Reverse;

use super::{Entry, REMOVED_MAX, Register, Ring, RingError, Stamp, State};
use crate::keys::KEYS_MAX;

impl Ring {
    /// Takes over what another node was told later; true if that changed anything. A
    /// ring with a key never becomes one without: it has a primary, and of two the later
    /// one is held.
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
        merged.primary = later(merged.primary, &other.primary, |key| key.id.to_bytes());
        merged.stage = later(merged.stage, &other.stage, |stage| *stage);
        if merged.installed().count() > KEYS_MAX {
            return Err(RingError::Full);
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
            primary: self.primary.clone().filter(|register| register.stamp > 0),
            stage: self.stage.filter(|register| register.stamp > 0),
        }
    }

    pub(super) fn forget_removed(&mut self) {
        let entries = self.entries.iter();
        let mut removed: Vec<(Stamp, _)> = entries
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
fn rank(entry: &Entry) -> (Stamp, u8, Reverse<u64>) {
    let (kind, at) = match &entry.state {
        State::Installed {
            retire_at_unix_ms, ..
        } => (0, retire_at_unix_ms.unwrap_or(u64::MAX)),
        State::Removed => (1, 0),
    };
    (entry.stamp, kind, Reverse(at))
}

/// The later of two registers; of two of one stamp the greater.
fn later<T: Clone, O: Ord>(
    one: Option<Register<T>>,
    two: &Option<Register<T>>,
    order: impl Fn(&T) -> O,
) -> Option<Register<T>> {
    let rank = |register: &Register<T>| (register.stamp, order(&register.value));
    [one, two.clone()].into_iter().flatten().max_by_key(rank)
}
