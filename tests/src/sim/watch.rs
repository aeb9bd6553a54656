//! Watch streams: opened like any stream, then idle until an end of them dies.
//!
//! What the kernels do is modelled: a process that ends breaks its streams and its
//! host refuses new ones, a stopped one keeps its streams and its kernel accepts, a
//! host that is gone or cut off says nothing at all.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{ExchangeId, ExchangeKind, Input, WatchEvent, WatchFailure, WatchId};

use crate::sim::cluster::{Next, Sim};
use crate::sim::machine::Machine;
use crate::sim::node::{Held, Life, State};
use crate::sim::pipe::{CONNECT_BYTES, STALL_AGAIN_US, connecting, micros, syn_again, wire_bytes};
use crate::sim::setup::{address, address_index};

/// Where a stream is.
#[derive(Debug)]
pub(crate) enum WatchPhase {
    /// SYNs travel; counts the tries.
    Connecting(u32),
    /// The peer's kernel accepted; the handshake travels, or waits for the process.
    Shaking,
    /// The peer's engine has the hello.
    Asked,
    /// Nothing but the event is to come: the stream is over, unless it opens.
    Telling(WatchEvent),
    /// It stands idle.
    Idle,
}

/// One watch stream.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) from: Life,
    id: WatchId,
    to: u32,
    /// Who is at the other end.
    pub(crate) peer: Option<Life>,
    hello: Bytes,
    phase: WatchPhase,
}

impl<M: Machine> Sim<M> {
    /// An engine opens a stream.
    pub(crate) fn begin_watch(
        &mut self,
        slot: usize,
        id: WatchId,
        to: SocketAddr,
        hello: Bytes,
        within: Duration,
    ) {
        let uid = self.next_exchange;
        self.next_exchange += 1;
        let watch = Watch {
            from: (slot, self.nodes[slot].life),
            id,
            to: address_index(to).unwrap_or(u32::MAX),
            peer: None,
            hello,
            phase: WatchPhase::Connecting(0),
        };
        self.watches.insert(uid, watch);
        self.queue
            .push(self.now + micros(within), Next::WatchTimeout(uid));
        self.step_watch(uid);
    }

    /// An engine closes a stream: with a goodbye, so that nobody is told.
    pub(crate) fn end_watch(&mut self, slot: usize, id: WatchId) {
        let from = (slot, self.nodes[slot].life);
        self.watches
            .retain(|_, watch| watch.from != from || watch.id != id);
    }

    /// Moves a stream on.
    pub(crate) fn step_watch(&mut self, uid: u64) {
        let Some(watch) = self.watches.get(&uid) else {
            return;
        };
        if !self.runs(watch.from) {
            self.watches.remove(&uid);
            return;
        }
        match &watch.phase {
            WatchPhase::Connecting(tries) => self.connect_watch(uid, *tries),
            WatchPhase::Shaking => self.hello_arrives(uid),
            WatchPhase::Telling(event) => {
                let event = event.clone();
                self.tell_watch(uid, event);
            }
            WatchPhase::Asked | WatchPhase::Idle => {}
        }
    }

    fn connect_watch(&mut self, uid: u64, tries: u32) {
        let watch = &self.watches[&uid];
        let (slot, to) = (watch.from.0, watch.to);
        let Some(peer) = self.host_at(to) else {
            return; // No such host: the timeout ends it.
        };
        if self.network.stalled(slot, peer) {
            self.set_watch_phase(uid, WatchPhase::Connecting(tries + 1));
            let at = self.now + syn_again(tries);
            return self.queue.push(at, Next::Watch(uid));
        }
        let round_trip = 2 * self.network.latency(slot, peer, &mut self.rng);
        let lost = self.rng.chance(self.network.weather.loss_ppm);
        if lost {
            self.set_watch_phase(uid, WatchPhase::Connecting(tries + 1));
            let at = self.now + syn_again(tries);
            return self.queue.push(at, Next::Watch(uid));
        }
        if self.nodes[peer].state == State::Down {
            let refused = WatchEvent::Failed(WatchFailure::Refused);
            return self.tell_later(uid, refused, round_trip);
        }
        if !self.shake_hands(slot, peer) {
            let rejected = WatchEvent::Failed(WatchFailure::Rejected);
            return self.tell_later(uid, rejected, 2 * round_trip);
        }
        let life = (peer, self.nodes[peer].life);
        let takes = connecting(&mut self.rng, 0, round_trip);
        self.nodes[slot].traffic.connects += 1;
        let bytes = CONNECT_BYTES + wire_bytes(self.watches[&uid].hello.len());
        for side in [slot, peer] {
            self.nodes[side].traffic.stream_bytes_out += bytes;
        }
        if let Some(watch) = self.watches.get_mut(&uid) {
            watch.peer = Some(life);
            watch.phase = WatchPhase::Shaking;
        }
        self.queue.push(self.now + takes, Next::Watch(uid));
    }

