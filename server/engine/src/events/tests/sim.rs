//! Nodes, network and oracle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Bug;
use crate::api::{ExchangeError, Limits};
use crate::event::{Event, EventDraft, EventError, EventKind, Origin};
use crate::events::{Events, EventsOutput, Peers};
use crate::ident::{NodeRef, name_hash};
use crate::time::{Now, Time};

/// Datagrams that a stopped node's socket keeps.
const BACKLOG: usize = 300;

/// Ticks of one node at one instant before it counts as spinning.
const SPIN: u32 = 200;

#[derive(Debug, Clone, Copy)]
pub(super) struct Net {
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) delay_us: (u64, u64),
    /// Bytes per microsecond on exchanges.
    pub(super) bandwidth: u64,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay_us: (100, 1_000),
            bandwidth: 12,
        }
    }
}

#[derive(Debug)]
enum Action {
    Tick,
    Datagram {
        from: NodeRef,
        section: Bytes,
    },
    PullRequest {
        from: usize,
        boot: u64,
        id: u64,
        body: Bytes,
    },
    PullAnswer {
        id: u64,
        boot: u64,
        answer: Result<Bytes, ExchangeError>,
    },
    Publish,
}

#[derive(Debug)]
struct Due {
    at: u64,
    nth: u64,
    node: usize,
    action: Action,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

/// What one consumer saw of one origin.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) events: u64,
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) last_at: u64,
}

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

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.run_while(end, |_| true);
        self.now = end;
    }

    /// Runs until `done`, at most until `limit`; true if it came to that.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        self.run_while(end, |sim| !done(sim));
        done(self)
    }

    fn run_while(&mut self, end: u64, go: impl Fn(&Self) -> bool) {
        while go(self) {
            match self.heap.peek() {
                Some(Reverse(due)) if due.at <= end => {}
                Some(_) | None => return,
            }
            let Some(Reverse(due)) = self.heap.pop() else {
                return;
            };
            self.now = self.now.max(due.at);
            self.perform(due);
        }
    }

    fn perform(&mut self, due: Due) {
        let index = due.node;
        let node = &mut self.nodes[index];
        if !node.up {
            if let Action::PullRequest { from, boot, id, .. } = due.action {
                let answer = Err(ExchangeError::Connect("refused".to_owned()));
                self.schedule(
                    self.now + 500,
                    from,
                    Action::PullAnswer { id, boot, answer },
                );
            }
            return;
        }
        if node.paused {
            if let Action::PullRequest { from, boot, id, .. } = due.action {
                let answer = Err(ExchangeError::Timeout);
                let at = self.now + 3_000_000;
                self.schedule(at, from, Action::PullAnswer { id, boot, answer });
            } else if node.backlog.len() < BACKLOG {
                node.backlog.push_back(due);
            }
            return;
        }
        match due.action {
            Action::Tick => self.tick(index, due.at),
            Action::Publish => self.publish_some(index),
            Action::Datagram { from, section } => self.call(index, |events, now, peers| {
                events.on_section(now, from, section, peers);
            }),
            Action::PullRequest {
                from,
                boot,
                id,
                body,
            } => {
                let mut answer = None;
                self.call(index, |events, now, peers| {
                    answer = events.on_pull_request(now, body, peers);
                });
                let answer = answer.ok_or(ExchangeError::Broken("closed".to_owned()));
                let bytes = answer.as_ref().map_or(0, Bytes::len) as u64;
                let at = self.now + self.delay() + bytes / self.net.bandwidth;
                self.schedule(at, from, Action::PullAnswer { id, boot, answer });
            }
            Action::PullAnswer { id, boot, answer } => {
                if self.nodes[index].me.boot == boot {
                    self.call(index, |events, now, peers| {
                        events.on_pull_answer(now, id, answer, peers);
                    });
                }
            }
        }
    }

    fn tick(&mut self, index: usize, at: u64) {
        let node = &mut self.nodes[index];
        if node.tick_at > self.now && at < node.tick_at {
            return;
        }
        node.spin = match node.spin {
            (when, times) if when == self.now => (when, times + 1),
            _ => (self.now, 0),
        };
        assert!(node.spin.1 < SPIN, "{} spins at {}", node.name, self.now);
        node.tick_at = u64::MAX;
        self.call(index, Events::tick);
    }

    fn publish_some(&mut self, index: usize) {
        for _ in 0..64 {
            let Some(draft) = self.nodes[index].to_publish.pop_front() else {
                return;
            };
            let mut result = None;
            let kept = draft.clone();
            self.call(index, |events, now, peers| {
                result = Some(events.publish(now, draft, peers));
            });
            match result {
                Some(Ok(accepted)) => {
                    let node = &mut self.nodes[index];
                    assert_eq!(accepted.sequence, node.published + 1);
                    node.published += 1;
                }
                Some(Err(EventError::Full)) => {
                    let node = &mut self.nodes[index];
                    node.to_publish.push_front(kept);
                    node.blocked_at = Some(self.now);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        self.schedule(self.now + 1_000, index, Action::Publish);
    }

    pub(super) fn call(&mut self, index: usize, act: impl FnOnce(&mut Events, Now, &dyn Peers)) {
        let now = Now {
            at: Time::from_micros(self.now),
            unix_ms: self.now / 1_000,
        };
        let node = &mut self.nodes[index];
        act(&mut node.events, now, &View(&node.live));
        while let Some(output) = self.nodes[index].events.poll() {
            self.output(index, output);
        }
        let node = &mut self.nodes[index];
        node.most_bytes = node.most_bytes.max(node.events.bytes);
        if let Some(deadline) = node.events.next_deadline() {
            let at = deadline.as_micros().max(self.now);
            if at < node.tick_at {
                node.tick_at = at;
                self.schedule(at, index, Action::Tick);
            }
        }
    }

    fn output(&mut self, index: usize, output: EventsOutput) {
        match output {
            EventsOutput::Send { to, section } => self.transmit(index, to, &section),
            EventsOutput::Pull { id, to, body } => {
                let node = &self.nodes[index];
                let boot = node.me.boot;
                match self.find(to) {
                    Some(peer) if node.live.contains(&to) => {
                        let at = self.now + 2 * self.delay();
                        let action = Action::PullRequest {
                            from: index,
                            boot,
                            id,
                            body,
                        };
                        self.schedule(at, peer, action);
                    }
                    Some(_) | None => {
                        let answer = Err(ExchangeError::Connect("unknown".to_owned()));
                        let action = Action::PullAnswer { id, boot, answer };
                        self.schedule(self.now + 1, index, action);
                    }
                }
            }
            EventsOutput::Deliver(event) => {
                let key = key_of(&event.origin);
                self.saw(index, key, event.sequence, event.sequence, false);
            }
            EventsOutput::Query(query) => self.on_query(index, &query),
            EventsOutput::Passed { origin, sequence } => {
                let key = key_of(&origin);
                if !self.nodes[index].queries.contains(&(key, sequence)) {
                    let text = format!("n{index}: query {key:?}/{sequence} never came");
                    self.violations.push(text);
                }
                self.saw(index, key, sequence, sequence, false);
            }
            EventsOutput::Gap(gap) => {
                let key = key_of(&gap.origin);
                self.saw(index, key, gap.first, gap.last, true);
            }
            EventsOutput::Base { origin, sequence } => {
                let key = key_of(&origin);
                let seen = Seen {
                    base: sequence,
                    next: sequence + 1,
                    ..Seen::default()
                };
                let queries = &self.nodes[index].queries;
                if queries.range((key, 0)..=(key, sequence)).next().is_some() {
                    self.violations
                        .push(format!("n{index}: a query before the base of {key:?}"));
                }
                if self.nodes[index].seen.insert(key, seen).is_some() {
                    self.violations
                        .push(format!("n{index}: base of {key:?} is late"));
                }
            }
            EventsOutput::Replicated { sequence } => self.on_replicated(index, sequence),
            EventsOutput::Room => {
                let node = &mut self.nodes[index];
                if let Some(at) = node.blocked_at.take() {
                    node.blocked_us += self.now - at;
                }
                self.schedule(self.now, index, Action::Publish);
            }
            EventsOutput::LaggardLetGo { member, behind } => {
                let at = self.now;
                self.nodes[index].let_go.push((at, member, behind));
            }
        }
    }

    fn on_query(&mut self, index: usize, query: &Event) {
        let key = key_of(&query.origin);
        let seen = self.nodes[index].seen.get(&key);
        let over = seen.is_some_and(|seen| seen.next > query.sequence);
        let fresh = self.nodes[index].queries.insert((key, query.sequence));
        if over || !fresh {
            let text = format!("n{index}: query {key:?}/{} again", query.sequence);
            self.violations.push(text);
        }
    }

    fn on_replicated(&mut self, index: usize, sequence: u64) {
        let node = &mut self.nodes[index];
        if sequence <= node.replicated {
            self.violations.push(format!("n{index}: receipts go back"));
        }
        node.replicated = sequence;
        node.replicated_at = self.now;
        let me = node.me;
        self.promised.insert(me, sequence);
    }

    fn saw(&mut self, index: usize, key: NodeRef, first: u64, last: u64, gap: bool) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let later = node.seen.iter().any(|(other, seen)| {
            other.hash == key.hash && other.boot > key.boot && seen.next > seen.base + 1
        });
        if later && !gap {
            let text = format!("n{index}: {key:?}/{first} after a later boot");
            self.violations.push(text);
        }
        let seen = node.seen.entry(key).or_insert(Seen {
            next: 1,
            ..Seen::default()
        });
        if seen.next != first {
            let text = format!("n{index}: {key:?}/{first} where {} is due", seen.next);
            self.violations.push(text);
        }
        seen.next = last + 1;
        seen.last_at = now;
        if gap {
            seen.gaps.push((first, last));
        } else {
            seen.events += 1;
        }
    }

    fn transmit(&mut self, index: usize, to: NodeRef, section: &Bytes) {
        self.sections += 1;
        let bytes = section.iter().fold(self.trace, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.trace = bytes ^ self.now ^ to.hash;
        assert!(section.len() <= crate::events::SECTION_BYTES_MAX);
        let Some(peer) = self.find(to) else {
            return;
        };
        let copies = 1 + u32::from(self.rng.random_bool(self.net.duplication));
        for _ in 0..copies {
            if !self.rng.random_bool(self.net.loss) {
                let at = self.now + self.delay();
                let from = self.nodes[index].me;
                let section = section.clone();
                self.schedule(at, peer, Action::Datagram { from, section });
            }
        }
    }

    fn find(&self, node: NodeRef) -> Option<usize> {
        self.nodes.iter().position(|n| n.me == node)
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.net.delay_us;
        self.rng.random_range(least..=most)
    }

    fn schedule(&mut self, at: u64, node: usize, action: Action) {
        self.nth += 1;
        let nth = self.nth;
        self.heap.push(Reverse(Due {
            at,
            nth,
            node,
            action,
        }));
    }

    pub(super) fn key(&self, index: usize) -> NodeRef {
        self.nodes[index].me
    }

    /// What `index` saw of `of`.
    pub(super) fn seen(&self, index: usize, of: NodeRef) -> Seen {
        self.nodes[index].seen.get(&of).cloned().unwrap_or(Seen {
            next: 1,
            ..Seen::default()
        })
    }

    /// Everybody up saw all that was published by `of`.
    pub(super) fn all_have(&self, of: usize) -> bool {
        let (key, published) = (self.key(of), self.nodes[of].published);
        let up = self.nodes.iter().filter(|n| n.up && !n.paused);
        self.nodes[of].to_publish.is_empty()
            && published > 0
            && up
                .into_iter()
                .all(|n| n.seen.get(&key).is_some_and(|s| s.next > published))
    }

    /// Every promise: replicated events were seen by all that are up, in order, or
    /// covered by a gap where one is allowed.
    pub(super) fn check(&mut self, gaps_allowed: &[usize]) -> Vec<String> {
        let mut found = std::mem::take(&mut self.violations);
        for (key, promised) in &self.promised {
            for (index, node) in self.nodes.iter().enumerate() {
                if !node.up || node.paused || node.me.hash == key.hash {
                    continue;
                }
                let seen = self.seen(index, *key);
                let excused = node.excused.get(key).copied().unwrap_or(0);
                if seen.next <= *promised && *promised > excused {
                    found.push(format!(
                        "n{index}: {key:?} promised up to {promised}, next is {}",
                        seen.next
                    ));
                }
                if !seen.gaps.is_empty() && !gaps_allowed.contains(&index) {
                    found.push(format!("n{index}: {key:?} gaps {:?}", seen.gaps));
                }
            }
        }
        for node in &self.nodes {
            if node.most_bytes > self.limits.event_bytes_total + (2 << 20) {
                found.push(format!("{} held {} bytes", node.name, node.most_bytes));
            }
        }
        found
    }
}
