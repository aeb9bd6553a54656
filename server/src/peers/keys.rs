//! Which connections close when a key goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use muster_engine::crypto::KeyId;
use tokio_util::sync::CancellationToken;

use crate::hub::lock;

/// One token per key that connections are open under; all end with the daemon.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    stop: CancellationToken,
    /// As many entries as the cluster had keys in this run.
    tokens: Arc<Mutex<BTreeMap<Option<KeyId>, CancellationToken>>>,
}

impl Keys {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            tokens: Arc::default(),
        }
    }

    /// Tells a connection under that key when to close.
    pub(super) fn token(&self, key: Option<KeyId>) -> CancellationToken {
        let mut tokens = lock(&self.tokens);
        let token = tokens.entry(key);
        token.or_insert_with(|| self.stop.child_token()).clone()
    }

    pub(super) fn close(&self, key: Option<KeyId>) {
        if let Some(token) = lock(&self.tokens).remove(&key) {
            token.cancel();
        }
    }
}
