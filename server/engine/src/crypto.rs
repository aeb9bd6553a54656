//! Keys, sealed datagrams and the replay window.

/// Keys by id, one of them primary.
#[derive(Debug, Clone)]
pub struct Keyring;
