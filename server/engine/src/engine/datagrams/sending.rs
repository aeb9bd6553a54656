//! What leaves, and what rides along.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use rand::Rng as _;

use super::ident_bytes;
use crate::api::Output;
use crate::broadcast::{Take, Topic};
use crate::crypto::Sealer;
use crate::engine::Engine;
use crate::ident::{Ident, NodeRef};
use crate::own::Own;
use crate::record::Record;
use crate::swim::State;
use crate::swim::message;
use crate::table::{Peer, Table};
use crate::time::Now;
use crate::tuning;
use crate::wire::{Accusation, Forced, ITEMS_PER_DATAGRAM_MAX, Packet};

/// More of a record than this does not ride on datagrams; state exchanges bring it.
const RECORD_RIDE_MAX: usize = 900;

/// What the entries of a record take beside their bytes, if they are few.
const RECORD_SLACK: usize = 120;

/// A datagram with less room than this is full, bytes.
const ROOM_MIN: usize = 64;

/// After this many items that did not fit a datagram is full: the rest of the queue
/// is as large as they are.
const MISFITS_MAX: u32 = 8;

/// Bytes that a record takes besides its own: tag and length.
const RECORD_OVERHEAD: usize = 4;

/// Most bytes of an accusation or a forced leave, tag and length included.
const WORD_BYTES_MAX: usize = 40;

/// What goes into a datagram besides what rides along.
#[derive(Debug, Default)]
pub(in crate::engine) struct Extra {
    /// foca's message, in foca's form.
    pub(in crate::engine) swim: Option<Bytes>,
    pub(in crate::engine) events: Option<Bytes>,
    /// Identity of the receiver that this node holds for dead.
    pub(in crate::engine) undead: Option<Ident>,
    pub(in crate::engine) ask_digest: bool,
    /// Incarnation at which this node suspects the receiver: it is asked whether it
    /// lives.
    pub(in crate::engine) suspected: Option<u16>,
    /// Whom the receiver shall connect to, as this node's stream to it broke.
    pub(in crate::engine) witness: Option<Ident>,
    /// Number of the probe that the receiver asked for.
    pub(in crate::engine) receipt: Option<u8>,
}

impl Engine {
    /// Sends a datagram to a member, filled up with what waits to be spread.
    pub(in crate::engine) fn transmit(&mut self, now: Now, to: NodeRef, extra: Extra) {
        let Some(addr) = self.table.run(to).map(|peer| peer.record.parsed().addr) else {
            self.count("datagrams_dropped_unknown_destination");
            return;
        };
        let mut packet = Packet {
            digest: self.short_digest(now),
            unheard: self.ways.is_silent(now.at, to.hash),
            ..Packet::default()
        };
        let mut probes = false;
        if let Some(foca) = &extra.swim {
            // What an earlier life had to say may leave after the renewal.
            if Ident::get(&foca[..]) == Some(self.own.ident) {
                self.own.incarnation = message::incarnation(foca).unwrap_or(self.own.incarnation);
            }
            let Some((wire, ping)) = message::to_wire(foca, self.own.ident, self.own.former) else {
                return;
            };
            packet.swim = wire;
            packet.suspected = self.buddy(to).filter(|_| ping).unwrap_or(0);
            probes = message::is_direct(foca);
            self.carry_coordinate(now, to, foca, &mut packet);
        } else {
            packet.sender = ident_bytes(self.own.ident);
            packet.incarnation = u32::from(self.own.incarnation) + 1;
        }
        if let Some(incarnation) = extra.suspected {
            packet.suspected = u32::from(incarnation) + 1;
        }
        packet.ask_digest = extra.ask_digest;
        packet.witness = extra.witness.map(ident_bytes).unwrap_or_default();
        packet.receipt = extra.receipt.map_or(0, |number| u32::from(number) + 1);
        packet.undead = extra.undead.map(ident_bytes).unwrap_or_default();
        packet.events = extra.events.unwrap_or_default();
        let by_tcp = self.ways.is_by_tcp(now.at, to.hash);
        if by_tcp && probes {
            // It only finds out whether UDP works: what rode along would be lost.
            return self.seal(addr, &packet, false);
        }
        self.fill(now, to, &mut packet);
        self.seal(addr, &packet, by_tcp);
    }

