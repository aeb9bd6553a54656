//! Flow control: an origin keeps what a counted member still needs, and waits.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::replicate::Own;
use super::{Events, EventsOutput, Peers};
use crate::api::Limits;
use crate::ident::NodeRef;
use crate::time::Time;

/// Members behind are asked for their position at this pace while room is short.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(100);

/// Members asked at once. At the bound a random choice is asked.
const ASKED_MAX: usize = 64;

/// A member that leaves no room for this long is let go.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What an origin may have in flight to all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Window {
    fn of(limits: &Limits, active: usize) -> Self {
        let share = limits.event_bytes_total / active.max(1);
        Self {
            events: limits.events_per_origin as u64,
            bytes: limits.event_bytes_per_origin.min(share) as u64,
        }
    }

    /// The part that must be free before waiting publishers go on, so that they
    /// do not wake for every single place.
    const fn eased(self) -> Self {
        let events = self.events / 16;
        Self {
            events: self.events - if events == 0 { 1 } else { events },
            bytes: self.bytes - self.bytes / 16,
        }
    }

    /// Whether `size` more bytes fit behind a member that holds up to `slowest`.
    /// One event always fits behind a member that holds everything.
    fn fits(self, own: &Own, slowest: u64, size: u64) -> bool {
        let behind = own.head - slowest;
        behind == 0 || (behind < self.events && own.bytes_above(slowest) + size <= self.bytes)
    }
}

impl Events {
    pub(super) fn window(&self) -> Window {
        Window::of(&self.limits, self.active.1)
    }

    /// Whether the next own event has room. If not, the laggards are asked.
    pub(super) fn admit(&mut self, now: Time, size: usize, peers: &dyn Peers) -> bool {
        let window = self.window();
        let slowest = self.own.slowest();
        let fits = window.fits(&self.own, slowest, size as u64);
        if !fits {
            self.own.full_since.get_or_insert(now);
        }
        let behind = self.own.head - slowest;
        if !fits || behind >= window.events / 4 * 3 {
            self.ask_laggards(now, peers);
        }
        if fits && self.own.through.len() > self.limits.events_per_origin {
            self.own.through.pop_front();
        }
        fits
    }

    /// Tells waiting publishers that there is room again.
    pub(super) fn note_room(&mut self) {
        if self.own.full_since.is_none() {
            return;
        }
        let eased = self.window().eased();
        if eased.fits(&self.own, self.own.slowest(), 0) {
            self.own.full_since = None;
            self.out.push_back(EventsOutput::Room);
        }
    }

    /// Stops waiting for the members that leave no room.
    pub(super) fn let_go(&mut self) {
        let eased = self.window().eased();
        let own = &mut self.own;
        let blocking: Vec<NodeRef> = own
            .members
            .iter()
            .filter(|(_, m)| m.counted && !eased.fits(own, m.window, 0))
            .map(|(node, _)| *node)
            .collect();
        for member in blocking {
            if let Some(standing) = own.members.get_mut(&member) {
                standing.counted = false;
                self.count.laggards += 1;
                self.out.push_back(EventsOutput::LaggardLetGo {
                    member,
                    behind: own.head - standing.window,
                });
            }
        }
        own.find_low();
        self.note_room();
    }

    /// Asks members that are far behind where they are.
    pub(super) fn ask_laggards(&mut self, now: Time, peers: &dyn Peers) {
        if now.since(self.own.asked) < ASK_EVERY {
            return;
        }
        self.own.asked = now;
        let window = self.window();
        let half = Window {
            events: window.events / 2,
            bytes: window.bytes / 2,
        };
        let own = &self.own;
        let mut behind: Vec<NodeRef> = own
            .members
            .iter()
            .filter(|(node, m)| {
                let live = peers.live().binary_search(node).is_ok();
                live && m.counted && !half.fits(own, m.window, 0)
            })
            .map(|(node, _)| *node)
            .collect();
        if behind.len() > ASKED_MAX {
            behind.shuffle(&mut self.rng);
            behind.truncate(ASKED_MAX);
        }
        for node in behind {
            let section = self.asking(&[node]);
            self.send(node, section);
        }
    }
}
