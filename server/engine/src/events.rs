//! User events that are not lost.
//!
//! One log per origin and boot. A new event is pushed at once to a few members
//! and passed on by each that sees it first (`spread`); what is too large or too
//! much for datagrams is announced by position and pulled over exchanges
//! (`pull`). What stays missing is hunted for and at last given up with a gap
//! marker (`holes`). The origin learns who holds what (`replicate`) and never
//! lets go of what a counted member still needs.
//!
//! ```text
//!   publish --> own log --+--> eager sections ----> first seen: stored, passed on
//!                         +--> marks (positions) -> behind: pulled, announced on
//!   replicas acknowledge by their marks; REPLICATED = two of them, or all
//! ```

mod acks;
mod boots;
mod bounds;
mod holes;
mod log;
mod pull;
mod replicate;
mod restore;
mod settle;
mod spread;
mod store;
#[cfg(test)]
mod tests;
mod window;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::api::Limits;
use crate::event::{Accepted, Event, EventDraft, EventError, Gap, Origin};
use crate::ident::NodeRef;
use crate::time::{Now, Time};

use acks::Duties;
use holes::Hunts;
use log::Log;
pub(crate) use replicate::HOLDERS;
use replicate::Own;
use settle::Settle;
use spread::Spread;
use wire::{Envelope, Section};
pub(crate) use wire::{Position, SECTION_BYTES_MAX};

/// Logs kept, over all origins and boots. At the bound the one that has been
/// quiet longest is forgotten.
pub(crate) const LOGS_MAX: usize = 4_096;

/// Boots kept per origin. Older ones are forgotten and no longer taken in.
pub(crate) const BOOTS_MAX: usize = 3;

/// Lamport times above this are not believed: a clock that starts at 0 cannot
/// get there, and a liar would wear everybody's clock out.
const LAMPORT_MAX: u64 = 1 << 62;

/// An origin that published within this time shares the total memory.
const ACTIVE: Duration = Duration::from_secs(10);

/// How often the number of active origins is counted.
const ACTIVE_EVERY: Duration = Duration::from_secs(1);

/// What the core knows about members, given to each call.
pub(crate) trait Peers {
    /// Alive and suspect members without this node, sorted.
    fn live(&self) -> &[NodeRef];
    /// Name of a member.
    fn name_of(&self, hash: u64) -> Option<Arc<str>>;
}

/// What the events want done, in order.
#[derive(Debug)]
pub(crate) enum EventsOutput {
    /// Seal a section into one datagram.
    Send { to: NodeRef, section: Bytes },
    /// Make a pull exchange and bring back one answer or error.
    Pull { id: u64, to: NodeRef, body: Bytes },
    /// Hand over an event.
    Deliver(Arc<Event>),
    /// Hand over a query, at once.
    Query(Arc<Event>),
    /// The position of an origin moved over something that is no event.
    Passed { origin: Origin, sequence: u64 },
    /// Hand over a gap marker.
    Gap(Gap),
    /// This node joined the stream of an origin after this sequence.
    Base { origin: Origin, sequence: u64 },
    /// Own events up to here are replicated.
    Replicated { sequence: u64 },
    /// There is room again after [`EventError::Full`].
    Room,
    /// A member filled the window and no longer counts.
    LaggardLetGo { member: NodeRef, behind: u64 },
}

/// What happened so far, by name; all of them only grow.
#[derive(Debug, Default)]
struct Counts {
    published: u64,
    refused_full: u64,
    delivered: u64,
    gaps: u64,
    gap_events: u64,
    duplicates: u64,
    dropped_late: u64,
    dropped_old_boot: u64,
    dropped_ahead: u64,
    dropped_own: u64,
    dropped_undecodable: u64,
    dropped_oversized: u64,
    dropped_foreign: u64,
    dropped_bad_name: u64,
    dropped_memory: u64,
    sections_bad: u64,
    queries: u64,
    unknown_kinds: u64,
    pulls_sent: u64,
    pulls_failed: u64,
    pulls_served: u64,
    pull_requests_bad: u64,
    pull_answers_bad: u64,
    claims_dropped: u64,
    sections_sent: u64,
    eager_overflows: u64,
    logs_forgotten: u64,
    laggards: u64,
    marks_false: u64,
}

