//! Who is meant: compact references to members.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Hash of a member name: the first 8 bytes of its SHA-256, little endian. Two
/// members of one cluster whose names collide cannot happen by accident (2^-64).
#[must_use]
pub(crate) fn name_hash(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// One run of one member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeRef {
    /// [`name_hash`] of its name.
    pub(crate) hash: u64,
    /// Its boot.
    pub(crate) boot: u64,
}

impl fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.hash, self.boot)
    }
}
