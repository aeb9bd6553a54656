//! The simplest thing that gossips: what the simulator's own tests run on.
//!
//! Every 200 ms it asks one peer for members and events over a stream and tells
//! another by datagram whom it knows. Good enough to converge; no failure
//! detector but a refused connect.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::crypto::Keyring;
use muster_engine::{
    Accepted, Config, EngineError, Event, EventDraft, EventError, ExchangeError, ExchangeId,
    ExchangeKind, Input, Member, Now, Origin, Output, Status, Time,
};
use serde_json::{Value, json};

use crate::sim::fixtures::member;
use crate::sim::machine::Machine;

const PERIOD: Duration = Duration::from_millis(200);

/// Names and payloads, from sequence 1.
type Log = Vec<(String, Vec<u8>)>;

pub(crate) struct Toy {
    me: Arc<Member>,
    members: BTreeMap<String, Member>,
    /// Events by origin, and how many were handed over.
    logs: BTreeMap<(String, u64), Log>,
    acks: BTreeMap<String, u64>,
    replicated: u64,
    asked: BTreeMap<u64, SocketAddr>,
    round: usize,
    exchange: u64,
    next: Time,
    out: VecDeque<Output>,
}

impl Toy {
    fn learn(&mut self, entry: &Value) {
        let (name, boot) = (entry[0].as_str().unwrap(), entry[1].as_u64().unwrap());
        let (addr, left) = (entry[2].as_str().unwrap(), entry[3].as_bool().unwrap());
        let status = if left { Status::Left } else { Status::Alive };
        let new = match self.members.get(name) {
            Some(old) => boot > old.boot || (boot == old.boot && left && old.status.is_live()),
            None => name != &*self.me.name,
        };
        if new {
            let mut found = member(name, boot, status);
            found.addr = addr.parse().unwrap();
            self.members.insert(name.to_owned(), found.clone());
            self.out.push_back(Output::MemberUpdated(Arc::new(found)));
        }
    }

    fn state(&self) -> Value {
        let entry = |m: &Member| {
            json!([
                *m.name,
                m.boot,
                m.addr.to_string(),
                m.status == Status::Left
            ])
        };
        let others = self.members.values().filter(|m| m.status != Status::Failed);
        let members: Vec<_> = std::iter::once(&*self.me)
            .chain(others)
            .map(entry)
            .collect();
        let logs = self.logs.iter();
        let at: Vec<_> = logs.map(|(o, log)| json!([o.0, o.1, log.len()])).collect();
        json!({ "name": *self.me.name, "members": members, "at": at })
    }

    fn take_state(&mut self, now: Now, state: &Value) {
        for entry in state["members"].as_array().unwrap() {
            self.learn(entry);
        }
        for event in state["events"].as_array().into_iter().flatten() {
            let origin = (
                event[0].as_str().unwrap().to_owned(),
                event[1].as_u64().unwrap(),
            );
            let payload = event[4].as_array().unwrap().iter();
            let payload = payload
                .map(|b| u8::try_from(b.as_u64().unwrap()).unwrap())
                .collect();
            let due = self.logs.get(&origin).map_or(0, Vec::len) as u64 + 1;
            if event[2].as_u64() == Some(due) {
                self.add(now, origin, event[3].as_str().unwrap().to_owned(), payload);
            }
        }
    }

    fn add(&mut self, now: Now, origin: (String, u64), name: String, payload: Vec<u8>) {
        let log = self.logs.entry(origin.clone()).or_default();
        log.push((name.clone(), payload.clone()));
        self.out.push_back(Output::Event(Arc::new(Event {
            origin: Origin {
                name: Arc::from(origin.0),
                boot: origin.1,
            },
            sequence: log.len() as u64,
            lamport: 0,
            name,
            payload: Bytes::from(payload),
            received_unix_ms: now.unix_ms,
            ..Event::default()
        })));
    }

    fn answer(&mut self, now: Now, request: &Value) -> Value {
        self.take_state(now, request);
        let mut answer = self.state();
        let mut events = Vec::new();
        let held = |name: &str, boot: u64| {
            let at = request["at"].as_array().unwrap().iter();
            at.filter(|p| p[0] == name && p[1] == boot)
                .find_map(|p| p[2].as_u64())
                .unwrap_or(0)
        };
        for ((name, boot), log) in &self.logs {
            for (at, (event, payload)) in log.iter().enumerate().skip(held(name, *boot) as usize) {
                events.push(json!([name, boot, at + 1, event, payload]));
            }
        }
        let mine = held(&self.me.name, self.me.boot);
        self.acks
            .insert(request["name"].as_str().unwrap().to_owned(), mine);
        let mut acks: Vec<u64> = self.acks.values().copied().collect();
        acks.sort_unstable();
        let second = acks.iter().rev().nth(1).copied().unwrap_or(0);
        if second > self.replicated {
            self.replicated = second;
            self.out.push_back(Output::Replicated { sequence: second });
        }
        answer["events"] = json!(events);
        answer
    }

