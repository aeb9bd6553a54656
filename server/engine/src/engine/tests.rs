//! A handful of engines, virtual time, a perfect network.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick the outputs that they are about"
)]

mod agreement;
mod basics;
mod bounds;
mod coordinates;
mod doubting;
mod gossip;
mod hostile;
mod keys;
mod naming;
mod probing;
mod restoring;
mod watching;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{
    Config, ExchangeError, ExchangeKind, Input, Limits, Output, WatchEvent, WatchFailure, WatchId,
};
use crate::crypto::{Key, Keyring};
use crate::member::{Member, Status};
use crate::time::{Now, Time};
use crate::{Engine, EngineError};

const LATENCY: u64 = 500;

pub(super) struct Net {
    now: u64,
    nodes: BTreeMap<SocketAddr, Engine>,
    /// (due, to, input, where an answer goes)
    wires: VecDeque<(u64, SocketAddr, Input)>,
    asked: BTreeMap<u64, (SocketAddr, Asked)>,
    /// Open watch streams: who holds it, its number, to whom.
    watches: BTreeSet<(SocketAddr, WatchId, SocketAddr)>,
    next_exchange: u64,
    seeds: Vec<SocketAddr>,
    /// These and the others do not reach each other.
    cut_off: BTreeSet<SocketAddr>,
    /// No datagram gets through, streams do.
    datagrams_blocked: bool,
    /// Nor any to these.
    hears_none: BTreeSet<SocketAddr>,
    /// Datagrams sent over TCP so far.
    carried: usize,
    /// Added to the wall clock of nodes.
    skews: BTreeMap<SocketAddr, i64>,
    /// Everything delivered, if anybody wants it.
    captured: Option<Vec<Input>>,
    pub(super) outputs: Vec<(SocketAddr, Output)>,
}

/// What an answer is for.
enum Asked {
    Exchange(crate::ExchangeId),
    Watch(WatchId, SocketAddr),
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1_000 + n))
}