    fn hello_arrives(&mut self, uid: u64) {
        let watch = &self.watches[&uid];
        let (slot, peer) = (watch.from.0, watch.peer);
        let Some((peer, _)) = peer.filter(|peer| self.runs(*peer)) else {
            let broken = WatchEvent::Failed(WatchFailure::Broken);
            return self.tell_watch(uid, broken);
        };
        if self.network.stalled(slot, peer) {
            let at = self.now + STALL_AGAIN_US;
            return self.queue.push(at, Next::Watch(uid));
        }
        if self.nodes[peer].state == State::Paused {
            let buffer = self.setup.socket_buffer_bytes;
            return self.nodes[peer].hold(Held::Watch(uid), buffer);
        }
        let body = watch.hello.clone();
        self.set_watch_phase(uid, WatchPhase::Asked);
        let input = Input::Request {
            id: ExchangeId(uid),
            from: address(self.nodes[slot].address),
            kind: ExchangeKind::Watch,
            body,
        };
        self.deliver(peer, input);
    }

    /// An engine answers a hello. False if the answer belongs to something else.
    pub(crate) fn answer_hello(
        &mut self,
        slot: usize,
        id: ExchangeId,
        body: Option<&Bytes>,
    ) -> bool {
        let life = (slot, self.nodes[slot].life);
        let Some(watch) = self.watches.get(&id.0) else {
            return false;
        };
        if !matches!(watch.phase, WatchPhase::Asked) || watch.peer != Some(life) {
            return false;
        }
        let latency = self.network.latency(slot, watch.from.0, &mut self.rng);
        let event = match body {
            Some(body) => WatchEvent::Opened(body.clone()),
            None => WatchEvent::Failed(WatchFailure::Rejected),
        };
        self.tell_later(id.0, event, latency);
        true
    }

    /// The watcher's patience is over.
    pub(crate) fn watch_times_out(&mut self, uid: u64) {
        let Some(watch) = self.watches.get(&uid) else {
            return;
        };
        let failure = match watch.phase {
            WatchPhase::Idle | WatchPhase::Telling(_) => return,
            WatchPhase::Connecting(_) => WatchFailure::Silent,
            WatchPhase::Shaking | WatchPhase::Asked => WatchFailure::Unanswered,
        };
        self.tell_watch(uid, WatchEvent::Failed(failure));
    }

    /// A process ended: with a goodbye on its streams, or without. Those that it held
    /// are over as well.
    pub(crate) fn break_watches(&mut self, dead: Life, goodbye: bool) {
        self.watches.retain(|_, watch| watch.from != dead);
        let held = self.watches.iter();
        let held = held.filter(|(_, watch)| {
            watch.peer == Some(dead) && matches!(watch.phase, WatchPhase::Idle)
        });
        let mut broken: Vec<_> = held.map(|(uid, watch)| (*uid, watch.from.0)).collect();
        broken.sort_unstable();
        for (uid, watcher) in broken {
            let event = if goodbye {
                WatchEvent::Closed
            } else {
                WatchEvent::Lost
            };
            let latency = self.network.latency(dead.0, watcher, &mut self.rng);
            self.tell_later(uid, event, latency);
        }
    }

    /// A host vanished: its peers' streams stay as they are.
    pub(crate) fn orphan_watches(&mut self, gone: Life) {
        for watch in self.watches.values_mut() {
            if watch.peer == Some(gone) && matches!(watch.phase, WatchPhase::Idle) {
                watch.peer = None;
            }
        }
    }

    fn tell_later(&mut self, uid: u64, event: WatchEvent, after: u64) {
        self.set_watch_phase(uid, WatchPhase::Telling(event));
        self.queue.push(self.now + after, Next::Watch(uid));
    }

    /// Hands the watcher an event, once its process and the network let it through.
    fn tell_watch(&mut self, uid: u64, event: WatchEvent) {
        let watch = &self.watches[&uid];
        let ((slot, _), id, peer) = (watch.from, watch.id, watch.peer);
        if !self.runs(watch.from) {
            self.watches.remove(&uid);
            return;
        }
        let told_by_kernel = matches!(event, WatchEvent::Failed(_));
        let cut = peer.is_some_and(|(peer, _)| self.network.stalled(slot, peer));
        if cut && !told_by_kernel {
            return self.tell_later(uid, event, STALL_AGAIN_US);
        }
        if self.nodes[slot].state == State::Paused {
            self.set_watch_phase(uid, WatchPhase::Telling(event));
            let buffer = self.setup.socket_buffer_bytes;
            return self.nodes[slot].hold(Held::Watch(uid), buffer);
        }
        if matches!(event, WatchEvent::Opened(_)) {
            // The peer may have died while its answer travelled.
            self.set_watch_phase(uid, WatchPhase::Idle);
            if !peer.is_some_and(|peer| self.runs(peer)) {
                self.tell_later(uid, WatchEvent::Lost, 0);
            }
        } else {
            self.watches.remove(&uid);
        }
        self.deliver(slot, Input::Watch { id, event });
    }

    fn set_watch_phase(&mut self, uid: u64, phase: WatchPhase) {
        if let Some(watch) = self.watches.get_mut(&uid) {
            watch.phase = phase;
        }
    }
}
