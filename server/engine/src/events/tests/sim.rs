//! Nodes, network and oracle.

mod network;
mod oracle;
mod run;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Bug;
use crate::api::Limits;
use crate::event::{EventDraft, EventKind, Origin};
use crate::events::{Events, Peers};
use crate::ident::{NodeRef, name_hash};
use network::{Action, Due};
use oracle::Seen;

pub(super) use network::Net;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) me: NodeRef,
    pub(super) name: Arc<str>,
    pub(super) events: Events,
    pub(super) up: bool,
    pub(super) paused: bool,
    pub(super) live: Vec<NodeRef>,
    pub(super) seen: BTreeMap<NodeRef, Seen>,
    pub(super) queries: BTreeSet<(NodeRef, u64)>,
    pub(super) replicated: u64,
    pub(super) replicated_at: u64,
    pub(super) published: u64,
    /// What was promised before its time.
    excused: BTreeMap<NodeRef, u64>,
    pub(super) let_go: Vec<(u64, NodeRef, u64)>,
    pub(super) blocked_us: u64,
    blocked_at: Option<u64>,
    to_publish: VecDeque<EventDraft>,
    backlog: VecDeque<Due>,
    tick_at: u64,
    spin: (u64, u32),
    most_bytes: usize,
}

struct View<'a>(&'a [NodeRef]);

impl Peers for View<'_> {
    fn live(&self) -> &[NodeRef] {
        self.0
    }
    fn name_of(&self, _hash: u64) -> Option<Arc<str>> {
        None
    }
}

#[derive(Debug)]
pub(super) struct Sim {
    pub(super) now: u64,
    pub(super) net: Net,
    pub(super) limits: Limits,
    pub(super) nodes: Vec<Node>,
    pub(super) violations: Vec<String>,
    pub(super) sections: u64,
    /// Hash of all that was sent, in order.
    pub(super) trace: u64,
    pub(super) bug: Option<Bug>,
    /// A third of what is published are queries.
    pub(super) queries: bool,
    /// Highest replicated sequence of each origin and boot, dead ones included.
    pub(super) promised: BTreeMap<NodeRef, u64>,
    heap: BinaryHeap<Reverse<Due>>,
    nth: u64,
    rng: StdRng,
    seed: u64,
}

fn key_of(origin: &Origin) -> NodeRef {
    NodeRef {
        hash: name_hash(&origin.name),
        boot: origin.boot,
    }
}

pub(super) fn name(index: usize) -> String {
    format!("n{index}")
}

