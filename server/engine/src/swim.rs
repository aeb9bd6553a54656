//! foca, behind what the engine needs of it. The only file that names `Foca`.
//!
//! foca probes, spreads updates and keeps incarnations. Around it stands what it
//! lacks: its suspicion timer is never armed (suspicion is [`crate::suspicion`]'s),
//! so its TurnUndead to members that refuted in time is never sent; its periodic
//! announces are replaced by state exchanges; forgetting the dead is the engine's.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Config, Foca, NoCustomBroadcast, OwnedNotification, Timer};
pub(crate) use foca::{Member as Update, State};
use rand::rngs::StdRng;

use crate::ident::Ident;
use crate::time::Time;
use crate::tuning;

pub(crate) mod message;

use message::{IdentCodec, Parts};

/// How often one member is probed.
pub(crate) const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// How long a direct probe may take before others are asked to try.
pub(crate) const PROBE_RTT: Duration = Duration::from_millis(500);

/// Members that are gossiped to at once, and asked to probe indirectly.
pub(crate) const FANOUT: usize = 3;

/// Largest message that foca builds, bytes: what is left of a datagram carries
/// records, accusations and events.
pub(crate) const SWIM_BYTES_MAX: usize = 600;

/// What foca wants done.
#[derive(Debug)]
pub(crate) enum SwimOutput {
    /// A message for a member, in foca's own form.
    Send { to: Ident, bytes: Bytes },
    /// This node's probe of a member failed.
    Accuse { subject: Ident, incarnation: u16 },
    /// A direct probe was not answered in time: there may be another way.
    Unanswered { subject: Ident, number: u8 },
    /// A probe came to its end.
    Over(Ended),
    /// This node took a new life to refute its death.
    Renewed,
    /// This node is down in foca: it left, or no life is left to refute with.
    Defunct,
}

impl foca::Identity for Ident {
    type Addr = u64;

    fn renew(&self) -> Option<Self> {
        self.next_life()
    }

    fn addr(&self) -> u64 {
        self.hash
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        !adversary.beats(*self)
    }
}

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) subject: Ident,
    /// The member answered, directly, by way of others, or over TCP.
    pub(crate) answered: bool,
    /// Members that were asked to help and did not even say that they heard it, by
    /// name hash.
    pub(crate) missing: Vec<u64>,
    /// It says nothing of the member: nobody was heard at all.
    pub(crate) blind: bool,
}

/// The probe under way.
#[derive(Debug, Clone)]
struct Cycle {
    target: Ident,
    number: u8,
    /// Members asked to help, by name hash, and whether they said that they heard it.
    asked: Vec<(u64, bool)>,
    answered: bool,
    /// When the direct probe was given up.
    missed: Option<Time>,
}

/// foca and its timers.
pub(crate) struct Swim {
    foca: Foca<Ident, IdentCodec, StdRng, NoCustomBroadcast>,
    config: Config,
    runtime: AccumulatingRuntime<Ident>,
    timers: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    accusations: VecDeque<(Ident, u16)>,
    sends: VecDeque<(Ident, Bytes)>,
    cycle: Option<Cycle>,
    unanswered: Option<(Ident, u8)>,
    ended: Option<Ended>,
    /// Probes take so many times as long, and one more time.
    strain: u32,
    errors: u64,
    /// This node left: word of its death is no news.
    gone: bool,
}

impl std::fmt::Debug for Swim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swim")
            .field("identity", self.foca.identity())
            .finish_non_exhaustive()
    }
}

