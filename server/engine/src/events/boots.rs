//! Logs come and go: the boots of one origin, in order.
//!
//! A boot that has a predecessor hands nothing over until nobody has found more
//! of the predecessor for a second; then the predecessor is closed for good.

use std::sync::Arc;

use super::log::Log;
use super::{BOOTS_MAX, Events, EventsOutput, LOGS_MAX};
use crate::event::Origin;
use crate::ident::NodeRef;
use crate::time::Now;

impl Events {
    /// The log of an origin and boot, made if there is none and it may be.
    pub(super) fn log_for(&mut self, now: Now, key: NodeRef) -> Option<&mut Log> {
        if !self.logs.contains_key(&key) {
            self.make_log(now, key, 0)?;
        }
        self.logs.get_mut(&key)
    }

    /// A log that begins after `base`. `None` for a boot older than those kept.
    pub(super) fn make_log(&mut self, now: Now, key: NodeRef, base: u64) -> Option<()> {
        let mut boots: Vec<u64> = self.boots(key.hash).collect();
        if base == 0
            && boots.is_empty()
            && let Some(before) = self.boot_before(key)
        {
            let hash = key.hash;
            let before_key = NodeRef { hash, boot: before };
            self.logs
                .insert(before_key, Log::new(before_key, 0, now.at));
            boots.push(before);
        }
        if boots.len() >= BOOTS_MAX {
            let oldest = *boots.first()?;
            if key.boot < oldest {
                self.count.dropped_old_boot += 1;
                return None;
            }
            let hash = key.hash;
            self.forget_log(now, NodeRef { hash, boot: oldest });
        }
        while self.logs.len() >= LOGS_MAX {
            let quiet = self.logs.values().filter(|log| log.key != self.me);
            let quietest = quiet.min_by_key(|log| log.changed)?.key;
            self.forget_log(now, quietest);
        }
        let mut log = Log::new(key, base, now.at);
        let newer: Vec<u64> = boots.iter().filter(|b| **b > key.boot).copied().collect();
        log.closed = newer.iter().any(|boot| {
            let hash = key.hash;
            let log = self.logs.get(&NodeRef { hash, boot: *boot });
            log.is_some_and(|log| log.open)
        });
        let waited_for = !log.closed && !newer.is_empty();
        let older = boots.iter().rev().find(|boot| **boot < key.boot);
        if let Some(older) = older {
            let older = NodeRef {
                hash: key.hash,
                boot: *older,
            };
            self.unsettle(older);
            if base == 0 && !log.closed && !self.logs.get(&older).is_none_or(|log| log.closed) {
                log.open = false;
                self.hold(now.at, older);
            }
        }
        let open = log.open;
        self.logs.insert(key, log);
        if open && newer.is_empty() {
            self.finish_before(now, key);
        }
        if waited_for {
            self.hold(now.at, key);
        }
        Some(())
    }

    /// A member came up. If an earlier boot of it was known, that one ends now and
    /// not only with the first event of the new one.
    pub(super) fn see_boot(&mut self, now: Now, node: NodeRef) {
        let before = self.boots_seen.get(&node.hash).copied();
        let earlier = self.boots(node.hash).next().or(before);
        if earlier.is_some_and(|boot| boot < node.boot) && !self.logs.contains_key(&node) {
            // Refused only if it is older than what is kept.
            let _: Option<()> = self.make_log(now, node, 0);
        }
        if before.is_some() || self.boots_seen.len() < LOGS_MAX {
            let seen = self.boots_seen.entry(node.hash).or_default();
            *seen = (*seen).max(node.boot);
        }
    }

    /// `from` has events of a boot that lies between one that ends and one that
    /// waits: that one comes first.
    pub(super) fn hear_of_boot(&mut self, now: Now, from: NodeRef, ended: NodeRef, boot: u64) {
        let hash = ended.hash;
        let key = NodeRef { hash, boot };
        let waits = self.boots(hash).any(|newer| {
            let log = self.logs.get(&NodeRef { hash, boot: newer });
            newer > boot && log.is_some_and(|log| !log.open)
        });
        if boot > ended.boot && waits && !self.logs.contains_key(&key) {
            // Refused only if it is older than what is kept.
            let made: Option<()> = self.make_log(now, key, 0);
            if made.is_some() {
                self.claim(now.at, from, key, 1);
            }
        }
    }