/// The events of one node.
pub(crate) struct Events {
    me: NodeRef,
    my_name: Arc<str>,
    limits: Limits,
    rng: StdRng,
    lamport: u64,
    logs: BTreeMap<NodeRef, Log>,
    /// Highest boot of each member that was ever in the list of live ones, so that
    /// a boot whose predecessor was never heard publishing still waits for it.
    boots_seen: BTreeMap<u64, u64>,
    bytes: usize,
    settle: Settle,
    spread: Spread,
    hunts: Hunts,
    own: Own,
    duties: Duties,
    /// Origins active of late, counted once a second.
    active: (Time, usize),
    out: VecDeque<EventsOutput>,
    count: Counts,
    /// Positions of an earlier run were restored: streams go on and begin nowhere.
    restored: bool,
    /// Times that a position moved.
    moves: u64,
    #[cfg(test)]
    bug: Option<tests::Bug>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("me", &self.me)
            .field("logs", &self.logs.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Nothing published, nothing heard. `seed` decides every random choice.
    pub(crate) fn new(me: NodeRef, my_name: Arc<str>, limits: &Limits, seed: u64) -> Self {
        Self {
            me,
            my_name,
            limits: limits.clone(),
            rng: StdRng::seed_from_u64(seed),
            lamport: 1,
            logs: BTreeMap::new(),
            boots_seen: BTreeMap::new(),
            bytes: 0,
            settle: Settle::default(),
            spread: Spread::default(),
            hunts: Hunts::default(),
            own: Own::default(),
            duties: Duties::default(),
            active: (Time::default(), 1),
            out: VecDeque::new(),
            count: Counts::default(),
            restored: false,
            moves: 0,
            #[cfg(test)]
            bug: None,
        }
    }

    /// Takes an event of this node in: receipt ACCEPTED. It goes out at once
    /// unless a packet left within the last 5 ms.
    ///
    /// # Errors
    /// Bad names, payloads over the limit, or [`EventError::Full`] while the
    /// slowest counted member has a whole window to catch up.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        draft: EventDraft,
        peers: &dyn Peers,
    ) -> Result<Accepted, EventError> {
        draft.check()?;
        let limit = self.limits.event_payload_bytes.min(wire::PAYLOAD_BYTES_MAX);
        if draft.payload.len() > limit {
            return Err(EventError::TooLarge {
                bytes: draft.payload.len(),
                limit,
            });
        }
        self.follow_members(now, peers);
        let sequence = self.own.head + 1;
        let envelope = Envelope {
            origin: self.my_name.as_ref().to_owned(),
            boot: self.me.boot,
            sequence,
            lamport: self.lamport,
            name: draft.name,
            payload: draft.payload,
            target: draft.target,
            coalesce: draft.coalesce,
            child: draft.child,
            attributes: draft.attributes,
            kind: draft.kind.to_wire(),
            timeout_ms: draft.timeout_ms,
            want_ack: draft.want_ack,
        };
        if !self.admit(now.at, envelope.encoded_len(), peers) {
            self.count.refused_full += 1;
            return Err(EventError::Full);
        }
        let lamport = self.lamport;
        self.lamport = self.lamport.saturating_add(1);
        self.count.published += 1;
        let raw = Bytes::from(envelope.encode_to_vec());
        self.store_own(now, sequence, raw, &envelope);
        if peers.live().is_empty() {
            self.note_replicated();
        }
        self.flush(now.at, peers);
        Ok(Accepted {
            boot: self.me.boot,
            sequence,
            lamport,
        })
    }

    /// The events part of a datagram from `from`.
    pub(crate) fn on_section(
        &mut self,
        now: Now,
        from: NodeRef,
        section: Bytes,
        peers: &dyn Peers,
    ) {
        // Twice the size that is sent: room for later versions.
        if section.len() > 2 * SECTION_BYTES_MAX {
            self.count.sections_bad += 1;
            return;
        }
        let Ok(section) = Section::decode(section) else {
            self.count.sections_bad += 1;
            return;
        };
        self.follow_members(now, peers);
        for batch in section.batches {
            let key = NodeRef {
                hash: batch.hash,
                boot: batch.boot,
            };
            for entry in batch.entries {
                self.take_in(now, key, entry, store::Way::Eager);
            }
        }
        for mark in section.marks {
            self.on_mark(now, from, mark, peers);
        }
        if let Some(call) = section.call {
            self.on_call(now.at, from, &call);
        }
        self.drive(now, peers);
        self.flush(now.at, peers);
        self.send_acks(now.at);
    }

