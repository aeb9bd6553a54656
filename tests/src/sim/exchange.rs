//! Exchanges on their way: from a request to an answer or an error.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::crypto::Keyring;
use muster_engine::{ExchangeError, ExchangeId, ExchangeKind, Input, Stage};

use crate::sim::cluster::{Next, Sim};
use crate::sim::machine::Machine;
use crate::sim::node::{Held, Life, State};
use crate::sim::pipe::{
    CONNECT_BYTES, Exchange, Link, PIPE_IDLE_US, PIPES_MAX, Phase, Pipe, STALL_AGAIN_US,
    connecting, micros, retransmissions, syn_again, transfer, wire_bytes,
};
use crate::sim::setup::{address, address_index};

/// Ports of the connecting sides: peers see one of these, not the gossip port.
const EPHEMERAL_PORT: u16 = 40_000;

/// Syncs that one node works on at once; others wait until an answer is gone.
const SYNCS_AT_ONCE: usize = 4;

/// Syncs that a node works on.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    count: usize,
    waiting: std::collections::VecDeque<u64>,
}

impl<M: Machine> Sim<M> {
    /// An engine asks a peer something.
    pub(crate) fn begin_exchange(
        &mut self,
        slot: usize,
        id: ExchangeId,
        to: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
        timeout: Duration,
    ) {
        let uid = self.next_exchange;
        self.next_exchange += 1;
        let from = (slot, self.nodes[slot].life);
        let to = address_index(to).unwrap_or(u32::MAX);
        self.nodes[slot].traffic.exchanges += 1;
        let exchange = Exchange {
            from,
            id,
            to,
            peer: None,
            kind,
            body,
            phase: Phase::Queued,
        };
        self.exchanges.insert(uid, exchange);
        self.queue
            .push(self.now + micros(timeout), Next::Timeout(uid));
        self.take_pipe(uid, slot, to, kind);
    }

    /// Puts an exchange on the pipe to its peer, or on a new one.
    fn take_pipe(&mut self, uid: u64, slot: usize, to: u32, kind: ExchangeKind) {
        let now = self.now;
        let fit = |pipe: &Pipe| pipe.to == to && pipe.kind == kind;
        let found = self.nodes[slot].run.pipes.iter().position(fit);
        if let Some(at) = found {
            let pipe = &self.nodes[slot].run.pipes[at];
            let fresh = pipe.current.is_some() || now < pipe.used_us + PIPE_IDLE_US;
            if fresh && pipe.peer.is_none_or(|peer| self.runs(peer)) {
                let pipe = &mut self.nodes[slot].run.pipes[at];
                if pipe.current.is_some() {
                    pipe.queue.push_back(uid);
                } else {
                    pipe.current = Some(uid);
                    let peer = pipe.peer;
                    self.send_request(uid, peer);
                }
                return;
            }
            self.nodes[slot].run.pipes.remove(at);
        }
        let pipes = &mut self.nodes[slot].run.pipes;
        if pipes.len() >= PIPES_MAX {
            let idle = (0..pipes.len()).filter(|at| pipes[*at].current.is_none());
            let Some(oldest) = idle.min_by_key(|at| pipes[*at].used_us) else {
                return self.fail_exchange(uid, ExchangeError::Busy, 0);
            };
            pipes.remove(oldest);
        }
        pipes.push(Pipe {
            to,
            kind,
            peer: None,
            current: Some(uid),
            queue: std::collections::VecDeque::new(),
            used_us: now,
        });
        self.set_phase(uid, Phase::Connecting(0));
        self.step_exchange(uid);
    }

