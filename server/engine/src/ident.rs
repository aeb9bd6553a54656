//! Who is meant: compact references to members, and the identity that foca sees.

use std::fmt;

use bytes::{Buf, BufMut};
use sha2::{Digest as _, Sha256};

/// Bytes of an identity on the wire.
pub(crate) const IDENT_BYTES: usize = 16;

/// Highest boot that fits the 48 bits of the wire: unix milliseconds until the year 10889.
pub(crate) const BOOT_MAX: u64 = (1 << 48) - 1;

/// Hash of a member name: the first 8 bytes of its SHA-256, little endian. Names
/// of one cluster do not collide by accident (2^-64 for a pair).
#[must_use]
pub(crate) fn name_hash(name: &str) -> u64 {
    first_8(Sha256::digest(name.as_bytes()).as_slice())
}

/// Hash under which the loser of a name conflict goes on: bound to its instance,
/// so that it meets nobody else's.
#[must_use]
pub(crate) fn conflict_hash(name: &str, instance: u64) -> u64 {
    let digest = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([0])
        .chain_update(instance.to_le_bytes())
        .finalize();
    first_8(digest.as_slice())
}

fn first_8(digest: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// Spreads the bits of a value: the finaliser of SplitMix64.
#[must_use]
pub(crate) const fn mix64(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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

/// Identity of a member in SWIM. The hash is foca's address: one entry per name;
/// the higher (boot, life) wins it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ident {
    /// [`name_hash`] of its name.
    pub(crate) hash: u64,
    /// Grows with each start of the process.
    pub(crate) boot: u64,
    /// Grows each time a running process was declared down by mistake: a healed
    /// partition never looks like a restart.
    pub(crate) life: u16,
}

impl Ident {
    /// The run that it belongs to.
    pub(crate) const fn node(self) -> NodeRef {
        NodeRef {
            hash: self.hash,
            boot: self.boot,
        }
    }

    /// Four bytes by which a receiver tells that a datagram is for it.
    pub(crate) const fn check(self) -> u32 {
        let mixed = mix64(self.hash ^ mix64(self.boot ^ ((self.life as u64) << 48)));
        (mixed >> 32) as u32
    }

    /// Whether it replaces `other`, of the same hash.
    pub(crate) fn beats(self, other: Self) -> bool {
        (self.boot, self.life) > (other.boot, other.life)
    }

    /// The same run in its next life; `None` when all 65,535 are used up.
    pub(crate) fn next_life(self) -> Option<Self> {
        self.life.checked_add(1).map(|life| Self { life, ..self })
    }

    /// Appends its 16 bytes: hash 8, boot 6, life 2, all big endian.
    pub(crate) fn put(self, mut buf: impl BufMut) {
        buf.put_u64(self.hash);
        buf.put_uint(self.boot, 6);
        buf.put_u16(self.life);
    }

    /// Takes 16 bytes; `None` if there are fewer.
    pub(crate) fn get(mut buf: impl Buf) -> Option<Self> {
        (buf.remaining() >= IDENT_BYTES).then(|| Self {
            hash: buf.get_u64(),
            boot: buf.get_uint(6),
            life: buf.get_u16(),
        })
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.node(), self.life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idents_survive_the_wire() {
        let ident = Ident {
            hash: 0x0102_0304_0506_0708,
            boot: BOOT_MAX,
            life: 7,
        };
        let mut bytes = Vec::new();
        ident.put(&mut bytes);
        assert_eq!(bytes.len(), IDENT_BYTES);
        assert_eq!(Ident::get(&bytes[..]), Some(ident));
        assert_eq!(Ident::get(&bytes[..15]), None);
    }

    #[test]
    fn the_newer_boot_wins_then_the_newer_life() {
        let old = Ident {
            hash: 1,
            boot: 5,
            life: 9,
        };
        let restarted = Ident {
            boot: 6,
            life: 0,
            ..old
        };
        let refuted = Ident { life: 10, ..old };
        assert!(restarted.beats(old) && refuted.beats(old) && restarted.beats(refuted));
        assert!(!old.beats(old), "nobody replaces itself");
        assert_ne!(old.check(), refuted.check());
    }

    #[test]
    fn lives_end() {
        let last = Ident {
            hash: 1,
            boot: 5,
            life: u16::MAX - 1,
        };
        let end = last.next_life().unwrap();
        assert!(end.beats(last));
        assert_eq!(end.next_life(), None);
    }
}
