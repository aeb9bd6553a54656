//! The simulated cluster: virtual time, the heap, and the way of every input.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{Engine, Input, Output, Time};

use crate::sim::carry::Carried;
use crate::sim::invariants::{self, Check};
use crate::sim::machine::Machine;
use crate::sim::network::Network;
use crate::sim::node::{Held, Node, State};
use crate::sim::pipe::{Exchange, micros};
use crate::sim::record::{Names, Stream, Violation};
use crate::sim::rng::Rng;
use crate::sim::script::Action;
use crate::sim::setup::{Setup, address};
use crate::sim::trace::Trace;
use crate::sim::watch::Watch;

/// Violations kept; a run is long lost by then.
const VIOLATIONS_MAX: usize = 20;

/// How often everything that is not checked on each step is, microseconds.
const CHECK_EVERY_US: u64 = 1_000_000;

/// IP and UDP headers of one datagram, bytes.
const UDP_HEADER_BYTES: u64 = 28;

/// Something to come.
#[derive(Debug)]
pub(crate) enum Next {
    Wake {
        slot: usize,
        life: u32,
    },
    Datagram {
        to: u32,
        from: SocketAddr,
        bytes: Bytes,
    },
    Carried(Carried),
    Step(u64),
    Timeout(u64),
    Served {
        slot: usize,
        life: u32,
    },
    Watch(u64),
    WatchTimeout(u64),
    Seeds {
        slot: usize,
        life: u32,
    },
    Act(Box<Action>),
    Check,
}

/// Changes what an engine says on its way to everybody else: how tests plant bugs.
/// Gets the slot and an output, gives back what takes its place.
pub type Tap = Box<dyn FnMut(usize, Output) -> Vec<Output>>;

/// A whole cluster in one thread and in virtual time.
pub struct Sim<M = Engine> {
    pub(crate) setup: Setup,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) rng: Rng,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node<M>>,
    /// Which host has an address.
    pub(crate) hosts: Vec<Option<usize>>,
    /// Looked up only, never walked through.
    pub(crate) exchanges: HashMap<u64, Exchange>,
    /// Looked up by number, walked through in order.
    pub(crate) watches: BTreeMap<u64, Watch>,
    pub(crate) next_exchange: u64,
    pub(crate) names: Names,
    pub(crate) streams: Vec<Stream>,
    pub(crate) stream_ids: HashMap<(u32, u64), usize>,
    /// Highest incarnation that a boot of a name reached in its own eyes.
    pub(crate) owners: HashMap<(u32, u64), u64>,
    /// When processes ended, and whose.
    pub(crate) deaths: Vec<(u64, usize)>,
    pub(crate) disturbed_at: u64,
    pub(crate) trace: Trace,
    pub(crate) tap: Option<Tap>,
    pub(crate) violations: Vec<Violation>,
    /// Times that a running process was shown as failed, excused or not.
    pub(crate) false_failures: u64,
    pub(crate) steps: u64,
}

type Queue = crate::sim::queue::Queue<Next>;

