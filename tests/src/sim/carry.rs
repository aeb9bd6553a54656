//! Datagrams over TCP: pipes that are opened on demand, cost what streams cost, and
//! keep no more than the daemon's queue does.

use std::net::SocketAddr;

use bytes::Bytes;
use muster_engine::Input;

use crate::sim::cluster::{Next, Sim};
use crate::sim::machine::Machine;
use crate::sim::node::{Held, Life, State};
use crate::sim::pipe::{CONNECT_BYTES, PIPE_IDLE_US, STALL_AGAIN_US, connecting};
use crate::sim::setup::address_index;

/// Datagrams under way on one pipe; more are dropped.
const ON_THE_WAY_MAX: usize = 128;

/// Such pipes of one node; the one idle longest makes room.
const CARRIERS_MAX: usize = 64;

/// A pipe that carries datagrams.
#[derive(Debug)]
pub(crate) struct Carrier {
    peer: Life,
    /// When the handshake is over.
    ready_us: u64,
    /// When the last datagram arrives: none overtakes another.
    last_us: u64,
    used_us: u64,
    on_the_way: usize,
}

/// A datagram on such a pipe.
#[derive(Debug)]
pub(crate) struct Carried {
    from: Life,
    to: u32,
    peer: Life,
    bytes: Bytes,
}

impl<M: Machine> Sim<M> {
    /// An engine sends a datagram over TCP.
    pub(crate) fn carry_datagram(&mut self, slot: usize, to: SocketAddr, bytes: Bytes) {
        self.nodes[slot].traffic.carried_out += 1;
        let to = address_index(to).unwrap_or(u32::MAX);
        let Some(peer) = self.carrier_to(slot, to) else {
            self.nodes[slot].traffic.carried_lost += 1;
            return;
        };
        let arrives = self.carry(slot, peer.0, bytes.len());
        let now = self.now;
        let from = (slot, self.nodes[slot].life);
        let Some(carrier) = self.nodes[slot].run.carriers.get_mut(&to) else {
            return;
        };
        let waits = carrier.ready_us.saturating_sub(now);
        let at = (arrives + waits).max(carrier.last_us);
        carrier.last_us = at;
        carrier.used_us = now;
        carrier.on_the_way += 1;
        let carried = Carried {
            from,
            to,
            peer,
            bytes,
        };
        self.queue.push(at, Next::Carried(carried));
    }

    /// Who is at the other end of a pipe with room; opened if there is none.
    fn carrier_to(&mut self, slot: usize, to: u32) -> Option<Life> {
        let now = self.now;
        if let Some(carrier) = self.nodes[slot].run.carriers.get(&to) {
            let (peer, idle) = (carrier.peer, now >= carrier.used_us + PIPE_IDLE_US);
            if self.runs(peer) && !idle {
                return (carrier.on_the_way < ON_THE_WAY_MAX).then_some(peer);
            }
            self.nodes[slot].run.carriers.remove(&to);
        }
        let host = self.host_at(to)?;
        let stands = self.nodes[host].state != State::Down;
        if !stands || self.network.stalled(slot, host) || !self.shake_hands(slot, host) {
            return None;
        }
        let round_trip = 2 * self.network.latency(slot, host, &mut self.rng);
        let takes = connecting(&mut self.rng, self.network.weather.loss_ppm, round_trip);
        self.nodes[slot].traffic.connects += 1;
        for side in [slot, host] {
            self.nodes[side].traffic.stream_bytes_out += CONNECT_BYTES;
        }
        let carriers = &mut self.nodes[slot].run.carriers;
        if carriers.len() >= CARRIERS_MAX {
            let oldest = carriers.iter().min_by_key(|(_, carrier)| carrier.used_us);
            let oldest = oldest.map(|(to, _)| *to);
            oldest.and_then(|to| carriers.remove(&to));
        }
        let peer = (host, self.nodes[host].life);
        let carrier = Carrier {
            peer,
            ready_us: now + takes,
            last_us: 0,
            used_us: now,
            on_the_way: 0,
        };
        self.nodes[slot].run.carriers.insert(to, carrier);
        Some(peer)
    }

    /// A datagram has come through a pipe.
    pub(crate) fn carried_arrives(&mut self, carried: Carried) {
        let (from, peer) = (carried.from, carried.peer);
        if self.runs(from) && self.runs(peer) && self.network.stalled(from.0, peer.0) {
            let at = self.now + STALL_AGAIN_US;
            return self.queue.push(at, Next::Carried(carried));
        }
        if self.runs(peer) && self.nodes[peer.0].state == State::Paused {
            let buffer = self.setup.socket_buffer_bytes;
            return self.nodes[peer.0].hold(Held::Carried(carried), buffer);
        }
        if self.runs(from) {
            let carrier = self.nodes[from.0].run.carriers.get_mut(&carried.to);
            if let Some(carrier) = carrier.filter(|carrier| carrier.peer == peer) {
                carrier.on_the_way = carrier.on_the_way.saturating_sub(1);
            }
        }
        if self.runs(peer) {
            let bytes = carried.bytes;
            self.deliver(peer.0, Input::Carried { bytes });
        }
    }
}