    fn ask(&mut self, to: SocketAddr) {
        self.exchange += 1;
        self.asked.insert(self.exchange, to);
        self.out.push_back(Output::Request {
            id: ExchangeId(self.exchange),
            to,
            kind: ExchangeKind::Sync,
            body: Bytes::from(self.state().to_string()),
            timeout: Duration::from_secs(5),
        });
    }

    fn tick(&mut self, now: Now) {
        self.next = now.at + PERIOD;
        let live = self.members.values().filter(|m| m.status.is_live());
        let live: Vec<_> = live.map(|m| m.addr).collect();
        if live.is_empty() {
            return self.out.push_back(Output::ResolveSeeds);
        }
        self.round += 1;
        let bytes = Bytes::from(self.state().to_string());
        let to = live[self.round * 7 % live.len()];
        self.out.push_back(Output::Transmit { to, bytes });
        self.ask(live[self.round % live.len()]);
    }

    fn refused(&mut self, by: SocketAddr) {
        let at = |m: &&mut Member| m.addr == by && m.status == Status::Alive;
        if let Some(gone) = self.members.values_mut().find(at) {
            gone.status = Status::Failed;
            self.out
                .push_back(Output::MemberUpdated(Arc::new(gone.clone())));
        }
    }
}

impl Machine for Toy {
    fn start(config: Config, _seed: u64, now: Now) -> Self {
        let mut me = member(&config.name, config.boot, Status::Alive);
        (me.addr, me.is_self) = (config.advertise, true);
        let me = Arc::new(me);
        Self {
            out: VecDeque::from([Output::MemberUpdated(Arc::clone(&me)), Output::ResolveSeeds]),
            me,
            members: BTreeMap::new(),
            logs: BTreeMap::new(),
            acks: BTreeMap::new(),
            replicated: 0,
            asked: BTreeMap::new(),
            round: 0,
            exchange: 0,
            next: now.at + PERIOD,
        }
    }

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Datagram { bytes, .. } => {
                self.take_state(now, &serde_json::from_slice(&bytes).unwrap());
            }
            Input::Request { id, body, .. } => {
                let answer = self.answer(now, &serde_json::from_slice(&body).unwrap());
                let body = Some(Bytes::from(answer.to_string()));
                self.out.push_back(Output::Respond { id, body });
            }
            Input::Response { id, result } => {
                let asked = self.asked.remove(&id.0).unwrap();
                match result {
                    Ok(body) => self.take_state(now, &serde_json::from_slice(&body).unwrap()),
                    Err(ExchangeError::Connect(_)) => self.refused(asked),
                    Err(_) => {}
                }
            }
            Input::Tick if now.at >= self.next => self.tick(now),
            Input::Tick | Input::Watch { .. } | Input::Carried { .. } => {}
            Input::Seeds { addrs } => {
                let own = self.me.addr;
                for addr in addrs.into_iter().filter(|addr| *addr != own) {
                    self.ask(addr);
                }
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_deadline(&self) -> Time {
        self.next
    }

    fn join(&mut self, _now: Now, _attempt: u64, addrs: &[SocketAddr]) {
        for addr in addrs {
            self.ask(*addr);
        }
    }

    fn leave(&mut self, _now: Now) {
        let mut me = (*self.me).clone();
        me.status = Status::Left;
        self.me = Arc::new(me);
        let bytes = Bytes::from(self.state().to_string());
        for to in self.members.values().map(|m| m.addr) {
            let bytes = bytes.clone();
            self.out.push_back(Output::Transmit { to, bytes });
        }
        self.out.push_back(Output::LeaveDone);
    }

    fn force_leave(&mut self, _: Now, name: &str, _: bool) -> Result<(), EngineError> {
        Err(EngineError::UnknownMember(name.to_owned()))
    }

    fn update_tags(
        &mut self,
        _now: Now,
        _set: BTreeMap<String, String>,
        _remove: &[String],
    ) -> Result<(), EngineError> {
        Ok(())
    }

    fn set_keyring(&mut self, _now: Now, _keyring: Option<Keyring>) {}

    fn send_event(&mut self, now: Now, draft: EventDraft) -> Result<Accepted, EventError> {
        let origin = (self.me.name.to_string(), self.me.boot);
        self.add(now, origin.clone(), draft.name, draft.payload.to_vec());
        Ok(Accepted {
            boot: origin.1,
            sequence: self.logs[&origin].len() as u64,
            lamport: 0,
        })
    }

    fn me(&self) -> Arc<Member> {
        Arc::clone(&self.me)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
