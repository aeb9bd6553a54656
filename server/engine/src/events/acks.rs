//! Acknowledgements that this node owes to origins: its own position, told
//! straight to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wire::Call;
use super::{Events, LOGS_MAX};
use crate::ident::NodeRef;
use crate::time::Time;

/// Acknowledgements leave in batches this far apart.
const ACK_EVERY: Duration = Duration::from_millis(5);

/// Acknowledgements that this node owes to origins.
#[derive(Debug, Default)]
pub(super) struct Duties {
    owed: BTreeMap<NodeRef, Duty>,
    at: Option<Time>,
    gate: Time,
}

#[derive(Debug, Clone, Copy)]
struct Duty {
    /// Tell each move until here.
    through: u64,
    /// There is something to tell.
    pending: bool,
}

impl Duties {
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.at
    }

    pub(super) fn remove(&mut self, key: NodeRef) {
        self.owed.remove(&key);
    }

    fn owe(&mut self, now: Time, key: NodeRef, through: u64) {
        // One for each log at most; above that an origin has to ask again.
        if self.owed.len() >= LOGS_MAX && !self.owed.contains_key(&key) {
            return;
        }
        let duty = self.owed.entry(key).or_insert(Duty {
            through,
            pending: true,
        });
        duty.through = duty.through.max(through);
        duty.pending = true;
        let at = now.max(self.gate);
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Events {
    /// An origin wants to hear positions.
    pub(super) fn on_call(&mut self, now: Time, from: NodeRef, call: &Call) {
        if from.hash != self.me.hash && call.who.contains(&self.me.hash) {
            self.duties.owe(now, from, call.through);
        }
    }

    /// A log moved: tell its origin if it waits for that, or every quarter of the
    /// window.
    pub(super) fn owe_report(&mut self, now: Time, key: NodeRef) {
        let Some(log) = self.logs.get(&key) else {
            return;
        };
        let events = (self.limits.events_per_origin as u64 / 4).max(1);
        let bytes = self.window().bytes / 4;
        let quarter =
            log.position() - log.reported >= events || log.unreported_bytes as u64 >= bytes.max(1);
        if quarter || self.duties.owed.contains_key(&key) {
            self.duties.owe(now, key, 0);
        }
    }

    /// Tells origins what they wait for.
    pub(super) fn send_acks(&mut self, now: Time) {
        if self.duties.at.is_none_or(|at| now < at) {
            return;
        }
        self.duties.at = None;
        self.duties.gate = now + ACK_EVERY;
        let pending: Vec<NodeRef> = self
            .duties
            .owed
            .iter()
            .filter(|(_, duty)| duty.pending)
            .map(|(key, _)| *key)
            .collect();
        for key in pending {
            let section = self.marks_section(&[key]);
            self.send(key, section);
            let log = self.logs.get_mut(&key);
            let position = log.map_or(0, |log| {
                log.reported = log.position();
                log.unreported_bytes = 0;
                log.position()
            });
            if let Some(duty) = self.duties.owed.get_mut(&key) {
                duty.pending = false;
                if position >= duty.through {
                    self.duties.owed.remove(&key);
                }
            }
        }
    }
}