impl Sim {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut sim = Self {
            now: 1_000_000,
            net: Net::default(),
            limits: Limits::default(),
            nodes: Vec::new(),
            violations: Vec::new(),
            sections: 0,
            trace: 0,
            bug: None,
            queries: false,
            promised: BTreeMap::new(),
            heap: BinaryHeap::new(),
            nth: 0,
            rng: StdRng::seed_from_u64(seed),
            seed,
        };
        for _ in 0..count {
            sim.add(1);
        }
        sim.everybody_sees_everybody();
        sim
    }

    /// The same with other limits: before anything was published.
    pub(super) fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        for index in 0..self.nodes.len() {
            self.nodes[index].events = self.engine(index, self.nodes[index].me.boot);
            self.nodes[index].live.clear();
        }
        self.everybody_sees_everybody();
        self
    }

    pub(super) fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        for node in &mut self.nodes {
            node.events.bug = Some(bug);
        }
        self
    }

    fn engine(&self, index: usize, boot: u64) -> Events {
        let hash = name_hash(&name(index));
        let me = NodeRef { hash, boot };
        let seed = self.seed ^ (index as u64) << 32 ^ boot;
        let mut events = Events::new(me, Arc::from(name(index)), &self.limits, seed);
        events.bug = self.bug;
        events
    }

    pub(super) fn add(&mut self, boot: u64) -> usize {
        let index = self.nodes.len();
        let hash = name_hash(&name(index));
        let events = self.engine(index, boot);
        self.nodes.push(Node {
            me: NodeRef { hash, boot },
            name: Arc::from(name(index)),
            events,
            up: true,
            paused: false,
            live: Vec::new(),
            seen: BTreeMap::new(),
            queries: BTreeSet::new(),
            replicated: 0,
            replicated_at: 0,
            published: 0,
            excused: BTreeMap::new(),
            let_go: Vec::new(),
            blocked_us: 0,
            blocked_at: None,
            to_publish: VecDeque::new(),
            backlog: VecDeque::new(),
            tick_at: u64::MAX,
            spin: (0, 0),
            most_bytes: 0,
        });
        index
    }

    /// Membership agrees: those that are up, paused ones included.
    pub(super) fn everybody_sees_everybody(&mut self) {
        let up: Vec<NodeRef> = self.nodes.iter().filter(|n| n.up).map(|n| n.me).collect();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let mut live: Vec<NodeRef> = up.iter().filter(|n| **n != node.me).copied().collect();
            live.sort_unstable();
            let gone: Vec<NodeRef> = node
                .live
                .iter()
                .filter(|n| !live.contains(n))
                .copied()
                .collect();
            let came: Vec<NodeRef> = live
                .iter()
                .filter(|n| !node.live.contains(n))
                .copied()
                .collect();
            node.live = live;
            if !node.up || node.paused {
                continue;
            }
            for member in gone {
                self.call(index, |events, now, _| events.member_down(now, member));
            }
            for member in came {
                self.call(index, |events, now, _| events.member_up(now, member));
            }
        }
    }

    /// A process dies; the others still count it until told.
    pub(super) fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.up = false;
        node.to_publish.clear();
        node.backlog.clear();
        node.tick_at = u64::MAX;
    }

    /// The process starts again with the next boot and joins through `through`.
    pub(super) fn restart(&mut self, index: usize, through: usize) {
        let boot = self.nodes[index].me.boot + 1;
        let events = self.engine(index, boot);
        let node = &mut self.nodes[index];
        node.me.boot = boot;
        node.events = events;
        node.live.clear();
        node.up = true;
        node.paused = false;
        node.seen.clear();
        node.queries.clear();
        node.replicated = 0;
        node.published = 0;
        node.tick_at = u64::MAX;
        self.everybody_sees_everybody();
        self.join(index, through);
    }

    pub(super) fn join(&mut self, index: usize, through: usize) {
        let positions = self.nodes[through].events.positions();
        let from = self.nodes[through].me;
        self.nodes[index].excused = self.promised.clone();
        self.call(index, |events, now, peers| {
            events.on_positions(now, from, &positions, true, peers);
        });
    }

    pub(super) fn sync(&mut self, index: usize, with: usize) {
        let positions = self.nodes[with].events.positions();
        let from = self.nodes[with].me;
        self.call(index, |events, now, peers| {
            events.on_positions(now, from, &positions, false, peers);
        });
    }

    pub(super) fn pause(&mut self, index: usize) {
        self.nodes[index].paused = true;
    }

    pub(super) fn resume(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.paused = false;
        let backlog = std::mem::take(&mut node.backlog);
        for mut due in backlog {
            due.at = self.now;
            self.heap.push(Reverse(due));
        }
        self.schedule(self.now, index, Action::Tick);
    }

    /// Publishes as fast as the window allows, 64 a millisecond at most.
    pub(super) fn publish(&mut self, index: usize, count: usize, size: usize) {
        let payload = Bytes::from(vec![0x5a; size]);
        for _ in 0..count {
            let mut draft = EventDraft::new("deploy", payload.clone());
            if self.queries && self.rng.random_bool(0.3) {
                draft.kind = EventKind::Query;
            }
            self.nodes[index].to_publish.push_back(draft);
        }
        self.schedule(self.now, index, Action::Publish);
    }

    pub(super) fn key(&self, index: usize) -> NodeRef {
        self.nodes[index].me
    }
}
