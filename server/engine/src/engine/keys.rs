//! Keys that change while the node runs.

use super::Engine;
use super::datagrams::receiving::dropped;
use crate::api::{Note, UNKNOWN_KEY_NOTE_EVERY};
use crate::broadcast::Topic;
use crate::crypto::{Keyring, OpenError, Opened, Stage};
use crate::time::Now;

impl Engine {
    /// Goes on with other keys, or without any: what comes under a key that is gone
    /// is dropped and counted from now on.
    pub fn set_keyring(&mut self, now: Now, keyring: Option<Keyring>) {
        self.sealer.set_keyring(keyring.clone());
        if self.own.set_keyring(now, keyring) {
            self.settle_own(now);
            self.broadcasts.push(Topic::Record(self.own.ident.hash));
            self.upkeep.gossip_soon(now.at);
        }
        self.finish(now);
    }

    /// Whether peers are talked to under a key.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.stage().is_some_and(Stage::seals)
    }

    /// How far this node is on its way from plaintext; `None` without keys.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.own.config().keyring.as_ref().map(Keyring::stage)
    }

    /// What an operator should know of encryption that is not on.
    pub(super) fn plaintext_warning(&self) -> Option<&'static str> {
        match self.stage() {
            None => Some("plaintext: peers talk without encryption"),
            Some(Stage::Receive) => {
                Some("plaintext: this node has a key but sends without encryption (stage receive)")
            }
            Some(Stage::Send) => {
                Some("plaintext: this node still accepts what is not encrypted (stage send)")
            }
            Some(Stage::On) => None,
        }
    }

    /// Counts what cannot be opened. An unknown key may mean that the keys changed
    /// while this node was away: that is told.
    pub(super) fn drop_datagram(&mut self, now: Now, error: &OpenError) {
        self.count(dropped(error));
        let OpenError::UnknownKey(key) = error else {
            return;
        };
        let told = self.unknown_key_told;
        if told.is_none_or(|told| now.at.since(told) >= UNKNOWN_KEY_NOTE_EVERY) {
            self.unknown_key_told = Some(now.at);
            self.note(Note::UnknownKey { key: *key });
        }
    }

    /// Counts what came in clear though this node has keys: who turns encryption on
    /// waits until it stands still.
    pub(super) fn count_plaintext(&mut self, opened: &Opened) {
        if !opened.sealed && self.stage().is_some() {
            self.count("datagrams_plaintext_accepted");
        }
    }
}
