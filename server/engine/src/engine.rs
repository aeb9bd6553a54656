//! The engine: one node of a cluster, without its clock and its sockets.
//!
//! Reading order: this file (what comes in, what goes out), `datagrams` (the bulk
//! of the talk), `members` (what an update does), `naming` (whose a name is), `exchange` and `joining` (state
//! exchanges), `leaving`, `forcing`, `watching` (idle streams), `probing`,
//! `doubting` (verdicts of others), `ways` (UDP or TCP), `coordinates`, `commands`.

mod check;
mod commands;
mod coordinates;
mod datagrams;
mod doubting;
mod exchange;
mod forcing;
mod joining;
mod keys;
mod leaving;
mod members;
mod naming;
mod probing;
mod restoring;
#[cfg(test)]
mod tests;
mod upkeep;
mod views;
mod watching;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::api::{Config, Input, Note, Output};
use crate::broadcast::Broadcasts;
use crate::crypto::Sealer;
use crate::events::{Events, EventsOutput};
use crate::history::{History, Seen};
use crate::ident::{Ident, NodeRef, mix64};
use crate::member::Member;
use crate::own::Own;
use crate::settle::Settle;
use crate::suspicion::Suspicions;
use crate::swim::message::{self, Probe};
use crate::swim::{Swim, SwimOutput, Update};
use crate::table::Table;
use crate::time::{Now, Time};

use coordinates::Coordinates;
#[cfg(test)]
pub(crate) use datagrams::ident_bytes;
use datagrams::{Came, Extra, Parked};
use exchange::Exchanges;
use forcing::Forcing;
use joining::Joining;
use leaving::Leaving;
use probing::Probing;
use restoring::Remembered;
use upkeep::Upkeep;
pub(crate) use watching::SUCCESSORS;
use watching::Watching;
use ways::Ways;

