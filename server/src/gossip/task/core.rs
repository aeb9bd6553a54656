//! The engine and what belongs to it, without waiting: every method takes in one
//! thing and does all that follows from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{
    Engine, Event, EventError, ExchangeError, ExchangeId, Input, MemberKey, Note, Now, Output,
    Published, Status, Time, WatchEvent,
};
use tokio::sync::{oneshot, watch};

use super::joins::Joins;
use super::net::Net;
use super::{Arrival, notes};
use crate::gossip::clock::Clock;
use crate::gossip::coordinates::Coordinates;
use crate::gossip::handle::{Changes, Command, EventCommand, Replicated, Reply, Report};
use crate::gossip::metrics::{Counters, merged};
use crate::gossip::pipe::outgoing::Job;
use crate::gossip::sink::{EventUpdate, MemberUpdate, Sink};

/// Callers that wait for one leave; further ones are told that the daemon stops.
const LEAVERS_MAX: usize = 64;

/// What a core is made of.
pub(crate) struct Parts<N> {
    pub(crate) engine: Engine,
    pub(crate) net: N,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) replicated: watch::Sender<Replicated>,
    pub(crate) coordinates: Arc<Coordinates>,
    pub(crate) changes: watch::Sender<Changes>,
    pub(crate) unknown_keys: watch::Sender<u64>,
}

/// The only owner of the engine.
pub(crate) struct Core<N> {
    engine: Engine,
    net: N,
    sink: Arc<dyn Sink>,
    clock: Clock,
    counters: Arc<Counters>,
    replicated: watch::Sender<Replicated>,
    coordinates: Arc<Coordinates>,
    changes: watch::Sender<Changes>,
    /// Times that datagrams under unknown keys were told of.
    unknown_keys: watch::Sender<u64>,
    /// Boot of what the engine says of own events.
    boot: u64,
    /// For the sink, gathered over one turn.
    members: Vec<MemberUpdate>,
    events: Vec<EventUpdate>,
    queries: Vec<Arc<Event>>,
    /// The event that found the window full. While there is one, no more are
    /// taken: the callers wait.
    parked: Option<EventCommand>,
    joins: Joins,
    leavers: Vec<Reply<()>>,
    /// Peers that wait for the engine's answer: one per incoming pipe at most.
    asked: BTreeMap<ExchangeId, oneshot::Sender<Option<Bytes>>>,
    asked_next: u64,
    /// Exchanges that no pipe took, to be told to the engine with the next turn.
    refused: Vec<(ExchangeId, ExchangeError)>,
}

impl<N> std::fmt::Debug for Core<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl<N: Net> Core<N> {
    /// Around a new engine.
    pub(crate) fn new(parts: Parts<N>) -> Self {
        let boot = parts.engine.me().boot;
        Self {
            engine: parts.engine,
            boot,
            net: parts.net,
            sink: parts.sink,
            clock: parts.clock,
            counters: parts.counters,
            replicated: parts.replicated,
            coordinates: parts.coordinates,
            changes: parts.changes,
            unknown_keys: parts.unknown_keys,
            members: Vec::new(),
            events: Vec::new(),
            queries: Vec::new(),
            parked: None,
            joins: Joins::default(),
            leavers: Vec::new(),
            asked: BTreeMap::new(),
            asked_next: 0,
            refused: Vec::new(),
        }
    }

    /// The world.
    pub(crate) fn net(&self) -> &N {
        &self.net
    }

    /// The world.
    pub(crate) fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// What the engine wants at its start.
    pub(crate) fn begin(&mut self, now: Now) {
        self.coordinates.set_own(self.engine.coordinate());
        self.drain(now);
        self.flush();
    }