impl<M> fmt::Debug for Sim<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.setup.seed)
            .field("now_us", &self.now)
            .field("nodes", &self.nodes.len())
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> Sim<M> {
    /// Hosts without any process yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut sim = Self {
            now: 0,
            queue: Queue::new(),
            rng: Rng::new(setup.seed, 0),
            network: Network::new(setup.weather.clone()),
            nodes: Vec::new(),
            hosts: (0..setup.nodes).map(Some).collect(),
            exchanges: HashMap::new(),
            watches: BTreeMap::new(),
            next_exchange: 1 << 32,
            names: Names::default(),
            streams: Vec::new(),
            stream_ids: HashMap::new(),
            owners: HashMap::new(),
            deaths: Vec::new(),
            disturbed_at: 0,
            trace: Trace::new(),
            tap: None,
            violations: Vec::new(),
            false_failures: 0,
            steps: 0,
            setup,
        };
        for slot in 0..sim.setup.nodes {
            let node = sim.new_node(slot);
            sim.nodes.push(node);
        }
        sim.queue.push(CHECK_EVERY_US, Next::Check);
        sim
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub const fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Lets `time` go by.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + micros(time);
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time go by until `done`, asked every `every`, or until `limit` is over.
    /// Gives the time that it took.
    pub fn run_until(
        &mut self,
        limit: Duration,
        every: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let (start, end) = (self.now, self.now + micros(limit));
        loop {
            if done(self) {
                return Some(Duration::from_micros(self.now - start));
            }
            if self.now >= end {
                return None;
            }
            self.run_for(every.min(Duration::from_micros(end - self.now)));
        }
    }

    /// Does `action` at `time` after now.
    pub fn after(&mut self, time: Duration, action: Action) {
        let at = self.now + micros(time);
        self.queue.push(at, Next::Act(Box::new(action)));
    }

    /// Plants a bug.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Takes the next thing from the heap and lets it happen.
    fn step(&mut self) {
        let Some((at, next)) = self.queue.pop() else {
            return;
        };
        self.now = at;
        self.steps += 1;
        match next {
            Next::Wake { slot, life } => self.wake(slot, life),
            Next::Datagram { to, from, bytes } => self.datagram_arrives(to, from, bytes),
            Next::Carried(carried) => self.carried_arrives(carried),
            Next::Step(uid) => self.step_exchange(uid),
            Next::Timeout(uid) => self.exchange_times_out(uid),
            Next::Served { slot, life } => self.sync_served(slot, life),
            Next::Watch(uid) => self.step_watch(uid),
            Next::WatchTimeout(uid) => self.watch_times_out(uid),
            Next::Seeds { slot, life } => self.seeds_resolved(slot, life),
            Next::Act(action) => self.apply(*action),
            Next::Check => {
                self.check_all();
                self.save_snapshots();
                self.queue.push(self.now + CHECK_EVERY_US, Next::Check);
            }
        }
    }

    /// Hands an input to a running engine and deals with what it wants done.
    pub(crate) fn deliver(&mut self, slot: usize, input: Input) {
        let now = self.nodes[slot].clock.read(self.now);
        self.trace.input(self.now, slot, &input);
        if let Some(machine) = self.nodes[slot].machine.as_mut() {
            machine.handle(now, input);
        }
        self.settle_node(slot);
    }

    /// Drains an engine and sets its alarm.
    pub(crate) fn settle_node(&mut self, slot: usize) {
        self.nodes[slot].run.sends = 0;
        while let Some(output) = self.nodes[slot].machine.as_mut().and_then(M::poll_output) {
            self.trace.output(self.now, slot, &output);
            if let Some(tap) = self.tap.as_mut() {
                for output in tap(slot, output) {
                    self.take_output(slot, output);
                }
            } else {
                self.take_output(slot, output);
            }
        }
        let sends = self.nodes[slot].run.sends;
        let limit = self.setup.demands.sends_per_input;
        self.check(
            slot,
            "sends_bounded",
            invariants::sends_bounded(sends, limit),
        );
        self.set_alarm(slot);
    }

    fn set_alarm(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        let Some(machine) = node.machine.as_ref().filter(|_| node.state == State::Up) else {
            return;
        };
        let deadline = machine.next_deadline();
        if deadline == Time::from_micros(u64::MAX) {
            return;
        }
        let due = node.clock.virtual_time(deadline).max(self.now);
        if node.run.wake_at.is_none_or(|at| at > due) {
            let late = node.rng.below(self.setup.timer_slack_us + 1);
            let life = node.life;
            node.run.wake_at = Some(due + late);
            self.queue.push(due + late, Next::Wake { slot, life });
        }
    }

    fn wake(&mut self, slot: usize, life: u32) {
        let node = &mut self.nodes[slot];
        let due = node.life == life && node.run.wake_at == Some(self.now);
        if !due || node.state != State::Up {
            return;
        }
        node.run.wake_at = None;
        let deadline = node.machine.as_ref().map(M::next_deadline);
        if deadline.is_none_or(|at| node.clock.virtual_time(at) > self.now) {
            return self.set_alarm(slot);
        }
        let (at, count) = node.run.ticks_at_once;
        let count = if at == self.now { count + 1 } else { 0 };
        node.run.ticks_at_once = (self.now, count);
        let check = invariants::time_moves(count);
        if check.is_err() {
            self.check(slot, "time_moves", check);
            return self.apply(Action::Kill(slot));
        }
        self.deliver(slot, Input::Tick);
    }

    /// Puts a datagram on the wire.
    pub(crate) fn transmit(&mut self, slot: usize, to: SocketAddr, bytes: Bytes) {
        let from = address(self.nodes[slot].address);
        let traffic = &mut self.nodes[slot].traffic;
        traffic.datagrams_out += 1;
        traffic.datagram_bytes_out += bytes.len() as u64 + UDP_HEADER_BYTES;
        let to = crate::sim::setup::address_index(to).unwrap_or(u32::MAX);
        let Some(host) = self.host_at(to) else {
            return;
        };
        for delay in self
            .network
            .fate(slot, host, &mut self.rng)
            .into_iter()
            .flatten()
        {
            let bytes = bytes.clone();
            self.queue
                .push(self.now + delay, Next::Datagram { to, from, bytes });
        }
    }

    fn datagram_arrives(&mut self, to: u32, from: SocketAddr, bytes: Bytes) {
        let Some(slot) = self.host_at(to) else {
            return;
        };
        match self.nodes[slot].state {
            State::Down => {}
            State::Paused => {
                let buffer = self.setup.socket_buffer_bytes;
                self.nodes[slot].hold(Held::Datagram { from, bytes }, buffer);
            }
            State::Up => {
                self.nodes[slot].traffic.datagrams_in += 1;
                self.deliver(slot, Input::Datagram { from, bytes });
            }
        }
    }

    fn seeds_resolved(&mut self, slot: usize, life: u32) {
        let node = &self.nodes[slot];
        if node.life != life || node.state != State::Up {
            return;
        }
        let failed = self.rng.chance(self.setup.dns_loss_ppm);
        let seeds = self.setup.seeds.iter().filter(|_| !failed);
        let addrs = seeds
            .map(|seed| address(self.nodes[*seed].address))
            .collect();
        self.deliver(slot, Input::Seeds { addrs });
    }

    /// The host that has an address.
    pub(crate) fn host_at(&self, index: u32) -> Option<usize> {
        self.hosts.get(index as usize).copied().flatten()
    }

    /// Notes a broken invariant.
    pub(crate) fn check(&mut self, slot: usize, invariant: &'static str, check: Check) {
        if let Err(text) = check
            && self.violations.len() < VIOLATIONS_MAX
        {
            self.violations.push(Violation {
                at_us: self.now,
                slot,
                invariant,
                text,
            });
        }
    }
}
