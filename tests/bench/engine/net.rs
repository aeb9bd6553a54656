//! Engines joined by a network without loss, in virtual time: next to nothing is
//! done besides the engines' own work, and that is measured.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use muster_engine::crypto::{Key, Keyring};
use muster_engine::{
    Config, Engine, EventDraft, EventError, ExchangeId, Input, Limits, Now, Output, Time,
};

/// Port of everybody.
const PORT: u16 = 7946;

/// Virtual time that anything takes to another engine.
const DELAY: Duration = Duration::from_micros(100);

/// Wall clock at the start of virtual time, milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;

/// What the engines have done.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Datagrams taken in.
    pub(crate) datagrams: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What the meter ran up inside the engines, for everything.
    pub(crate) spent: u64,
}

/// Reads what is measured: it only grows.
pub(crate) type Meter = fn() -> u64;

/// The engines and what is on its way between them.
pub(crate) struct Net {
    pub(crate) engines: Vec<Engine>,
    /// What their names and addresses come from.
    numbers: Vec<usize>,
    places: BTreeMap<usize, usize>,
    seed: SocketAddr,
    meter: Meter,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    inputs: BTreeMap<u64, (usize, Input)>,
    next: u64,
    /// Exchanges under way at the one who answers: who asked, and its number there.
    asked: BTreeMap<u64, (usize, ExchangeId)>,
    work: Work,
    events: usize,
    room: bool,
}

impl Net {
    /// Engines that join through the first.
    pub(crate) fn new(numbers: &[usize], key: &Key, meter: Meter) -> Self {
        let now = Time::default();
        let engine = |number: &usize| Engine::new(config(*number, key), *number as u64, at(now));
        let mut net = Self {
            engines: numbers.iter().map(engine).collect(),
            numbers: numbers.to_vec(),
            places: numbers.iter().copied().zip(0..).collect(),
            seed: addr(numbers.first().copied().unwrap_or_default()),
            meter,
            now,
            queue: BinaryHeap::new(),
            inputs: BTreeMap::new(),
            next: 0,
            asked: BTreeMap::new(),
            work: Work::default(),
            events: 0,
            room: true,
        };
        for node in 0..numbers.len() {
            net.drain(node);
        }
        net
    }

    /// Lets virtual time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Sends events from the first engine and lets time pass: how many were taken and
    /// how many came to somebody.
    pub(crate) fn burst(&mut self, count: usize, bytes: usize, time: Duration) -> (usize, usize) {
        let end = self.now + time;
        let payload = Bytes::from(vec![b'.'; bytes]);
        let (mut sent, before) = (0, self.events);
        loop {
            while sent < count && self.room {
                let draft = EventDraft::new("bench", payload.clone());
                let began = (self.meter)();
                let accepted = self.engines[0].send_event(at(self.now), draft);
                self.work.spent += (self.meter)() - began;
                match accepted {
                    Ok(_) => sent += 1,
                    Err(EventError::Full) => self.room = false,
                    Err(_) => break,
                }
                self.drain(0);
            }
            if !self.step(end) {
                return (sent, self.events - before);
            }
        }
    }

    /// What was done since the last call.
    pub(crate) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// The next thing before `end`; false when there is none.
    fn step(&mut self, end: Time) -> bool {
        let deadlines = self.engines.iter().map(Engine::next_deadline);
        let tick = deadlines.enumerate().min_by_key(|(_, at)| *at);
        let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
        match (tick, arrival) {
            (_, Some(at)) if at <= self.now => self.arrive(),
            (Some((node, due)), arrival) if arrival.is_none_or(|at| due < at) => {
                if due >= end {
                    return false;
                }
                self.now = self.now.max(due);
                self.handle(node, Input::Tick);
            }
            (_, Some(at)) if at < end => {
                self.now = at;
                self.arrive();
            }
            _ => return false,
        }
        true
    }

    fn arrive(&mut self) {
        let next = self.queue.pop();
        let found = next.and_then(|Reverse((_, number))| self.inputs.remove(&number));
        if let Some((node, input)) = found {
            self.handle(node, input);
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        if let Input::Datagram { bytes, .. } = &input {
            self.work.datagrams += 1;
            self.work.bytes += bytes.len() as u64;
        }
        let began = (self.meter)();
        self.engines[node].handle(at(self.now), input);
        self.work.spent += (self.meter)() - began;
        self.drain(node);
    }

    /// Where an engine is met.
    fn addr(&self, node: usize) -> SocketAddr {
        addr(self.numbers[node])
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.engines[node].poll_output() {
            match output {
                Output::Transmit { to, bytes } => {
                    let from = self.addr(node);
                    self.send(to, Input::Datagram { from, bytes });
                }
                Output::Request {
                    id, to, kind, body, ..
                } => {
                    let number = ExchangeId(self.next);
                    self.asked.insert(number.0, (node, id));
                    let from = self.addr(node);
                    let id = number;
                    self.send(
                        to,
                        Input::Request {
                            id,
                            from,
                            kind,
                            body,
                        },
                    );
                }
                Output::Respond { id, body } => {
                    if let (Some((asker, id)), Some(body)) = (self.asked.remove(&id.0), body) {
                        let result = Ok(body);
                        self.send(self.addr(asker), Input::Response { id, result });
                    }
                }
                Output::ResolveSeeds => {
                    let addrs = vec![self.seed];
                    self.send(self.addr(node), Input::Seeds { addrs });
                }
                Output::Event(_) => self.events += 1,
                Output::EventRoom => self.room = true,
                Output::MemberUpdated(_)
                | Output::MemberRemoved(_)
                | Output::Gap(_)
                | Output::Published { .. }
                | Output::Watch { .. }
                | Output::Carry { .. }
                | Output::Unwatch { .. }
                | Output::Coordinate { .. }
                | Output::Query(_)
                | Output::EventPassed { .. }
                | Output::EventBase { .. }
                | Output::Replicated { .. }
                | Output::JoinResult { .. }
                | Output::LeaveDone
                | Output::Note(_) => {}
            }
        }
    }

    fn send(&mut self, to: SocketAddr, input: Input) {
        let found = number(to).and_then(|number| self.places.get(&number));
        let Some(node) = found.copied() else {
            return;
        };
        self.inputs.insert(self.next, (node, input));
        self.queue.push(Reverse((self.now + DELAY, self.next)));
        self.next += 1;
    }
}

fn config(number: usize, key: &Key) -> Config {
    Config {
        name: format!("node-{number}"),
        cluster: "bench".to_owned(),
        advertise: addr(number),
        boot: 1,
        tags: BTreeMap::new(),
        roles: Vec::new(),
        version: "bench".to_owned(),
        keyring: Some(Keyring::new(key.clone())),
        limits: Limits::default(),
        reap_left: Duration::from_secs(600),
        reap_failed: Duration::from_secs(86_400),
        coordinates: true,
        retry_interval: Duration::from_secs(5),
    }
}

fn at(time: Time) -> Now {
    Now {
        at: time,
        unix_ms: UNIX_MS + time.as_micros() / 1_000,
    }
}

fn addr(number: usize) -> SocketAddr {
    let low = u32::try_from(number + 1).unwrap_or(u32::MAX);
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 | low), PORT))
}

fn number(addr: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(addr) = addr else {
        return None;
    };
    let low = u32::from(*addr.ip()) & 0x00ff_ffff;
    usize::try_from(low).ok()?.checked_sub(1)
}
