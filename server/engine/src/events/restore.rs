//! How far the events of an earlier run went: what a restarted node does not hand
//! over again, and from where on it asks for what it missed.

use std::sync::Arc;

use super::{Events, EventsOutput, LAMPORT_MAX, Position};
use crate::event::Origin;
use crate::ident::{BOOT_MAX, NodeRef};
use crate::snapshot::SNAPSHOT_POSITIONS_MAX;
use crate::time::Now;

/// Sequences above this are not believed: nobody sends so many.
const SEQUENCE_MAX: u64 = 1 << 62;

impl Events {
    /// Next Lamport time.
    pub(crate) fn lamport(&self) -> u64 {
        self.lamport
    }

    /// Times that a position moved.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// How far each origin's events were handed over, and the boots that were alive
    /// without any (sequence 0). Own events are left out.
    pub(crate) fn kept_positions(&self) -> Vec<Position> {
        let logs = self
            .logs
            .values()
            .filter(|log| log.key.hash != self.me.hash);
        let mut kept: Vec<Position> = logs
            .filter(|log| log.delivered() > 0)
            .filter_map(|log| {
                Some(Position {
                    hash: log.key.hash,
                    boot: log.key.boot,
                    name: log.origin.as_ref()?.name.as_ref().to_owned(),
                    sequence: log.delivered(),
                })
            })
            .collect();
        let seen = self.boots_seen.iter();
        kept.extend(seen.map(|(hash, boot)| Position {
            hash: *hash,
            boot: *boot,
            name: String::new(),
            sequence: 0,
        }));
        kept
    }

    /// Goes on where an earlier run ended. Nothing up to the positions is handed over
    /// again; what came after them is asked for once somebody tells of it, of origins
    /// that are new since then from their first event on. Entries that make no sense
    /// are skipped; their number.
    pub(crate) fn restore(
        &mut self,
        now: Now,
        lamport: u64,
        positions: &[Position],
        joined: bool,
    ) -> usize {
        if lamport < LAMPORT_MAX {
            self.lamport = self.lamport.max(lamport);
        }
        self.restored = joined;
        let mut kept: Vec<&Position> = positions.iter().take(SNAPSHOT_POSITIONS_MAX).collect();
        // Boots of an origin in order: the newer one closes the older.
        kept.sort_unstable_by_key(|position| position.origin());
        let sane = |position: &&&Position| {
            let named =
                position.sequence == 0 || super::wire::name_fits(&position.name, position.hash);
            named && position.boot <= BOOT_MAX && position.sequence <= SEQUENCE_MAX
        };
        let mut restored = 0;
        for position in kept.iter().filter(sane) {
            restored += 1;
            self.restore_one(now, position);
        }
        positions.len() - restored
    }

    fn restore_one(&mut self, now: Now, position: &Position) {
        let key = position.origin();
        if key.hash == self.me.hash || self.logs.contains_key(&key) {
            return;
        }
        if self.boots_seen.len() < super::LOGS_MAX || self.boots_seen.contains_key(&key.hash) {
            let seen = self.boots_seen.entry(key.hash).or_default();
            *seen = (*seen).max(key.boot);
        }
        if position.sequence == 0 || self.make_log(now, key, position.sequence).is_none() {
            return;
        }
        self.name_restored(now, key, &position.name, position.sequence);
    }

    fn name_restored(&mut self, now: Now, key: NodeRef, name: &str, sequence: u64) {
        if let Some(log) = self.logs.get_mut(&key) {
            log.set_name(name);
        }
        self.moved(now.at, key);
        let origin = Origin {
            name: Arc::from(name),
            boot: key.boot,
        };
        self.out.push_back(EventsOutput::Base { origin, sequence });
    }
}