    /// Moves an exchange on: what was under way has arrived.
    pub(crate) fn step_exchange(&mut self, uid: u64) {
        let Some(exchange) = self.exchanges.get(&uid) else {
            return;
        };
        if !self.runs(exchange.from) {
            self.exchanges.remove(&uid);
            return;
        }
        match &exchange.phase {
            Phase::Queued | Phase::Serving => {}
            Phase::Connecting(tries) => self.connect(uid, *tries),
            Phase::Shaking => {
                let peer = exchange.peer;
                self.send_request(uid, peer);
            }
            Phase::Requesting => self.request_arrives(uid),
            Phase::Responding => self.response_arrives(uid),
            Phase::Failing(error) => {
                let result = Err(error.clone());
                self.finish_exchange(uid, result);
            }
        }
    }

    fn connect(&mut self, uid: u64, tries: u32) {
        let exchange = &self.exchanges[&uid];
        let ((slot, _), to) = (exchange.from, exchange.to);
        let Some(peer) = self.host_at(to) else {
            return; // No such host: the timeout ends it.
        };
        if self.network.stalled(slot, peer) {
            self.set_phase(uid, Phase::Connecting(tries + 1));
            return self
                .queue
                .push(self.now + syn_again(tries), Next::Step(uid));
        }
        let round_trip = 2 * self.network.latency(slot, peer, &mut self.rng);
        let refused = self.nodes[peer].state == State::Down;
        if refused {
            let error = ExchangeError::Connect("connection refused".to_owned());
            return self.fail_exchange(uid, error, round_trip);
        }
        if !self.shake_hands(slot, peer) {
            let error = ExchangeError::Handshake("unknown key".to_owned());
            return self.fail_exchange(uid, error, 2 * round_trip);
        }
        if self.nodes[peer].state == State::Paused {
            // The kernel accepts, nobody shakes hands.
            let buffer = self.setup.socket_buffer_bytes;
            return self.nodes[peer].hold(Held::Step(uid), buffer);
        }
        let life = (peer, self.nodes[peer].life);
        let takes = connecting(&mut self.rng, self.network.weather.loss_ppm, round_trip);
        self.nodes[slot].traffic.connects += 1;
        for side in [slot, peer] {
            self.nodes[side].traffic.stream_bytes_out += CONNECT_BYTES;
        }
        if let Some(pipe) = self.pipe_of(uid) {
            pipe.peer = Some(life);
        }
        self.exchange_mut(uid).peer = Some(life);
        self.set_phase(uid, Phase::Shaking);
        // The links are free until then: others must not wait for this handshake.
        self.queue.push(self.now + takes, Next::Step(uid));
    }

    /// Whether a pipe between the two opens: the daemon offers every key that it has, and
    /// plaintext where its stage of encryption takes that.
    pub(crate) fn shake_hands(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        let (Some(ours), Some(theirs)) = (&a.keyring, &b.keyring) else {
            return a.realm == b.realm;
        };
        let open = |ring: &Option<Keyring>| {
            let stage = ring.as_ref().map(Keyring::stage);
            stage.is_none_or(Stage::accepts_plaintext)
        };
        let mut keys = ours.iter().flat_map(Keyring::keys);
        let known = |id| theirs.as_ref().is_some_and(|ring| ring.get(id).is_some());
        keys.any(|key| known(key.id())) || (open(ours) && open(theirs))
    }

    fn send_request(&mut self, uid: u64, peer: Option<Life>) {
        let Some(exchange) = self.exchanges.get_mut(&uid) else {
            return;
        };
        exchange.peer = peer;
        exchange.phase = Phase::Requesting;
        let (from, size) = (exchange.from.0, exchange.body.len());
        if let Some((to, _)) = peer {
            let at = self.carry(from, to, size);
            self.queue.push(at, Next::Step(uid));
        }
    }

    /// When a frame that leaves `from` now is all at `to`.
    pub(crate) fn carry(&mut self, from: usize, to: usize, body: usize) -> u64 {
        let bytes = wire_bytes(body);
        let latency = self.network.latency(from, to, &mut self.rng);
        let loss = self.network.weather.loss_ppm;
        let held = retransmissions(&mut self.rng, loss, bytes, 2 * latency);
        self.nodes[from].traffic.stream_bytes_out += bytes;
        let (mut up, mut down): (Link, Link) = (self.nodes[from].run.link, self.nodes[to].run.link);
        let bandwidth = self.setup.bandwidth;
        let at = transfer((&mut up, &mut down), self.now, bytes, bandwidth, latency);
        self.nodes[from].run.link.up_free = up.up_free;
        self.nodes[to].run.link.down_free = down.down_free;
        at + held
    }