/// One node of a cluster.
#[derive(Debug)]
pub struct Engine {
    own: Own,
    swim: Swim,
    table: Table,
    /// What the table learnt and foca was not told yet, in order.
    news: Vec<Update<Ident>>,
    suspicions: Suspicions,
    broadcasts: Broadcasts,
    settle: Settle<u64>,
    events: Events,
    sealer: Sealer,
    rng: StdRng,
    exchanges: Exchanges,
    joining: Joining,
    leaving: Option<Leaving>,
    forcing: Forcing,
    parked: Parked,
    coordinates: Coordinates,
    upkeep: Upkeep,
    remembered: Remembered,
    watching: Watching,
    probing: Probing,
    ways: Ways,
    history: History,
    /// When the last datagram under an unknown key was told of.
    unknown_key_told: Option<Time>,
    counters: BTreeMap<&'static str, u64>,
    /// Members whose public view may have changed in this step.
    touched: BTreeSet<u64>,
    /// Changes of members, for [`Engine::revision`].
    changes: u64,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// A node that knows nobody yet. `seed` decides every random choice; the
    /// configuration must have been checked (names, roles, tags).
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Now) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let instance = rng.next_u64();
        let limits = config.limits.clone();
        let places = config.coordinates;
        let sealer = Sealer::new(&config.cluster, config.keyring.clone(), instance);
        let own = Own::new(config, instance, now);
        let name: Arc<str> = Arc::from(own.config().name.as_str());
        let events = Events::new(own.ident.node(), name, &limits, rng.next_u64());
        let swim = Swim::new(own.ident, StdRng::seed_from_u64(rng.next_u64()));
        let mut engine = Self {
            own,
            swim,
            table: Table::default(),
            news: Vec::new(),
            suspicions: Suspicions::with_patience(limits.suspicion_patience),
            broadcasts: Broadcasts::default(),
            settle: Settle::default(),
            events,
            sealer,
            exchanges: Exchanges::default(),
            joining: Joining::new(now.at),
            leaving: None,
            forcing: Forcing::default(),
            parked: Parked::default(),
            coordinates: Coordinates::new(places, mix64(instance)),
            upkeep: Upkeep::new(now.at, &mut rng),
            rng,
            remembered: Remembered::default(),
            watching: Watching::default(),
            probing: Probing::new(now.at),
            ways: Ways::new(now.at),
            history: History::default(),
            unknown_key_told: None,
            counters: BTreeMap::new(),
            touched: BTreeSet::new(),
            changes: 0,
            outputs: VecDeque::new(),
        };
        engine.settle_own(now);
        engine.finish(now);
        engine
    }

    /// Takes in one input. Drain [`Engine::poll_output`] afterwards.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.notice_pause(now);
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(now, Came::ByUdp(from), &bytes),
            Input::Carried { bytes } => self.on_datagram(now, Came::ByTcp, &bytes),
            Input::Request {
                id,
                from,
                kind,
                body,
            } => self.on_request(now, id, from, kind, body),
            Input::Response { id, result } => self.on_response(now, id, result),
            Input::Seeds { addrs } => self.on_seeds(now, &addrs),
            Input::Watch { id, event } => self.on_watch(now, id, event),
            Input::Tick => self.on_tick(now),
        }
        self.finish(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let members = self.table.active().len() + 1;
        let deadlines = [
            Some(self.upkeep.next_deadline()),
            self.swim.next_deadline(),
            self.suspicions.next_deadline(members),
            self.events.next_deadline(),
            Some(self.joining.next_deadline()),
            self.leaving.as_ref().map(Leaving::next_deadline),
            self.watching.next_deadline(),
        ];
        deadlines.into_iter().flatten().min().unwrap_or_default()
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> Arc<Member> {
        self.own.shown()
    }

    /// Every member, this node first; those last that were not met since a restart.
    pub fn members(&self) -> impl Iterator<Item = Arc<Member>> {
        let others = self.table.shown().chain(self.remembered.shown());
        std::iter::once(self.own.shown()).chain(others.cloned())
    }

    fn on_tick(&mut self, now: Now) {
        self.swim.tick(now.at);
        self.judge(now);
        self.ask_suspects(now);
        if self.events.next_deadline().is_some_and(|at| at <= now.at) {
            self.events.tick(now, &self.table);
        }
        self.tick_watching(now);
        self.tick_joining(now);
        self.tick_leaving(now);
        self.tick_upkeep(now);
        self.tick_remembered(now);
    }

    /// Carries out everything that a step set in motion, then shows what changed.
    fn finish(&mut self, now: Now) {
        self.follow_ring(now);
        loop {
            self.tell_swim(now, true);
            if let Some(output) = self.swim.poll() {
                self.on_swim(now, output);
            } else if let Some(output) = self.events.poll() {
                self.on_events(now, output);
            } else {
                break;
            }
        }
        if self.parked.len() > 0 || self.exchanges.differs() {
            self.upkeep.housekeep_soon(now.at);
        }
        self.show();
    }

    fn on_swim(&mut self, now: Now, output: SwimOutput) {
        match output {
            SwimOutput::Send { to, bytes } => {
                if let Some(Probe::Ping(number)) = message::probe(&bytes)
                    && self.ways.is_by_tcp(now.at, to.hash)
                {
                    // It is not waited for what will hardly come.
                    self.probe_by_tcp(now, to, number);
                }
                self.transmit(
                    now,
                    to.node(),
                    Extra {
                        swim: Some(bytes),
                        ..Extra::default()
                    },
                );
            }
            SwimOutput::Accuse {
                subject,
                incarnation,
            } => {
                self.count("probes_failed");
                let evidence = self.evidence_of_probe(subject);
                self.accuse(now, subject, incarnation, evidence);
            }
            SwimOutput::Unanswered { subject, number } => {
                self.saw(now, subject.hash, Seen::ProbeUnanswered);
                self.probe_by_tcp(now, subject, number);
            }
            SwimOutput::Over(ended) => self.probe_over(now, &ended),
            SwimOutput::Renewed => {
                self.own.ident = self.swim.me();
                self.own.incarnation = 0;
                self.count("lives_renewed");
                self.settle_own(now);
                self.swim.apply(now.at, Vec::new(), false);
                self.upkeep.gossip_soon(now.at);
            }
            SwimOutput::Defunct => {
                if self.own.status != crate::member::Status::Left {
                    self.raise_boot(now, self.own.ident.boot + 1);
                }
            }
        }
    }

    fn on_events(&mut self, now: Now, output: EventsOutput) {
        match output {
            EventsOutput::Send { to, section } => {
                self.transmit(
                    now,
                    to,
                    Extra {
                        events: Some(section),
                        ..Extra::default()
                    },
                );
            }
            EventsOutput::Pull { id, to, body } => self.pull(now, id, to, body),
            EventsOutput::Deliver(event) => self.outputs.push_back(Output::Event(event)),
            EventsOutput::Query(query) => self.outputs.push_back(Output::Query(query)),
            EventsOutput::Passed { origin, sequence } => {
                self.outputs
                    .push_back(Output::EventPassed { origin, sequence });
            }
            EventsOutput::Gap(gap) => self.outputs.push_back(Output::Gap(gap)),
            EventsOutput::Base { origin, sequence } => {
                self.outputs
                    .push_back(Output::EventBase { origin, sequence });
            }
            EventsOutput::Replicated { sequence } => {
                self.outputs.push_back(Output::Replicated { sequence });
            }
            EventsOutput::Room => self.outputs.push_back(Output::EventRoom),
            EventsOutput::LaggardLetGo { member, behind } => {
                if let Some(member) = self.table.name_of(member.hash) {
                    self.note(Note::LaggardLetGo { member, behind });
                }
            }
        }
    }

    /// Tells surfaces what changed, once per member and step.
    fn show(&mut self) {
        if let Some((member, old)) = self.own.show() {
            if let Some(old) = old.filter(|old| old.key() != member.key()) {
                self.outputs.push_back(Output::MemberRemoved(old.key()));
            }
            self.changes += 1;
            self.outputs.push_back(Output::MemberUpdated(member));
        }
        if let Some(published) = self.own.take_published() {
            let member = self.own.shown().key();
            self.outputs
                .push_back(Output::Published { member, published });
        }
        while let Some(hash) = self.touched.pop_first() {
            if let Some((member, moved)) = self.table.show(hash) {
                self.changes += 1;
                self.outputs.extend(moved.map(Output::MemberRemoved));
                self.outputs.push_back(Output::MemberUpdated(member));
            }
            if let Some((member, published)) = self.table.take_published(hash) {
                self.outputs
                    .push_back(Output::Published { member, published });
            }
        }
    }

    /// The settled digest of everything that peers should agree on.
    fn digest(&mut self, now: Now) -> u64 {
        self.settle.read(now.at) ^ self.events.digest(now)
    }

    /// What of it rides on each datagram.
    fn short_digest(&mut self, now: Now) -> u32 {
        let [.., a, b, c, d] = self.digest(now).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn settle_own(&mut self, now: Now) {
        let gone = matches!(self.own.status, crate::member::Status::Left);
        let value = (!gone).then(|| view_value(self.own.ident, self.own.record.version()));
        self.settle.set(now.at, self.own.ident.hash, value);
    }

    /// Notes that a member changed: digest, public view.
    fn touch(&mut self, now: Now, hash: u64) {
        let active = self.table.get(hash).filter(|peer| peer.is_active());
        let value = active.map(|peer| view_value(peer.ident, peer.record.version()));
        self.settle.set(now.at, hash, value);
        self.touched.insert(hash);
        self.recognise(hash);
    }

    fn me_ref(&self) -> NodeRef {
        self.own.ident.node()
    }

    /// It said goodbye: that others hold it for dead is no mistake.
    fn has_left(&self) -> bool {
        self.own.status == crate::member::Status::Left
    }

    fn count(&mut self, counter: &'static str) {
        *self.counters.entry(counter).or_default() += 1;
    }

    /// Keeps what this node saw of a member.
    fn saw(&mut self, now: Now, hash: u64, seen: Seen) {
        self.history.note(now, hash, 0, seen);
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }
}

/// A member's part of the digest: who it is and which record of it is held.
fn view_value(ident: Ident, record_version: u64) -> u64 {
    let life = u64::from(ident.life) << 48;
    mix64(ident.hash ^ mix64(ident.boot ^ life ^ mix64(record_version)))
}
