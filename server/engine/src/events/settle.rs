//! The digest over positions: only what stood still for a second, so that it
//! agrees between members while events flow.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ident::NodeRef;
use crate::time::Time;

/// A position that moved within this time is left out of the digest.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// XOR over the positions that stand still.
#[derive(Debug, Default)]
pub(super) struct Settle {
    digest: u64,
    /// Logs that moved, by the time at which to look at them again.
    waiting: BTreeSet<(Time, NodeRef)>,
}

impl Settle {
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Takes `mixed` in or out.
    pub(super) fn toggle(&mut self, mixed: u64) {
        self.digest ^= mixed;
    }

    pub(super) fn wait(&mut self, until: Time, key: NodeRef) {
        self.waiting.insert((until, key));
    }

    /// The next log whose time has come.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<NodeRef> {
        let first = *self.waiting.first()?;
        if first.0 > now {
            return None;
        }
        self.waiting.remove(&first);
        Some(first.1)
    }
}

/// What one position adds to the digest. Never 0.
pub(super) fn mix(key: NodeRef, position: u64) -> u64 {
    mix64(mix64(key.hash ^ mix64(key.boot)) ^ position).max(1)
}

/// The finaliser of splitmix64.
const fn mix64(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