    fn request_arrives(&mut self, uid: u64) {
        let exchange = &self.exchanges[&uid];
        let (from, kind) = (exchange.from, exchange.kind);
        let Some(peer) = exchange.peer.filter(|peer| self.runs(*peer)) else {
            let error = ExchangeError::Broken("connection reset".to_owned());
            return self.finish_exchange(uid, Err(error));
        };
        if self.network.stalled(from.0, peer.0) {
            return self.queue.push(self.now + STALL_AGAIN_US, Next::Step(uid));
        }
        if self.nodes[peer.0].state == State::Paused {
            let buffer = self.setup.socket_buffer_bytes;
            return self.nodes[peer.0].hold(Held::Step(uid), buffer);
        }
        if kind == ExchangeKind::Sync {
            let serving = &mut self.nodes[peer.0].run.serving;
            if serving.count >= SYNCS_AT_ONCE {
                return serving.waiting.push_back(uid);
            }
            serving.count += 1;
        }
        let body = std::mem::take(&mut self.exchange_mut(uid).body);
        self.set_phase(uid, Phase::Serving);
        let mut addr = address(self.nodes[from.0].address);
        addr.set_port(EPHEMERAL_PORT);
        let input = Input::Request {
            id: ExchangeId(uid),
            from: addr,
            kind,
            body,
        };
        self.deliver(peer.0, input);
    }

    /// The last byte of an answer to a sync has left: the next one is worked on.
    pub(crate) fn sync_served(&mut self, slot: usize, life: u32) {
        if !self.runs((slot, life)) {
            return;
        }
        self.nodes[slot].run.serving.count -= 1;
        while self.nodes[slot].run.serving.count < SYNCS_AT_ONCE {
            let Some(uid) = self.nodes[slot].run.serving.waiting.pop_front() else {
                return;
            };
            self.step_exchange(uid);
        }
    }

    /// When an answer is gone, the responder has room for another sync.
    fn count_served(&mut self, uid: u64, slot: usize, at: u64) {
        let sync = |exchange: &Exchange| exchange.kind == ExchangeKind::Sync;
        if self.exchanges.get(&uid).is_some_and(sync) {
            let life = self.nodes[slot].life;
            self.queue.push(at, Next::Served { slot, life });
        }
    }

    /// An engine answers a request.
    pub(crate) fn respond(&mut self, slot: usize, id: ExchangeId, body: Option<Bytes>) {
        if self.answer_hello(slot, id, body.as_ref()) {
            return;
        }
        let life = (slot, self.nodes[slot].life);
        let waiting = self.exchanges.get(&id.0).map(|exchange| {
            (
                exchange.from.0,
                matches!(exchange.phase, Phase::Serving) && exchange.peer == Some(life),
            )
        });
        let Some((to, true)) = waiting else {
            // Whoever asked may have given up; answering twice is an error.
            let known = waiting.is_none() && id.0 < self.next_exchange;
            let check = known
                .then_some(())
                .ok_or_else(|| format!("answer to {id:?}"));
            return self.check(slot, "answers_fit", check);
        };
        let Some(body) = body else {
            let error = ExchangeError::Broken("closed by the peer".to_owned());
            let latency = self.network.latency(slot, to, &mut self.rng);
            self.count_served(id.0, slot, self.now);
            return self.fail_exchange(id.0, error, latency);
        };
        let at = self.carry(slot, to, body.len());
        self.count_served(id.0, slot, self.nodes[slot].run.link.up_free);
        let exchange = self.exchange_mut(id.0);
        exchange.body = body;
        exchange.phase = Phase::Responding;
        self.queue.push(at, Next::Step(id.0));
    }

