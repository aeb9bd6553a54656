//! Memory stays within its bounds.

use super::Events;
use super::log::Log;
use crate::api::Limits;
use crate::ident::NodeRef;

impl Events {
    /// Events out of order may not fill the memory: they cannot be evicted. The
    /// next one in order is always taken.
    pub(super) fn has_memory(&self, key: NodeRef, sequence: u64, size: usize) -> bool {
        let log = self.logs.get(&key);
        let (position, held) = log.map_or((0, 0), |log| (log.position(), log.bytes()));
        sequence == position + 1
            || (held + size <= self.limits.event_bytes_per_origin
                && self.bytes + size <= self.limits.event_bytes_total)
    }

    /// Evicts the oldest events above the bounds. Own events that a counted
    /// member still needs stay.
    pub(super) fn keep_bounds(&mut self, key: NodeRef) {
        self.evict(key, |log, limits| {
            log.position() - log.floor() > limits.events_per_origin as u64
                || log.bytes() > limits.event_bytes_per_origin
        });
        if self.bytes <= self.limits.event_bytes_total {
            return;
        }
        // Down to 31/32, so that the largest log is looked for now and then only.
        let goal = self.limits.event_bytes_total / 32 * 31;
        let mut spared = 0;
        while self.bytes > goal && spared < self.logs.len() {
            let mut by_size: Vec<_> = self.logs.values().map(|l| (l.bytes(), l.key)).collect();
            by_size.sort_unstable();
            let Some((size, largest)) = by_size.iter().rev().nth(spared).copied() else {
                return;
            };
            let excess = self.bytes - goal;
            self.evict(largest, |log, _| log.bytes() + excess > size);
            spared += 1;
        }
    }

    pub(super) fn evict(&mut self, key: NodeRef, over: impl Fn(&Log, &Limits) -> bool) {
        let keep_above = if key == self.me {
            self.own.slowest()
        } else {
            u64::MAX
        };
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        let before = log.bytes();
        while over(log, &self.limits) && log.evict_one(keep_above) {}
        self.bytes -= before - log.bytes();
    }
}
