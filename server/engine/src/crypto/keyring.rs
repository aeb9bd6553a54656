//! The keys that a node accepts, and the one that it seals with.

use std::collections::BTreeMap;

use super::key::{Key, KeyId};

/// Keys by id, one of them primary: it seals, all of them open.
#[derive(Debug, Clone)]
pub struct Keyring {
    primary: Key,
    keys: BTreeMap<KeyId, Key>,
}

impl Keyring {
    /// A ring of one key.
    #[must_use]
    pub fn new(primary: Key) -> Self {
        let keys = BTreeMap::from([(primary.id(), primary.clone())]);
        Self { primary, keys }
    }

    /// Adds a key that opens but does not seal. A key that is there stays.
    pub fn install(&mut self, key: Key) {
        self.keys.entry(key.id()).or_insert(key);
    }

    /// The key of that id.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(&id)
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> &Key {
        &self.primary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_installed_key_and_keeps_its_primary() {
        let first = Key::new(&[1; 16]).unwrap();
        let second = Key::new(&[2; 16]).unwrap();
        let mut ring = Keyring::new(first.clone());
        assert!(ring.get(second.id()).is_none());
        ring.install(second.clone());
        assert_eq!(ring.primary().id(), first.id());
        assert_eq!(ring.get(first.id()).unwrap().id(), first.id());
        assert_eq!(ring.get(second.id()).unwrap().id(), second.id());
    }

    #[test]
    fn debug_shows_only_ids() {
        let ring = Keyring::new(Key::new(&[0xab; 16]).unwrap());
        let text = format!("{ring:?}");
        assert!(text.contains(&ring.primary().id().to_string()), "{text}");
        assert!(!text.contains("171") && !text.contains("root"), "{text}");
    }
}
