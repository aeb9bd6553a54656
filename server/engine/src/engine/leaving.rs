//! A graceful leave: say so, let it spread, go.

use std::time::Duration;

use super::Engine;
use crate::api::Output;
use crate::broadcast::Topic;
use crate::member::{Status, StatusReason};
use crate::swim::Update;
use crate::time::{Now, Time};

/// How long the intent may spread before this node declares itself down.
const INTENT_SPREADS: Duration = Duration::from_millis(300);

/// Pause between the last rounds of gossip.
const ROUND: Duration = Duration::from_millis(60);

/// Last rounds of gossip, after which the node may stop. In all 0.6 s (serf: 1.5 s).
const ROUNDS: u32 = 5;

/// Where a leave stands.
#[derive(Debug)]
pub(super) struct Leaving {
    next: Time,
    rounds: u32,
}

impl Leaving {
    pub(super) fn next_deadline(&self) -> Time {
        self.next
    }
}

impl Engine {
    /// Leaves the cluster; [`Output::LeaveDone`] comes within 1.5 s, at once if there
    /// is nobody to tell.
    pub fn leave(&mut self, now: Now) {
        if self.own.status == Status::Left {
            self.outputs.push_back(Output::LeaveDone);
        } else if self.leaving.is_none() {
            self.own.say_leaving(now, true);
            self.own
                .set_status(now, Status::Leaving, StatusReason::LeaveIntent);
            self.settle_own(now);
            self.broadcasts.push(Topic::Record(self.own.ident.hash));
            self.gossip(now);
            let alone = self.table.active().is_empty();
            let pause = if alone {
                Duration::ZERO
            } else {
                INTENT_SPREADS
            };
            let rounds = if alone { ROUNDS } else { 0 };
            self.leaving = Some(Leaving {
                next: now.at + pause,
                rounds,
            });
        }
        self.finish(now);
    }

    pub(super) fn tick_leaving(&mut self, now: Now) {
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        if now.at < leaving.next {
            return;
        }
        leaving.next = now.at + ROUND;
        leaving.rounds += 1;
        let rounds = leaving.rounds;
        if self.own.status != Status::Left {
            self.swim.leave();
            self.own.set_status(now, Status::Left, StatusReason::Left);
            self.settle_own(now);
            self.broadcasts.push(Topic::Record(self.own.ident.hash));
        }
        if rounds <= ROUNDS {
            self.gossip(now);
        } else {
            self.leaving = None;
            self.outputs.push_back(Output::LeaveDone);
        }
    }

    /// Comes back after a leave, under a new life.
    pub(super) fn come_back(&mut self, now: Now) {
        if self.own.status != Status::Left {
            return;
        }
        self.leaving = None;
        self.own.say_leaving(now, false);
        self.own
            .set_status(now, Status::Alive, StatusReason::Joined);
        self.take_life(now, self.own.ident);
        let known: Vec<_> = self.table.iter().filter(|peer| peer.is_active()).collect();
        let known = known
            .iter()
            .map(|p| Update::new(p.ident, p.incarnation, p.state))
            .collect();
        self.swim.apply(now.at, known, false);
        self.broadcasts.push(Topic::Record(self.own.ident.hash));
    }
}
