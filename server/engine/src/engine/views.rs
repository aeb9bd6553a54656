//! What of two views is compared: a summary of each member, and digests of 64
//! groups of members, so that views that agree cost the same in any cluster.

use super::Engine;
use crate::ident::{Ident, mix64};
use crate::member::Status;
use crate::swim::State;
use crate::table::Peer;
use crate::wire::{MEMBERS_PER_EXCHANGE_MAX, Summary};

/// Groups of members, by the highest bits of the name's hash: one bit each in a mask.
const GROUPS: usize = 64;

/// Bytes of the digests of all groups.
pub(super) const DIGESTS_BYTES: usize = GROUPS * 8;

/// Which groups are meant; none means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask(pub(super) u64);

impl Mask {
    /// Every group.
    pub(super) const ALL: Self = Self(0);

    /// Whether a member belongs to one of them.
    pub(super) const fn has(self, hash: u64) -> bool {
        self.0 == 0 || self.0 >> (hash >> 58) & 1 == 1
    }
}

impl Engine {
    /// Digests of what this node holds of each group, itself, the failed and the
    /// left included. What peers cannot agree on is left out: when somebody died.
    pub(super) fn group_digests(&self) -> Vec<u8> {
        let mut groups = [0_u64; GROUPS];
        let own = std::iter::once(self.own_summary());
        for held in own.chain(self.table.iter().map(summary)) {
            let group = usize::try_from(held.ident.hash >> 58).unwrap_or(0);
            groups[group] ^= weight(&held);
        }
        groups
            .iter()
            .flat_map(|group| group.to_le_bytes())
            .collect()
    }

    /// The groups of which somebody's digests differ from this node's.
    pub(super) fn differing(&self, theirs: &[u8]) -> Mask {
        let mine = self.group_digests();
        let pairs = mine.chunks_exact(8).zip(theirs.chunks_exact(8));
        let differs = pairs
            .enumerate()
            .filter(|(_, (mine, theirs))| mine != theirs);
        Mask(differs.fold(0, |mask, (group, _)| mask | 1 << group))
    }

    fn own_summary(&self) -> Summary {
        Summary {
            ident: self.own.ident,
            incarnation: self.own.incarnation,
            state: if self.own.status == Status::Left {
                3
            } else {
                0
            },
            record_version: self.own.record.version(),
        }
    }
}

/// Summaries by name hash, from a peer.
pub(super) struct Summaries(Vec<Summary>);

impl Summaries {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let chunks = bytes
            .chunks_exact(Summary::BYTES)
            .take(MEMBERS_PER_EXCHANGE_MAX);
        let mut all: Vec<Summary> = chunks.filter_map(Summary::get).collect();
        if !all.is_sorted_by_key(|summary| summary.ident.hash) {
            all.sort_by_key(|summary| summary.ident.hash);
        }
        Self(all)
    }

    pub(super) fn get(&self, hash: u64) -> Option<Summary> {
        let found = self.0.binary_search_by_key(&hash, |held| held.ident.hash);
        found.ok().and_then(|at| self.0.get(at)).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Summary> {
        self.0.iter()
    }
}

pub(super) fn summary(peer: &Peer) -> Summary {
    Summary {
        ident: peer.ident,
        incarnation: peer.incarnation,
        state: state_number(peer),
        record_version: peer.record.version(),
    }
}

pub(super) fn state_number(peer: &Peer) -> u8 {
    match peer.state {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down if peer.left => 3,
        State::Down => 2,
    }
}

/// What outranks what about one identity: dead over alive, left over failed, the
/// higher incarnation, suspect over alive.
fn rank(summary: &Summary) -> (bool, u16, u8) {
    let dead = summary.state >= 2;
    (
        dead,
        if dead { 0 } else { summary.incarnation },
        summary.state,
    )
}

/// Whether a member is held newer here than there.
pub(super) fn is_ahead(peer: &Peer, held: Option<Summary>) -> bool {
    held.is_none_or(|held| {
        peer.ident.beats(held.ident)
            || (peer.ident == held.ident
                && (rank(&summary(peer)) > rank(&held)
                    || peer.record.version() > held.record_version))
    })
}

/// Whether a member is held newer there than here.
pub(super) fn lags(peer: &Peer, held: &Summary) -> bool {
    held.ident.beats(peer.ident)
        || (held.ident == peer.ident
            && (rank(held) > rank(&summary(peer)) || held.record_version > peer.record.version()))
}

/// What a member adds to its group's digest.
fn weight(held: &Summary) -> u64 {
    let Ident { hash, boot, life } = held.ident;
    let (_, incarnation, state) = rank(held);
    let state = u64::from(life) << 32 | u64::from(incarnation) << 8 | u64::from(state);
    mix64(hash ^ mix64(boot ^ mix64(state ^ mix64(held.record_version))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(hash: u64, state: u8, incarnation: u16) -> Summary {
        Summary {
            ident: Ident {
                hash,
                boot: 5,
                life: 0,
            },
            incarnation,
            state,
            record_version: 1,
        }
    }

    #[test]
    fn summaries_are_found_in_any_order() {
        let mut bytes = Vec::new();
        for hash in [9, 3, 7] {
            held(hash, 0, 1).put(&mut bytes);
        }
        let parsed = Summaries::parse(&bytes);
        assert_eq!(parsed.get(7), Some(held(7, 0, 1)));
        assert_eq!(parsed.get(8), None);
        assert_eq!(parsed.iter().count(), 3);
    }

    #[test]
    fn the_digest_sees_what_matters() {
        let base = weight(&held(3, 0, 1));
        for other in [held(4, 0, 1), held(3, 1, 1), held(3, 0, 2), held(3, 2, 1)] {
            assert_ne!(weight(&other), base, "{other:?}");
        }
        let (one, other) = (held(3, 2, 1), held(3, 2, 4));
        assert_eq!(
            weight(&one),
            weight(&other),
            "the dead need not agree on it"
        );
    }

    #[test]
    fn a_mask_names_groups_by_their_highest_bits() {
        assert!(Mask::ALL.has(0) && Mask::ALL.has(u64::MAX));
        let last = Mask(1 << 63);
        assert!(last.has(u64::MAX) && !last.has(0));
    }
}
