//! Where a consumer of events stands: a position per origin and boot.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::pb;

/// The last event of each origin and boot that was taken or covered by a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventPositions(BTreeMap<(String, u64), u64>);

impl EventPositions {
    /// Reads a token of `begin` or of a heartbeat.
    ///
    /// # Errors
    /// When the bytes are no token.
    pub fn decode(token: &[u8]) -> Result<Self, prost::DecodeError> {
        let token = pb::EventToken::decode(token)?;
        let mut positions = Self::default();
        for id in &token.positions {
            // It stands for no position at all.
            if *id != pb::EventId::default() {
                positions.fold(id);
            }
        }
        Ok(positions)
    }

    /// The token to resume with. Equal positions give equal bytes. Never empty: an
    /// empty token would mean "from now", not "after nothing".
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let positions = self.0.iter();
        let positions = positions.map(|((origin, boot), sequence)| pb::EventId {
            origin: origin.clone(),
            boot: *boot,
            sequence: *sequence,
        });
        let mut token = pb::EventToken {
            positions: positions.collect(),
        };
        if token.positions.is_empty() {
            token.positions.push(pb::EventId::default());
        }
        token.encode_to_vec()
    }

    /// Takes an event. False: it was taken or covered before, and nothing changed.
    pub fn fold(&mut self, id: &pb::EventId) -> bool {
        self.advance(&id.origin, id.boot, id.sequence)
    }

    /// Takes a gap: the part of it that is new, if any.
    pub fn fold_gap(&mut self, mut gap: pb::EventGap) -> Option<pb::EventGap> {
        let next = self.get(&gap.origin, gap.boot).map_or(0, |held| held + 1);
        gap.first_sequence = gap.first_sequence.max(next);
        (gap.first_sequence <= gap.last_sequence
            && self.advance(&gap.origin, gap.boot, gap.last_sequence))
        .then_some(gap)
    }

    /// Position held for an origin and boot.
    #[must_use]
    pub fn get(&self, origin: &str, boot: u64) -> Option<u64> {
        self.0.get(&(origin.to_owned(), boot)).copied()
    }

    fn advance(&mut self, origin: &str, boot: u64, sequence: u64) -> bool {
        match self.0.get_mut(&(origin.to_owned(), boot)) {
            Some(held) if *held >= sequence => false,
            Some(held) => {
                *held = sequence;
                true
            }
            None => {
                self.0.insert((origin.to_owned(), boot), sequence);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(origin: &str, boot: u64, sequence: u64) -> pb::EventId {
        pb::EventId {
            origin: origin.into(),
            boot,
            sequence,
        }
    }

    fn gap(first: u64, last: u64) -> pb::EventGap {
        pb::EventGap {
            origin: "n1".into(),
            boot: 7,
            first_sequence: first,
            last_sequence: last,
            reason: pb::EventGapReason::NotHeld.into(),
        }
    }

    #[test]
    fn ids_fold_into_a_token_and_come_back() {
        let start = pb::EventToken {
            positions: vec![id("n2", 1, 5), id("n1", 7, 3)],
        };
        let mut positions = EventPositions::decode(&start.encode_to_vec()).unwrap();
        assert!(positions.fold(&id("n1", 7, 4)));
        assert!(positions.fold(&id("n1", 8, 1)), "another boot counts apart");
        assert!(positions.fold(&id("n3", 1, 9)));
        let token = pb::EventToken::decode(positions.encode().as_slice()).unwrap();
        assert_eq!(
            token.positions,
            [
                id("n1", 7, 4),
                id("n1", 8, 1),
                id("n2", 1, 5),
                id("n3", 1, 9)
            ]
        );
        assert_eq!(
            EventPositions::decode(&positions.encode()).unwrap(),
            positions
        );
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let mut positions = EventPositions::default();
        assert!(positions.fold(&id("n1", 7, 4)));
        assert!(!positions.fold(&id("n1", 7, 4)));
        assert!(!positions.fold(&id("n1", 7, 2)));
        assert_eq!(positions.get("n1", 7), Some(4));
    }

    #[test]
    fn gaps_are_cut_to_what_is_new() {
        let mut positions = EventPositions::default();
        positions.fold(&id("n1", 7, 4));
        assert_eq!(positions.fold_gap(gap(2, 4)), None);
        assert_eq!(positions.fold_gap(gap(3, 9)), Some(gap(5, 9)));
        assert_eq!(positions.fold_gap(gap(10, 12)), Some(gap(10, 12)));
        assert!(!positions.fold(&id("n1", 7, 12)));
        assert_eq!(
            positions.fold_gap(gap(20, 15)),
            None,
            "an empty range is no gap"
        );
    }

    #[test]
    fn garbage_is_no_token() {
        assert!(EventPositions::decode(b"\xff\xff\xff").is_err());
        assert_eq!(
            EventPositions::decode(b"").unwrap(),
            EventPositions::default()
        );
        let nothing = EventPositions::default().encode();
        assert!(!nothing.is_empty(), "that would mean from now");
        assert_eq!(
            EventPositions::decode(&nothing).unwrap(),
            EventPositions::default()
        );
    }
}
