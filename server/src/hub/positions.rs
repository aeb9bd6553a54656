//! Where a consumer stands in the event streams: a sequence per origin.

use std::collections::BTreeMap;

use muster_engine::Origin;

/// The last sequence of each origin that was handed over or covered by a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    last: BTreeMap<Origin, u64>,
}

impl Positions {
    /// The position of one origin, if it has one.
    #[must_use]
    pub fn get(&self, origin: &Origin) -> Option<u64> {
        self.last.get(origin).copied()
    }

    /// Moves the position of an origin forward; never back.
    pub fn advance(&mut self, origin: &Origin, sequence: u64) {
        match self.last.get_mut(origin) {
            Some(last) => *last = sequence.max(*last),
            None => {
                self.last.insert(origin.clone(), sequence);
            }
        }
    }

    /// Drops the position of an origin.
    pub fn remove(&mut self, origin: &Origin) {
        self.last.remove(origin);
    }

    /// All positions, ordered by name, then boot.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, u64)> {
        self.last.iter().map(|(origin, last)| (origin, *last))
    }

    /// Origins that have a position.
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// No origin has a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

impl FromIterator<(Origin, u64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (Origin, u64)>>(items: I) -> Self {
        let mut positions = Self::default();
        for (origin, sequence) in items {
            positions.advance(&origin, sequence);
        }
        positions
    }
}