    /// An earlier boot that was alive once, or that somebody claims to have events of.
    pub(super) fn boot_before(&self, key: NodeRef) -> Option<u64> {
        let seen = self.boots_seen.get(&key.hash).copied();
        let first = NodeRef { boot: 0, ..key };
        let claimed = self.hunts.by_log.range(first..key).next_back();
        let seen = seen.filter(|boot| *boot < key.boot);
        seen.max(claimed.map(|(claimed, _)| claimed.boot))
    }

    /// Boots of an origin that have a log, oldest first.
    pub(super) fn boots(&self, hash: u64) -> impl Iterator<Item = u64> {
        let first = NodeRef { hash, boot: 0 };
        let last = NodeRef {
            hash,
            boot: u64::MAX,
        };
        self.logs.range(first..=last).map(|(key, _)| key.boot)
    }

    pub(super) fn forget_log(&mut self, now: Now, key: NodeRef) {
        // Whoever waits for the end of this boot waits no longer.
        let next = self.boots(key.hash).find(|boot| *boot > key.boot);
        if let Some(boot) = next {
            let hash = key.hash;
            self.open(now, NodeRef { hash, boot });
        }
        self.unsettle(key);
        self.drop_hunt(key);
        if let Some(log) = self.logs.remove(&key) {
            self.bytes -= log.bytes();
            self.count.logs_forgotten += 1;
        }
        self.duties.remove(key);
    }

    /// This node's time begins after `base` of this origin.
    pub(super) fn begin_at(&mut self, now: Now, key: NodeRef, name: &str, base: u64) {
        if let Some(log) = self.logs.get_mut(&key) {
            // Events came before the state exchange: those after the base stay.
            self.bytes -= log.bytes();
            log.rebase(base);
            self.bytes += log.bytes();
        } else if self.make_log(now, key, base).is_none() {
            return;
        }
        if let Some(log) = self.logs.get_mut(&key) {
            log.set_name(name);
        }
        self.moved(now.at, key);
        if let Some(boot) = self.boots_seen.get(&key.hash).copied() {
            let hash = key.hash;
            self.see_boot(now, NodeRef { hash, boot });
        }
        self.out.push_back(EventsOutput::Base {
            origin: Origin {
                name: Arc::from(name),
                boot: key.boot,
            },
            sequence: base,
        });
        self.ask_held(now, key);
        self.hand_over(now, key, None);
    }

    /// Lets a boot hand over; all earlier boots of the origin are over then.
    pub(super) fn open(&mut self, now: Now, key: NodeRef) {
        if self.logs.get(&key).is_none_or(|log| log.open) {
            return;
        }
        self.finish_before(now, key);
        if let Some(log) = self.logs.get_mut(&key) {
            log.open = true;
        }
        self.hand_over(now, key, None);
        self.keep_bounds(key);
    }

    /// A boot that waits for the one before is opened early once half of the
    /// window waits: what waits cannot be evicted.
    pub(super) fn open_if_full(&mut self, now: Now, key: NodeRef) {
        let events = self.limits.events_per_origin as u64 / 2;
        let bytes = self.limits.event_bytes_per_origin / 2;
        let log = self.logs.get(&key);
        if log.is_some_and(|log| {
            !log.open && (log.position() - log.delivered() > events || log.bytes() > bytes)
        }) {
            self.open(now, key);
        }
    }

    pub(super) fn finish_before(&mut self, now: Now, key: NodeRef) {
        let earlier: Vec<u64> = self.boots(key.hash).filter(|b| *b < key.boot).collect();
        for boot in earlier {
            let hash = key.hash;
            self.finish(now, NodeRef { hash, boot });
        }
    }

    /// Ends a boot: holes are given up, what is held beyond them handed over.
    pub(super) fn finish(&mut self, now: Now, key: NodeRef) {
        if let Some(log) = self.logs.get_mut(&key)
            && !log.closed
        {
            log.open = true;
            let top = log.top();
            self.skip_to(now, key, top);
            self.hand_over(now, key, None);
            if let Some(log) = self.logs.get_mut(&key) {
                log.closed = true;
            }
        }
        self.drop_hunt(key);
    }

    /// An event of a boot whose successor is open already: dropped, and covered
    /// by a gap marker if it was not.
    pub(super) fn too_late(&mut self, now: Now, key: NodeRef, sequence: u64) {
        self.count.dropped_old_boot += 1;
        self.skip_to(now, key, sequence);
    }
}