    /// Answers a sender whose record is not known yet.
    pub(super) fn ask_for_records(
        &mut self,
        now: Now,
        (addr, to): (SocketAddr, NodeRef),
        wants: &[NodeRef],
    ) {
        let mut bytes = BytesMut::new();
        for node in wants.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            Ident {
                hash: node.hash,
                boot: node.boot,
                life: 0,
            }
            .put(&mut bytes);
        }
        let mut packet = Packet {
            digest: self.short_digest(now),
            ..Packet::default()
        };
        packet.sender = ident_bytes(self.own.ident);
        packet.wants = bytes.freeze();
        self.add_record(&mut packet, None);
        let by_tcp = self.ways.is_by_tcp(now.at, to.hash);
        self.seal(addr, &packet, by_tcp);
    }

    /// A sender whose name a newer run has taken: it is told whose, and goes on under
    /// another.
    pub(in crate::engine) fn answer_outdated(&mut self, now: Now, addr: SocketAddr, sender: Ident) {
        self.count("datagrams_dropped_outdated_sender");
        if !self.table.get(sender.hash).is_some_and(Peer::is_active) {
            return;
        }
        let mut packet = Packet {
            digest: self.short_digest(now),
            ..Packet::default()
        };
        packet.sender = ident_bytes(self.own.ident);
        self.add_record(&mut packet, Some(sender.hash));
        self.add_record(&mut packet, None);
        self.seal(addr, &packet, false);
    }

    /// Adds a record that the receiver needs, a member's or this node's, as far as there
    /// is room: what is missing it finds out by exchange.
    fn add_record(&mut self, packet: &mut Packet, of: Option<u64>) {
        let room = self.body_max().saturating_sub(packet.encoded_len());
        let member = of.and_then(|hash| self.table.get(hash));
        let record = member.map_or(&self.own.record, |peer| &peer.record);
        let delta = record.within(0, room.min(RECORD_RIDE_MAX).saturating_sub(RECORD_OVERHEAD));
        if delta.entries.is_empty() {
            return self.count("records_too_large_for_datagrams");
        }
        packet.records.push(Bytes::from(delta.encode_to_vec()));
        if delta.latest > 0 {
            self.count("records_sent_in_part");
        }
    }

    /// Bytes of a datagram before it is sealed.
    fn body_max(&self) -> usize {
        let limit = self.own.config().limits.datagram_bytes;
        limit.saturating_sub(Sealer::OVERHEAD)
    }

    /// Tells a suspected member so while probing it, so that it refutes at once
    /// (Lifeguard's buddy system).
    fn buddy(&self, to: NodeRef) -> Option<u32> {
        let peer = self
            .table
            .run(to)
            .filter(|peer| peer.state == State::Suspect)?;
        Some(u32::from(peer.incarnation) + 1)
    }

    fn fill(&mut self, now: Now, to: NodeRef, packet: &mut Packet) {
        let mut room = self.body_max().saturating_sub(packet.encoded_len());
        let members = self.table.active().len() + 1;
        let times = tuning::transmissions(members);
        let (table, own) = (&self.table, &self.own);
        let mut misfits = 0;
        self.broadcasts.fill(times, |topic, since| {
            if room < ROOM_MIN || misfits >= MISFITS_MAX {
                return Take::Full;
            }
            let (take, bytes) = add(packet, (topic, since), table, own, room);
            room = room.saturating_sub(bytes);
            misfits += u32::from(take == Take::TooLarge);
            take
        });
        if packet.events.is_empty()
            && room > 32
            && let Some(section) = self.events.piggyback(now, to, room - 8)
        {
            packet.events = section;
        }
    }

    fn seal(&mut self, to: SocketAddr, packet: &Packet, by_tcp: bool) {
        if packet.encoded_len() > self.body_max() {
            return self.count("datagrams_not_sent_too_large");
        }
        let bytes = self
            .sealer
            .seal(self.rng.next_u64(), &packet.encode_to_vec());
        self.outputs.push_back(if by_tcp {
            Output::Carry { to, bytes }
        } else {
            Output::Transmit { to, bytes }
        });
    }
}

/// Puts one item into a datagram, if it still has something to tell and fits. Gives
/// the bytes that it takes there at most.
fn add(
    packet: &mut Packet,
    (topic, since): (Topic, u64),
    table: &Table,
    own: &Own,
    room: usize,
) -> (Take, usize) {
    match topic {
        Topic::Record(hash) => {
            let record = if hash == own.ident.hash {
                Some(&own.record)
            } else {
                table
                    .get(hash)
                    .filter(|peer| peer.is_active() || peer.left)
                    .map(|peer| &peer.record)
            };
            let Some(record) = record else {
                return (Take::Drop, 0);
            };
            return ride(packet, record, since, room);
        }
        Topic::Accusation(subject, incarnation, accuser, evidence) => {
            packet.accusations.push(Accusation {
                subject: ident_bytes(subject),
                incarnation: u32::from(incarnation),
                accuser,
                evidence: evidence as u32,
            });
        }
        Topic::Forced(subject, prune, by) => {
            packet.forced.push(Forced {
                subject: ident_bytes(subject),
                prune,
                by,
            });
        }
    }
    (Take::Yes, WORD_BYTES_MAX)
}

/// Puts a record into a datagram: all of it if it is small, so that everybody can take
/// it; else what changed, as far as a datagram holds it.
fn ride(packet: &mut Packet, record: &Record, since: u64, room: usize) -> (Take, usize) {
    let small = record.bytes() + RECORD_SLACK <= RECORD_RIDE_MAX;
    let delta = if small {
        record.since(0)
    } else {
        record.within(since, RECORD_RIDE_MAX)
    };
    let bytes = delta.encoded_len();
    if delta.entries.is_empty() || bytes > RECORD_RIDE_MAX {
        return (Take::Drop, 0);
    }
    if bytes + RECORD_OVERHEAD > room {
        return (Take::TooLarge, 0);
    }
    packet.records.push(Bytes::from(delta.encode_to_vec()));
    (Take::Yes, bytes + RECORD_OVERHEAD)
}