/// A timer in the one ordered heap: by time, then by age. None is ever dropped.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: Time,
    sequence: u64,
    timer: Timer<Ident>,
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Swim {
    pub(crate) fn new(me: Ident, rng: StdRng) -> Self {
        let config = config(1);
        Self {
            foca: Foca::new(me, config.clone(), rng, IdentCodec),
            config,
            runtime: AccumulatingRuntime::new(),
            timers: BinaryHeap::new(),
            sequence: 0,
            accusations: VecDeque::new(),
            sends: VecDeque::new(),
            cycle: None,
            unanswered: None,
            ended: None,
            strain: 0,
            errors: 0,
            gone: false,
        }
    }

    /// This node's identity now.
    pub(crate) fn me(&self) -> Ident {
        *self.foca.identity()
    }

    /// Updates still to be spread.
    pub(crate) fn backlog(&self) -> usize {
        self.foca.updates_backlog()
    }

    /// Errors that foca reported.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// foca's own list, for comparison with the table.
    pub(crate) fn state(&self) -> impl Iterator<Item = &Update<Ident>> {
        self.foca.iter_membership_state()
    }

    /// Adapts the number of retransmissions to the size of the cluster.
    pub(crate) fn resize(&mut self, members: usize) {
        let max_transmissions = transmissions(members);
        if max_transmissions != self.config.max_transmissions {
            self.config.max_transmissions = max_transmissions;
            let outcome = self.foca.set_config(self.config.clone());
            self.count(outcome);
        }
    }

    /// Hands over a message that was addressed to this node.
    pub(crate) fn handle(&mut self, now: Time, parts: &Parts) {
        if let Some((subject, number)) = parts.proof(self.cycle.as_ref().map(|c| c.target)) {
            let cycle = self.cycle.as_mut();
            if let Some(cycle) =
                cycle.filter(|cycle| (cycle.target, cycle.number) == (subject, number))
            {
                cycle.answered = true;
            }
        }
        let bytes = parts.restore(self.me());
        let outcome = self.foca.handle_data(&bytes, &mut self.runtime);
        self.count(outcome);
        self.schedule(now);
    }

    /// Hands over updates that came by another way.
    pub(crate) fn apply(&mut self, now: Time, updates: Vec<Update<Ident>>, spread: bool) {
        let hash = self.me().hash;
        let (own, others): (Vec<_>, Vec<_>) = updates
            .into_iter()
            .partition(|update| update.id().hash == hash);
        let outcome = self
            .foca
            .apply_many(others.into_iter(), spread, &mut self.runtime);
        self.count(outcome);
        for update in own {
            // The one before may have brought a new life: then this one is outdated,
            // and foca would take it for another member's.
            if *update.id() == self.me() && !self.gone {
                let outcome =
                    self.foca
                        .apply_many(std::iter::once(update), spread, &mut self.runtime);
                self.count(outcome);
            }
        }
        self.schedule(now);
    }

    /// Fires the timers that are due.
    pub(crate) fn tick(&mut self, now: Time) {
        while self.timers.peek().is_some_and(|Reverse(due)| due.at <= now) {
            let Some(Reverse(due)) = self.timers.pop() else {
                return;
            };
            match &due.timer {
                Timer::SendIndirectProbe { probed_id, .. } => self.miss(now, *probed_id),
                Timer::ProbeRandomMember(_) => self.end_cycle(now),
                Timer::ChangeSuspectToDown { .. }
                | Timer::PeriodicAnnounce(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::PeriodicGossip(_)
                | Timer::RemoveDown(_) => {}
            }
            let outcome = self.foca.handle_timer(due.timer, &mut self.runtime);
            self.count(outcome);
            self.schedule(now);
            self.collect();
        }
    }

    /// Probes take this many times as long, and one more time: this node or its network
    /// is slow.
    pub(crate) fn set_strain(&mut self, strain: u32) {
        self.strain = strain;
    }

    /// How long a probe that is not answered directly still has.
    pub(crate) fn rest_of_probe(&self) -> Duration {
        (PROBE_PERIOD - PROBE_RTT) * (self.strain + 1)
    }

    /// The member that is probed was heard of by another way.
    pub(crate) fn answer_probe(&mut self, now: Time, subject: Ident, number: u8) {
        let current = self.cycle.as_mut();
        if let Some(cycle) =
            current.filter(|cycle| (cycle.target, cycle.number) == (subject, number))
        {
            cycle.answered = true;
            self.handle(now, &Parts::ack(subject, number));
        }
    }

    /// A member says that it got a request to probe.
    pub(crate) fn on_receipt(&mut self, from: u64, number: u8) {
        let cycle = self.cycle.as_mut().filter(|cycle| cycle.number == number);
        let asked = cycle.into_iter().flat_map(|cycle| &mut cycle.asked);
        for (_, heard) in asked.filter(|(helper, _)| *helper == from) {
            *heard = true;
        }
    }

    /// The direct probe was not answered in time.
    fn miss(&mut self, now: Time, probed: Ident) {
        let cycle = self.cycle.as_mut();
        if let Some(cycle) = cycle.filter(|cycle| cycle.target == probed && !cycle.answered) {
            cycle.missed = Some(now);
            self.unanswered = Some((probed, cycle.number));
        }
    }

    /// A probe is over. What nobody at all answered, also none of those that were
    /// asked for help, says more of this node than of the member: foca is told that
    /// all is well, and the engine what there was.
    fn end_cycle(&mut self, now: Time) {
        let Some(cycle) = self.cycle.take() else {
            return;
        };
        // A loop that came late left the helpers no time.
        let in_time = cycle
            .missed
            .is_some_and(|at| now.since(at) >= (PROBE_PERIOD - PROBE_RTT) / 2);
        let heard = cycle.asked.iter().any(|(_, heard)| *heard);
        let blind = !cycle.answered && (!in_time || (!cycle.asked.is_empty() && !heard));
        let known = |foca: &Foca<_, _, _, _>| foca.iter_members().any(|m| *m.id() == cycle.target);
        if blind && known(&self.foca) {
            self.handle(now, &Parts::ack(cycle.target, cycle.number));
        }
        let missing = cycle.asked.into_iter().filter(|(_, heard)| !*heard);
        self.ended = Some(Ended {
            subject: cycle.target,
            answered: cycle.answered,
            missing: missing.map(|(helper, _)| helper).collect(),
            blind,
        });
    }

    /// Takes what foca sends, and keeps the books of the probe.
    fn collect(&mut self) {
        while let Some((to, bytes)) = self.runtime.to_send() {
            match message::probe(&bytes) {
                Some(message::Probe::Ping(number)) => {
                    self.cycle = Some(Cycle {
                        target: to,
                        number,
                        asked: Vec::new(),
                        answered: false,
                        missed: None,
                    });
                }
                Some(message::Probe::Request) => {
                    if let Some(cycle) = &mut self.cycle {
                        cycle.asked.push((to.hash, false));
                    }
                }
                Some(message::Probe::Ack(_)) | None => {}
            }
            self.sends.push_back((to, bytes));
        }
    }

    /// When the next timer is due that changes anything.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let awaited = self.timers.iter().filter(|Reverse(due)| !self.is_moot(due));
        awaited.map(|Reverse(due)| due.at).min()
    }

    /// Helpers are asked for nobody who answered: that timer can wait for the next one.
    fn is_moot(&self, due: &Due) -> bool {
        let cycle = self.cycle.as_ref();
        let answered = |id| cycle.is_some_and(|cycle| cycle.answered && cycle.target == id);
        matches!(due.timer, Timer::SendIndirectProbe { probed_id, .. } if answered(probed_id))
    }

    /// Sends what is to be spread to a few members at random, `surely` among them.
    pub(crate) fn gossip(&mut self, surely: Option<Ident>) {
        self.collect();
        let before = self.sends.len();
        let outcome = self.foca.gossip(&mut self.runtime);
        self.count(outcome);
        self.collect();
        if let (Some(surely), Some((first, _))) = (surely, self.sends.get(before)) {
            // The first carries most: what was sent often enough is in no later one.
            let first = *first;
            for (to, bytes) in self
                .sends
                .range_mut(before..)
                .filter(|(to, _)| *to == surely)
            {
                (*to, *bytes) = (first, message::redirected(bytes, first));
            }
            let (to, bytes) = &mut self.sends[before];
            (*to, *bytes) = (surely, message::redirected(bytes, surely));
        }
    }

    /// Declares this node down.
    pub(crate) fn leave(&mut self) {
        self.gone = true;
        let outcome = self.foca.leave_cluster(&mut self.runtime);
        self.count(outcome);
    }

    /// Goes on under another identity.
    pub(crate) fn become_ident(&mut self, now: Time, ident: Ident) {
        self.gone = false;
        let outcome = self.foca.change_identity(ident, &mut self.runtime);
        self.count(outcome);
        self.apply(now, Vec::new(), false);
    }

    /// Forgets a dead member.
    pub(crate) fn forget(&mut self, ident: Ident) {
        let outcome = self
            .foca
            .handle_timer(Timer::RemoveDown(ident), &mut self.runtime);
        self.count(outcome);
    }

    /// The next thing that foca wants done.
    pub(crate) fn poll(&mut self) -> Option<SwimOutput> {
        if let Some((subject, incarnation)) = self.accusations.pop_front() {
            return Some(SwimOutput::Accuse {
                subject,
                incarnation,
            });
        }
        if let Some((subject, number)) = self.unanswered.take() {
            return Some(SwimOutput::Unanswered { subject, number });
        }
        if let Some(ended) = self.ended.take() {
            return Some(SwimOutput::Over(ended));
        }
        while let Some(notification) = self.runtime.to_notify() {
            if matches!(notification, OwnedNotification::Rejoin(_)) {
                return Some(SwimOutput::Renewed);
            }
            if matches!(notification, OwnedNotification::Defunct) {
                return Some(SwimOutput::Defunct);
            }
        }
        self.collect();
        let (to, bytes) = self.sends.pop_front()?;
        Some(SwimOutput::Send { to, bytes })
    }

    fn schedule(&mut self, now: Time) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            match timer {
                // Suspicion is the engine's: foca only tells whom its probe missed.
                Timer::ChangeSuspectToDown {
                    member_id,
                    incarnation,
                    ..
                } => {
                    self.accusations.push_back((member_id, incarnation));
                }
                // So is forgetting the dead.
                Timer::RemoveDown(_) => {}
                timer @ (Timer::ProbeRandomMember(_)
                | Timer::SendIndirectProbe { .. }
                | Timer::PeriodicAnnounce(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::PeriodicGossip(_)) => {
                    let probing = matches!(
                        timer,
                        Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. }
                    );
                    let times = if probing { self.strain + 1 } else { 1 };
                    let after = after * times;
                    self.sequence += 1;
                    let due = Due {
                        at: now + after,
                        sequence: self.sequence,
                        timer,
                    };
                    self.timers.push(Reverse(due));
                }
            }
        }
    }

    fn count(&mut self, outcome: Result<(), foca::Error>) {
        self.errors += u64::from(outcome.is_err());
    }
}

/// memberlist's limit: foca's own is rounded down and leaves members out (measured).
fn transmissions(members: usize) -> NonZeroU8 {
    let limit = u8::try_from(tuning::transmissions(members)).unwrap_or(u8::MAX);
    NonZeroU8::new(limit).unwrap_or(NonZeroU8::MIN)
}

fn config(members: usize) -> Config {
    let one = NonZeroUsize::MIN;
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: NonZeroUsize::new(FANOUT).unwrap_or(one),
        max_transmissions: transmissions(members),
        // Never armed, see `Swim::schedule`.
        suspect_to_down_after: PROBE_PERIOD,
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(SWIM_BYTES_MAX).unwrap_or(one),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
    }
}

#[cfg(test)]
mod tests;