    fn response_arrives(&mut self, uid: u64) {
        let exchange = &self.exchanges[&uid];
        let (from, peer) = (exchange.from.0, exchange.peer.map_or(0, |peer| peer.0));
        if self.network.stalled(from, peer) {
            return self.queue.push(self.now + STALL_AGAIN_US, Next::Step(uid));
        }
        let body = std::mem::take(&mut self.exchange_mut(uid).body);
        self.finish_exchange(uid, Ok(body));
    }

    /// The requester's patience is over.
    pub(crate) fn exchange_times_out(&mut self, uid: u64) {
        let Some(from) = self.exchanges.get(&uid).map(|exchange| exchange.from) else {
            return;
        };
        if !self.runs(from) {
            self.exchanges.remove(&uid);
        } else if self.nodes[from.0].state == State::Paused {
            let buffer = self.setup.socket_buffer_bytes;
            self.nodes[from.0].hold(Held::Timeout(uid), buffer);
        } else {
            self.finish_exchange(uid, Err(ExchangeError::Timeout));
        }
    }

    fn fail_exchange(&mut self, uid: u64, error: ExchangeError, after: u64) {
        self.set_phase(uid, Phase::Failing(error));
        self.queue.push(self.now + after, Next::Step(uid));
    }

    /// Hands the requester its answer and frees the pipe, or closes it.
    fn finish_exchange(&mut self, uid: u64, result: Result<Bytes, ExchangeError>) {
        let Some(exchange) = self.exchanges.get(&uid) else {
            return;
        };
        let (slot, id) = (exchange.from.0, exchange.id);
        if self.nodes[slot].state == State::Paused {
            let buffer = self.setup.socket_buffer_bytes;
            if let Ok(body) = result {
                self.exchange_mut(uid).body = body;
            }
            return self.nodes[slot].hold(Held::Step(uid), buffer);
        }
        self.free_pipe(uid, result.is_ok());
        self.exchanges.remove(&uid);
        self.deliver(slot, Input::Response { id, result });
    }

    fn free_pipe(&mut self, uid: u64, intact: bool) {
        let (now, from) = (self.now, self.exchanges[&uid].from.0);
        let pipes = &mut self.nodes[from].run.pipes;
        let Some(at) = pipes.iter().position(|pipe| pipe.current == Some(uid)) else {
            for pipe in pipes {
                pipe.queue.retain(|waiting| *waiting != uid);
            }
            return;
        };
        if !intact {
            for waiting in pipes.remove(at).queue {
                let error = ExchangeError::Broken("the pipe was closed".to_owned());
                self.fail_exchange(waiting, error, 0);
            }
            return;
        }
        let pipe = &mut pipes[at];
        pipe.used_us = now;
        pipe.current = pipe.queue.pop_front();
        if let (Some(next), peer) = (pipe.current, pipe.peer) {
            self.send_request(next, peer);
        }
    }

    fn pipe_of(&mut self, uid: u64) -> Option<&mut Pipe> {
        let from = self.exchanges.get(&uid)?.from.0;
        let pipes = &mut self.nodes[from].run.pipes;
        pipes.iter_mut().find(|pipe| pipe.current == Some(uid))
    }

    fn set_phase(&mut self, uid: u64, phase: Phase) {
        if let Some(exchange) = self.exchanges.get_mut(&uid) {
            exchange.phase = phase;
        }
    }

    fn exchange_mut(&mut self, uid: u64) -> &mut Exchange {
        self.exchanges
            .get_mut(&uid)
            .expect("the caller has just looked it up")
    }

    /// That very process still runs, stopped or not.
    pub(crate) fn runs(&self, (slot, life): Life) -> bool {
        let node = &self.nodes[slot];
        node.life == life && node.state != State::Down
    }
}