pub(super) fn config(name: &str, n: u16, boot: u64) -> Config {
    Config {
        name: name.to_owned(),
        cluster: "test".to_owned(),
        advertise: addr(n),
        boot,
        tags: BTreeMap::new(),
        roles: Vec::new(),
        version: "0".to_owned(),
        keyring: Some(Keyring::new(Key::new(&[7; 32]).unwrap())),
        limits: Limits::default(),
        reap_left: Duration::from_secs(600),
        reap_failed: Duration::from_secs(86_400),
        coordinates: true,
        retry_interval: Duration::from_secs(5),
    }
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            now: 1_000_000,
            nodes: BTreeMap::new(),
            wires: VecDeque::new(),
            asked: BTreeMap::new(),
            watches: BTreeSet::new(),
            next_exchange: 0,
            seeds: vec![addr(0)],
            cut_off: BTreeSet::new(),
            datagrams_blocked: false,
            hears_none: BTreeSet::new(),
            carried: 0,
            skews: BTreeMap::new(),
            captured: None,
            outputs: Vec::new(),
        }
    }

    pub(super) fn clock(&self) -> Now {
        Now {
            at: Time::from_micros(self.now),
            unix_ms: 1_700_000_000_000 + self.now / 1_000,
        }
    }

    pub(super) fn start(&mut self, config: Config) {
        let at = config.advertise;
        let seed = u64::from(at.port()) * 31 + self.now;
        self.nodes
            .insert(at, Engine::new(config, seed, self.clock_of(at)));
        self.drain(at);
    }

    pub(super) fn node(&self, n: u16) -> &Engine {
        &self.nodes[&addr(n)]
    }

    pub(super) fn with<T>(&mut self, n: u16, f: impl FnOnce(&mut Engine, Now) -> T) -> T {
        let now = self.clock_of(addr(n));
        let result = f(self.nodes.get_mut(&addr(n)).unwrap(), now);
        self.drain(addr(n));
        result
    }

    pub(super) fn kill(&mut self, n: u16) {
        self.nodes.remove(&addr(n));
        let (to, due) = (addr(n), self.now + LATENCY);
        let broken = self.watches.extract_if(.., |watch| watch.2 == to);
        for (holder, id, _) in broken {
            let event = WatchEvent::Lost;
            self.wires
                .push_back((due, holder, Input::Watch { id, event }));
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        loop {
            let wire = self.wires.front().map_or(u64::MAX, |wire| wire.0);
            let timer = self
                .nodes
                .iter()
                .map(|(at, node)| (node.next_deadline(), *at))
                .min();
            let (deadline, at) = timer.unwrap();
            let next = wire.min(deadline.as_micros().max(self.now));
            if next > end {
                break;
            }
            self.now = next;
            if wire <= next {
                let (_, to, input) = self.wires.pop_front().unwrap();
                self.deliver(to, input);
            } else {
                self.deliver(at, Input::Tick);
            }
        }
        self.now = end;
    }

    /// The clocks of one node.
    fn clock_of(&self, at: SocketAddr) -> Now {
        let mut now = self.clock();
        let skew = self.skews.get(&at).copied().unwrap_or(0);
        now.unix_ms = now.unix_ms.saturating_add_signed(skew);
        now
    }

    fn is_cut(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.cut_off.contains(&from) != self.cut_off.contains(&to)
    }

    fn deliver(&mut self, to: SocketAddr, input: Input) {
        let now = self.clock_of(to);
        match &input {
            Input::Datagram { from, .. } if self.is_cut(*from, to) => return,
            Input::Datagram { .. } if self.datagrams_blocked => return,
            Input::Datagram { .. } if self.hears_none.contains(&to) => return,
            Input::Request { id, from, .. } if self.is_cut(*from, to) => {
                return self.answer(*id, Err(ExchangeError::Timeout));
            }
            _ => {}
        }
        let Some(node) = self.nodes.get_mut(&to) else {
            if let Input::Request { id, .. } = input {
                self.answer(id, Err(ExchangeError::Connect("refused".to_owned())));
            }
            return;
        };
        if let Some(captured) = &mut self.captured {
            captured.push(input.clone());
        }
        node.handle(now, input);
        node.check().unwrap();
        self.drain(to);
    }

    fn answer(&mut self, id: crate::ExchangeId, result: Result<bytes::Bytes, ExchangeError>) {
        let (asker, asked) = self.asked.remove(&id.0).unwrap();
        let input = match asked {
            Asked::Exchange(id) => Input::Response { id, result },
            Asked::Watch(id, to) => {
                let event = match result {
                    Ok(answer) => WatchEvent::Opened(answer),
                    Err(ExchangeError::Connect(_)) => WatchEvent::Failed(WatchFailure::Refused),
                    Err(_) => WatchEvent::Failed(WatchFailure::Silent),
                };
                if matches!(event, WatchEvent::Opened(_)) {
                    self.watches.insert((asker, id, to));
                }
                Input::Watch { id, event }
            }
        };
        self.wires.push_back((self.now + LATENCY, asker, input));
    }

    fn drain(&mut self, at: SocketAddr) {
        while let Some(output) = self.nodes.get_mut(&at).and_then(Engine::poll_output) {
            let due = self.now + LATENCY;
            match output {
                Output::Transmit { to, bytes } => {
                    self.wires
                        .push_back((due, to, Input::Datagram { from: at, bytes }));
                }
                Output::Carry { to, bytes } => {
                    self.carried += 1;
                    self.wires.push_back((due, to, Input::Carried { bytes }));
                }
                Output::Request {
                    id, to, kind, body, ..
                } => {
                    self.next_exchange += 1;
                    let number = crate::ExchangeId(self.next_exchange);
                    self.asked
                        .insert(self.next_exchange, (at, Asked::Exchange(id)));
                    let input = Input::Request {
                        id: number,
                        from: at,
                        kind,
                        body,
                    };
                    self.wires.push_back((due, to, input));
                }
                Output::Watch { id, to, hello, .. } => {
                    self.next_exchange += 1;
                    let number = crate::ExchangeId(self.next_exchange);
                    self.asked
                        .insert(self.next_exchange, (at, Asked::Watch(id, to)));
                    let input = Input::Request {
                        id: number,
                        from: at,
                        kind: ExchangeKind::Watch,
                        body: hello,
                    };
                    self.wires.push_back((due, to, input));
                }
                Output::Unwatch { id } => {
                    self.watches.retain(|watch| (watch.0, watch.1) != (at, id));
                }
                Output::Respond { id, body } => {
                    self.answer(id, body.ok_or(ExchangeError::Timeout));
                }
                Output::ResolveSeeds => {
                    let addrs = self.seeds.clone();
                    self.wires.push_back((due, at, Input::Seeds { addrs }));
                }
                output => self.outputs.push((at, output)),
            }
        }
    }

    /// What was shown of a name since the outputs were last cleared, in order.
    pub(super) fn story(&self, viewer: u16, name: &str) -> Vec<Status> {
        let shown = self.outputs.iter().filter_map(|(at, output)| match output {
            Output::MemberUpdated(member) if *at == addr(viewer) => Some(member),
            _ => None,
        });
        let mut story: Vec<_> = shown
            .filter(|member| **member.display_name() == *name)
            .map(|member| member.status)
            .collect();
        story.dedup();
        story
    }

    pub(super) fn member(&self, viewer: u16, name: &str) -> Option<Arc<Member>> {
        let mut members = self.node(viewer).members();
        members.find(|m| **m.display_name() == *name)
    }

    /// These show this status of a name; `None`: they do not show it.
    pub(super) fn assert_shown(
        &self,
        viewers: impl IntoIterator<Item = u16>,
        name: &str,
        status: Option<Status>,
    ) {
        for viewer in viewers {
            assert_eq!(self.status(viewer, name), status, "{name} seen by {viewer}");
        }
    }

    pub(super) fn status(&self, viewer: u16, name: &str) -> Option<Status> {
        let members = self.node(viewer).members();
        members
            .into_iter()
            .find(|m| **m.display_name() == *name)
            .map(|m| m.status)
    }
}

fn cluster(nodes: u16) -> Net {
    let mut net = Net::new();
    for n in 0..nodes {
        net.start(config(&format!("n{n}"), n, 100));
        net.run(Duration::from_millis(50));
    }
    net.run(Duration::from_secs(2));
    net
}