    /// When [`Core::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Time {
        if !self.refused.is_empty() {
            return Time::default();
        }
        let joins = self.joins.next_deadline();
        joins.map_or(self.engine.next_deadline(), |at| {
            at.min(self.engine.next_deadline())
        })
    }

    /// False while an event waits for room.
    pub(crate) fn takes_events(&self) -> bool {
        self.parked.is_none()
    }

    /// A datagram arrived.
    pub(crate) fn datagram(&mut self, now: Now, from: SocketAddr, bytes: Bytes) {
        self.input(now, Input::Datagram { from, bytes });
    }

    /// Does what is due. Also tries the waiting event again, so that a lost wake-up
    /// costs a second at most. True if it must be called again at once.
    pub(crate) fn tick(&mut self, now: Now) -> bool {
        for (id, error) in std::mem::take(&mut self.refused) {
            let result = Err(error);
            self.input(now, Input::Response { id, result });
        }
        self.joins.expire(now.at);
        self.launch_joins(now);
        self.retry_parked(now);
        let due = self.engine.next_deadline();
        if due <= now.at {
            let lag = u64::try_from(now.at.since(due).as_millis()).unwrap_or(u64::MAX);
            self.counters.loop_lag_ms_max.raise_to(lag);
            self.input(now, Input::Tick);
        }
        !self.refused.is_empty()
    }

    /// Something from a pipe or a resolver.
    pub(crate) fn arrival(&mut self, now: Now, arrival: Arrival) {
        match arrival {
            Arrival::Request {
                from,
                kind,
                body,
                reply,
            } => {
                let id = ExchangeId(self.asked_next);
                self.asked_next += 1;
                self.asked.insert(id, reply);
                let input = Input::Request {
                    id,
                    from,
                    kind,
                    body,
                };
                self.input(now, input);
            }
            Arrival::Response { slot, id, result } => {
                self.net.freed(slot);
                self.input(now, Input::Response { id, result });
            }
            Arrival::SlotClosed { slot } => self.net.closed(slot),
            Arrival::Watch { id, event } => {
                if !matches!(event, WatchEvent::Opened(_)) {
                    self.net.unwatch(id);
                }
                self.input(now, Input::Watch { id, event });
            }
            Arrival::Carried(bytes) => self.input(now, Input::Carried { bytes }),
            Arrival::Seeds(addrs) => self.input(now, Input::Seeds { addrs }),
            Arrival::Join { call, resolved } => {
                self.joins.resolved(call, resolved);
                self.launch_joins(now);
            }
        }
    }

    /// A command from a surface.
    pub(crate) fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Join { addresses, reply } => {
                match self.joins.begin(now.at, addresses, reply) {
                    Some((call, texts)) => self.net.resolve_join(call, texts),
                    None => self.counters.joins_refused_busy.add(1),
                }
            }
            Command::Leave { reply } => self.leave(now, reply),
            Command::ForceLeave { name, prune, reply } => {
                let result = self.engine.force_leave(now, &name, prune);
                self.drain(now);
                respond(reply, result);
            }
            Command::UpdateTags { set, remove, reply } => {
                let result = self.engine.update_tags(now, set, &remove);
                self.drain(now);
                respond(reply, result.map(|()| self.engine.me()));
            }
            Command::SetKeyring { keyring, reply } => {
                self.net.set_keyring(keyring.clone());
                self.engine.set_keyring(now, keyring);
                self.drain(now);
                respond(reply, ());
            }
            Command::UpdateOwn { update, reply } => {
                let result = self.engine.update_own(now, update);
                self.drain(now);
                respond(reply, result);
            }
            Command::Report { reply } => respond(reply, self.report()),
            Command::Snapshot { reply } => respond(reply, self.engine.snapshot(now)),
            Command::Explain { name, reply } => respond(reply, self.engine.explain(&name)),
        }
    }

    /// An event from a surface.
    pub(crate) fn event(&mut self, now: Now, command: EventCommand) {
        self.offer(now, command);
        if self.parked.is_some() {
            self.counters.events_waited.add(1);
        }
    }

    /// Hands the turn's batches to the sink.
    pub(crate) fn flush(&mut self) {
        if !self.members.is_empty() {
            self.sink.apply_members(std::mem::take(&mut self.members));
        }
        if !self.queries.is_empty() {
            self.sink.queries(std::mem::take(&mut self.queries));
        }
        if !self.events.is_empty() {
            self.sink.push_events(std::mem::take(&mut self.events));
        }
        self.tell_changes();
    }

    /// Tells what the engine knows at its end, for the next run.
    pub(crate) fn end(&mut self, now: Now) {
        let last = Some(Arc::new(self.engine.snapshot(now)));
        self.changes.send_modify(|changes| changes.last = last);
    }

    fn tell_changes(&self) {
        let revision = self.engine.revision();
        let status = self.engine.me().status;
        let left = matches!(status, Status::Leaving | Status::Left);
        self.changes.send_if_modified(|changes| {
            let news = changes.revision != revision;
            (changes.revision, changes.left) = (revision, left);
            news
        });
    }

    fn input(&mut self, now: Now, input: Input) {
        self.engine.handle(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Now) {
        while let Some(output) = self.engine.poll_output() {
            self.act(now, output);
        }
    }

    /// Does one thing that the engine wants.
    pub(super) fn act(&mut self, now: Now, output: Output) {
        match output {
            Output::Transmit { to, bytes } => self.net.transmit(to, &bytes),
            Output::Carry { to, bytes } => self.net.carry(to, bytes),
            Output::Request {
                id,
                to,
                kind,
                body,
                timeout,
            } => {
                let deadline = self.clock.timer(now.at, now.at + timeout);
                let job = Job { id, body, deadline };
                if let Err(error) = self.net.exchange(to, kind, job) {
                    self.refused.push((id, error));
                }
            }
            Output::Respond { id, body } => {
                if let Some(reply) = self.asked.remove(&id) {
                    respond(reply, body);
                }
            }
            Output::Watch {
                id,
                to,
                hello,
                within,
            } => {
                let deadline = self.clock.timer(now.at, now.at + within);
                self.net.watch(id, to, hello, deadline);
            }
            Output::Unwatch { id } => self.net.unwatch(id),
            Output::ResolveSeeds => self.net.resolve_seeds(),
            Output::MemberUpdated(member) => self.members.push(MemberUpdate::Updated(member)),
            Output::MemberRemoved(key) => self.removed(key),
            Output::Published { member, published } => self.published(member, published),
            Output::Coordinate { me, member, place } => {
                self.coordinates.set_own(Some(me));
                self.coordinates.set(member, place);
            }
            Output::Event(event) => self.events.push(EventUpdate::Event(event)),
            Output::Query(query) => self.queries.push(query),
            Output::EventPassed { origin, sequence } => {
                self.events.push(EventUpdate::Passed { origin, sequence });
            }
            Output::Gap(gap) => self.events.push(EventUpdate::Gap(gap)),
            Output::EventBase { origin, sequence } => {
                self.events.push(EventUpdate::Base { origin, sequence });
            }
            Output::Replicated { sequence } => {
                let boot = self.boot;
                self.replicated.send_replace(Replicated { boot, sequence });
            }
            Output::EventRoom => self.retry_parked(now),
            Output::JoinResult {
                attempt, result, ..
            } => {
                self.joins
                    .result(attempt, result.map(|name| name.to_string()));
                self.launch_joins(now);
            }
            Output::LeaveDone => {
                for reply in self.leavers.drain(..) {
                    respond(reply, ());
                }
            }
            Output::Note(note) => self.noted(&note),
        }
    }

    fn noted(&mut self, note: &Note) {
        if let Note::BootRaised { boot } = *note {
            // Sequences begin anew with it.
            self.boot = boot;
            let sequence = 0;
            self.replicated.send_replace(Replicated { boot, sequence });
            self.sink.boot_raised(boot);
        }
        if let Note::UnknownKey { .. } = note {
            self.unknown_keys.send_modify(|times| *times += 1);
        }
        notes::log(note);
    }

    fn removed(&mut self, key: MemberKey) {
        self.coordinates.set(key.clone(), None);
        self.members.push(MemberUpdate::Removed(key));
    }

    fn published(&mut self, member: MemberKey, published: Published) {
        let update = MemberUpdate::Published { member, published };
        self.members.push(update);
    }

    fn launch_joins(&mut self, now: Now) {
        for (attempt, addr) in self.joins.launch() {
            self.engine.join(now, attempt, &[addr]);
        }
        self.drain(now);
    }

    fn leave(&mut self, now: Now, reply: Reply<()>) {
        if self.leavers.len() < LEAVERS_MAX {
            self.leavers.push(reply);
        }
        self.engine.leave(now);
        self.drain(now);
    }

    /// Sends an event or parks it until there is room.
    fn offer(&mut self, now: Now, command: EventCommand) {
        match self.engine.send_event(now, command.draft.clone()) {
            Err(EventError::Full) => self.parked = Some(command),
            result => respond(command.reply, result),
        }
        self.drain(now);
    }

    fn retry_parked(&mut self, now: Now) {
        if let Some(command) = self.parked.take() {
            // Whoever gave up waiting does not want it sent any more.
            if !command.reply.is_closed() {
                self.offer(now, command);
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            me: self.engine.me(),
            counters: merged(self.engine.counters(), self.counters.snapshot()),
            warnings: self.engine.warnings(),
            encrypted: self.engine.encrypted(),
        }
    }
}

fn respond<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::trace!("whoever asked is gone");
    }
}

#[cfg(test)]
mod tests;