    /// Contiguous positions of all logs, for the state exchange.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let known = self.logs.values().filter(|log| log.position() > 0);
        known
            .filter_map(|log| {
                Some(Position {
                    hash: log.key.hash,
                    boot: log.key.boot,
                    name: log.origin.as_ref()?.name.as_ref().to_owned(),
                    sequence: log.position(),
                })
            })
            .collect()
    }

    /// Positions of `from` out of a state exchange. While `joining`, origins not
    /// heard of yet begin here; otherwise what is ahead of this node is pulled.
    pub(crate) fn on_positions(
        &mut self,
        now: Now,
        from: NodeRef,
        theirs: &[Position],
        joining: bool,
        peers: &dyn Peers,
    ) {
        for position in theirs.iter().take(LOGS_MAX) {
            let key = position.origin();
            if !self.fits_name(key, &position.name) {
                self.count.dropped_bad_name += 1;
                continue;
            }
            let untouched = self.logs.get(&key).is_none_or(Log::is_untouched);
            let begins = joining && !self.restored;
            if begins && key.hash != self.me.hash && untouched && position.sequence > 0 {
                self.begin_at(now, key, &position.name, position.sequence);
                continue;
            }
            let mark = wire::Mark {
                hash: key.hash,
                boot: key.boot,
                position: position.sequence,
            };
            self.on_mark(now, from, mark, peers);
        }
        self.drive(now, peers);
        self.flush(now.at, peers);
    }

    /// A member came up, perhaps in a new boot. It need not publish anything: what an
    /// earlier boot published may still be on its way here.
    pub(crate) fn member_up(&mut self, now: Now, node: NodeRef) {
        self.see_boot(now, node);
    }

    /// A member left or failed: it counts no longer.
    pub(crate) fn member_down(&mut self, now: Now, node: NodeRef) {
        self.own.forget(node);
        self.duties.remove(node);
        self.own.recheck = Some(now.at);
    }

    /// The own boot was raised before anything was published.
    pub(crate) fn boot_raised(&mut self, me: NodeRef) {
        self.me = me;
        self.own = Own::default();
    }

    /// XOR over the positions of the newest boots, of those that did not move for
    /// a second.
    pub(crate) fn digest(&mut self, now: Now) -> u64 {
        while let Some(key) = self.settle.pop_due(now.at) {
            self.settle_log(now.at, key);
        }
        self.settle.digest()
    }

    /// Everything that time brings. Call at or after [`Events::next_deadline`].
    pub(crate) fn tick(&mut self, now: Now, peers: &dyn Peers) {
        self.follow_members(now, peers);
        self.count_active(now.at);
        self.check_own(now.at, peers);
        self.drive(now, peers);
        self.tick_recent(now.at, peers);
        self.flush(now.at, peers);
        self.send_acks(now.at);
    }

    /// When to call [`Events::tick`] next; `None` while there is nothing to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [
            self.spread.deadline(),
            self.hunts.deadline(),
            self.own.deadline(),
            self.duties.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<EventsOutput> {
        self.out.pop_front()
    }

    /// Counters and gauges.
    pub(crate) fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        let c = &self.count;
        out.extend([
            ("events_bytes_held", self.bytes as u64),
            ("events_claims_dropped", c.claims_dropped),
            ("events_delivered", c.delivered),
            ("events_dropped_ahead", c.dropped_ahead),
            ("events_dropped_bad_name", c.dropped_bad_name),
            ("events_dropped_foreign", c.dropped_foreign),
            ("events_dropped_late", c.dropped_late),
            ("events_dropped_memory", c.dropped_memory),
            ("events_dropped_old_boot", c.dropped_old_boot),
            ("events_dropped_oversized", c.dropped_oversized),
            ("events_dropped_own", c.dropped_own),
            ("events_dropped_undecodable", c.dropped_undecodable),
            ("events_duplicates", c.duplicates),
            ("events_eager_overflows", c.eager_overflows),
            ("events_gap_events", c.gap_events),
            ("events_gaps", c.gaps),
            ("events_laggards_let_go", c.laggards),
            ("events_logs", self.logs.len() as u64),
            ("events_logs_forgotten", c.logs_forgotten),
            ("events_marks_false", c.marks_false),
            ("events_lamport_time", self.lamport),
            ("events_published", c.published),
            ("events_pull_answers_bad", c.pull_answers_bad),
            ("events_pull_requests_bad", c.pull_requests_bad),
            ("events_pulls_failed", c.pulls_failed),
            ("events_pulls_sent", c.pulls_sent),
            ("events_pulls_served", c.pulls_served),
            ("events_queries", c.queries),
            ("events_refused_full", c.refused_full),
            ("events_sections_bad", c.sections_bad),
            ("events_sections_sent", c.sections_sent),
            ("events_unknown_kinds", c.unknown_kinds),
        ]);
    }

    fn count_active(&mut self, now: Time) {
        if now.since(self.active.0) < ACTIVE_EVERY {
            return;
        }
        let active = self.logs.values().filter(|l| now.since(l.changed) < ACTIVE);
        self.active = (now, active.count().max(1));
    }
}
