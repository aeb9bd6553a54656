//! The keys that a node accepts, the one that it seals with, and how far the
//! cluster is on its way from plaintext.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::key::{Key, KeyId};

/// How far a cluster is on its way from plaintext to encryption. Ordered: a later
/// stage is greater. Neighbouring stages understand each other, so a running
/// cluster goes through them one after the other, node by node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Sends in clear, accepts both.
    Receive,
    /// Sends sealed, accepts both.
    Send,
    /// Sends sealed, accepts nothing else.
    #[default]
    On,
}

/// A word that names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no stage of encryption: use on, send or receive")]
pub struct UnknownStage(String);

impl Stage {
    /// All of them, in the order in which encryption is turned on.
    pub const ALL: [Self; 3] = [Self::Receive, Self::Send, Self::On];

    /// Its word in settings and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Send => "send",
            Self::On => "on",
        }
    }

    /// Whether a node at this stage seals what it sends.
    #[must_use]
    pub const fn seals(self) -> bool {
        matches!(self, Self::Send | Self::On)
    }

    /// Whether a node at this stage takes what is not sealed.
    #[must_use]
    pub const fn accepts_plaintext(self) -> bool {
        matches!(self, Self::Receive | Self::Send)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        let found = Self::ALL.into_iter().find(|stage| stage.as_str() == text);
        found.ok_or_else(|| UnknownStage(text.to_owned()))
    }
}

/// Keys by id, one of them primary: it seals, all of them open. A ring is a value:
/// to change a running node's keys, hand it a new one.
#[derive(Debug, Clone)]
pub struct Keyring {
    primary: Key,
    keys: BTreeMap<KeyId, Key>,
    stage: Stage,
}

impl Keyring {
    /// A ring of one key, encryption on.
    #[must_use]
    pub fn new(primary: Key) -> Self {
        let keys = BTreeMap::from([(primary.id(), primary.clone())]);
        Self {
            primary,
            keys,
            stage: Stage::On,
        }
    }

    /// The same ring at another stage.
    #[must_use]
    pub fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
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

    /// Every key, by id.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// How far the node is on its way from plaintext.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The key that seals, unless the node sends in clear.
    #[must_use]
    pub fn sealing(&self) -> Option<&Key> {
        self.stage.seals().then_some(&self.primary)
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
        assert_eq!(ring.keys().count(), 2);
    }

    #[test]
    fn debug_shows_only_ids() {
        let ring = Keyring::new(Key::new(&[0xab; 16]).unwrap());
        let text = format!("{ring:?}");
        assert!(text.contains(&ring.primary().id().to_string()), "{text}");
        assert!(!text.contains("171") && !text.contains("root"), "{text}");
    }

    #[test]
    fn stages_have_words_and_an_order() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
        assert!(Stage::ALL.is_sorted());
        let error = "off".parse::<Stage>().unwrap_err().to_string();
        assert!(
            error.contains("\"off\"") && error.contains("receive"),
            "{error}"
        );
    }

    #[test]
    fn only_the_last_stage_refuses_plaintext_and_only_the_first_sends_it() {
        let ring = |stage| Keyring::new(Key::new(&[1; 32]).unwrap()).at(stage);
        let facts = Stage::ALL.map(|stage| {
            let ring = ring(stage);
            (ring.sealing().is_some(), ring.stage().accepts_plaintext())
        });
        assert_eq!(facts, [(false, true), (true, true), (true, false)]);
    }
}
