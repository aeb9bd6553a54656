//! Datagrams in and out.
//!
//! A datagram that leaves anyway carries along whatever waits to be spread. One
//! that comes in is taken apart in an order that lets nothing be applied before
//! the record that says who is meant: what lacks a record is parked and asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use rand::Rng as _;

use super::Engine;
use crate::api::Output;
use crate::broadcast::{Take, Topic};
use crate::crypto::{OpenError, Sealer};
use crate::ident::{IDENT_BYTES, Ident, NodeRef};
use crate::member::StatusReason;
use crate::record::Record;
use crate::swim::message::{self, MessageError, Parts};
use crate::swim::{State, Update};
use crate::table::{Peer, Word};
use crate::time::{Now, Time};
use crate::wire::{Accusation, Forced, ITEMS_PER_DATAGRAM_MAX, Packet, RecordDelta};

/// A record larger than this does not ride on datagrams; state exchanges bring it.
const RECORD_RIDE_MAX: usize = 900;

/// A datagram with less room than this is full, bytes.
const ROOM_MIN: usize = 64;

/// After this many items that did not fit a datagram is full: the rest of the queue
/// is as large as they are.
const MISFITS_MAX: u32 = 8;

/// Bytes that a record takes besides its own: tag and length.
const RECORD_OVERHEAD: usize = 4;

/// Most bytes of an accusation or a forced leave, tag and length included.
const WORD_BYTES_MAX: usize = 40;

/// Datagrams and updates that wait for a record; the oldest go first.
const PARKED_MAX: usize = 1_024;

/// Bytes of records that wait for a word on their owner; more find no room.
const PARKED_BYTES_MAX: usize = 8 << 20;

/// How long they wait: a state exchange brings what did not come by then.
const PARKED_FOR: Duration = Duration::from_secs(2);

/// How long to wait for a record that was asked for by datagram before asking by
/// exchange.
const WANT_PATIENCE: Duration = Duration::from_millis(300);

/// What goes into a datagram besides what rides along.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// foca's message, in foca's form.
    pub(super) swim: Option<Bytes>,
    pub(super) events: Option<Bytes>,
    /// Identity of the receiver that this node holds for dead.
    pub(super) undead: Option<Ident>,
    pub(super) ask_digest: bool,
    /// Incarnation at which this node suspects the receiver: it is asked whether it
    /// lives.
    pub(super) suspected: Option<u16>,
}

/// What waits for a record.
#[derive(Debug, Default)]
pub(super) struct Parked {
    waiting: BTreeMap<NodeRef, Waiting>,
    records: BTreeMap<NodeRef, (Time, Record)>,
}

/// Everything that waits for one run's record.
#[derive(Debug)]
struct Waiting {
    since: Time,
    from: SocketAddr,
    asked_by_exchange: bool,
    update: Option<(Update<Ident>, Word)>,
    datagram: Option<(SocketAddr, Packet)>,
}

impl Parked {
    /// Records and datagrams held.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.records.len()
    }

    fn wait(&mut self, now: Time, node: NodeRef, from: SocketAddr) -> (&mut Waiting, bool) {
        let new = !self.waiting.contains_key(&node);
        if new && self.waiting.len() >= PARKED_MAX {
            let oldest = self
                .waiting
                .iter()
                .min_by_key(|(_, w)| w.since)
                .map(|(node, _)| *node);
            oldest.and_then(|node| self.waiting.remove(&node));
        }
        let fresh = || Waiting {
            since: now,
            from,
            asked_by_exchange: false,
            update: None,
            datagram: None,
        };
        (self.waiting.entry(node).or_insert_with(fresh), new)
    }

    /// A record that came before anybody said that its owner is alive.
    pub(super) fn keep_record(&mut self, now: Time, record: Record) {
        let held: usize = self.records.values().map(|(_, r)| r.bytes()).sum();
        if self.records.len() < PARKED_MAX && held + record.bytes() <= PARKED_BYTES_MAX {
            self.records.insert(record.owner(), (now, record));
        }
    }

    pub(super) fn take_record(&mut self, node: NodeRef) -> Option<Record> {
        self.records.remove(&node).map(|(_, record)| record)
    }

    /// Drops what waited too long; names those to be asked by exchange.
    pub(super) fn expire(&mut self, now: Time) -> Vec<SocketAddr> {
        self.records
            .retain(|_, (since, _)| now.since(*since) < PARKED_FOR);
        self.waiting
            .retain(|_, waiting| now.since(waiting.since) < PARKED_FOR);
        let late = self.waiting.values_mut().filter(|waiting| {
            !waiting.asked_by_exchange && now.since(waiting.since) >= WANT_PATIENCE
        });
        let mut ask: Vec<_> = late
            .map(|waiting| {
                waiting.asked_by_exchange = true;
                waiting.from
            })
            .collect();
        ask.sort_unstable();
        ask.dedup();
        ask
    }
}

impl Engine {
    /// Sends a datagram to a member, filled up with what waits to be spread.
    pub(super) fn transmit(&mut self, now: Now, to: NodeRef, extra: Extra) {
        let Some(addr) = self.table.run(to).map(|peer| peer.record.parsed().addr) else {
            self.count("datagrams_dropped_unknown_destination");
            return;
        };
        let mut packet = Packet {
            digest: self.digest(now),
            ..Packet::default()
        };
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
        } else {
            packet.sender = ident_bytes(self.own.ident);
            packet.incarnation = u32::from(self.own.incarnation) + 1;
        }
        if let Some(incarnation) = extra.suspected {
            packet.suspected = u32::from(incarnation) + 1;
        }
        packet.ask_digest = extra.ask_digest;
        packet.undead = extra.undead.map(ident_bytes).unwrap_or_default();
        packet.events = extra.events.unwrap_or_default();
        self.fill(now, to, &mut packet);
        self.seal(addr, &packet);
    }

    /// Answers a sender whose record is not known yet.
    fn ask_for_records(&mut self, now: Now, addr: SocketAddr, wants: &[NodeRef]) {
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
            digest: self.digest(now),
            ..Packet::default()
        };
        packet.sender = ident_bytes(self.own.ident);
        packet.records = vec![self.own_record()];
        packet.wants = bytes.freeze();
        self.seal(addr, &packet);
    }

    /// A sender whose name a newer run has taken: it is told whose, and goes on under
    /// another.
    pub(super) fn answer_outdated(&mut self, now: Now, addr: SocketAddr, sender: Ident) {
        self.count("datagrams_dropped_outdated_sender");
        let Some(peer) = self.table.get(sender.hash).filter(|peer| peer.is_active()) else {
            return;
        };
        let record = Bytes::from(peer.record.since(0).encode_to_vec());
        let mut packet = Packet {
            digest: self.digest(now),
            ..Packet::default()
        };
        packet.sender = ident_bytes(self.own.ident);
        packet.records = vec![self.own_record(), record];
        self.seal(addr, &packet);
    }

    fn own_record(&self) -> Bytes {
        let delta = self.own.record.since(0);
        Bytes::from(delta.encode_to_vec())
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
        let limit = self
            .own
            .config()
            .limits
            .datagram_bytes
            .saturating_sub(Sealer::OVERHEAD);
        let mut room = limit.saturating_sub(packet.encoded_len());
        let members = self.table.active().len() + 1;
        let times = 4 * (u32::try_from(members).unwrap_or(u32::MAX).ilog10() + 1);
        let (table, own) = (&self.table, &self.own);
        let mut misfits = 0;
        self.broadcasts.fill(times.max(8), |topic| {
            if room < ROOM_MIN || misfits >= MISFITS_MAX {
                return Take::Full;
            }
            let (take, bytes) = add(packet, topic, table, own, room);
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

    fn seal(&mut self, to: SocketAddr, packet: &Packet) {
        let bytes = self
            .sealer
            .seal(self.rng.next_u64(), &packet.encode_to_vec());
        self.outputs.push_back(Output::Transmit { to, bytes });
    }

    /// Opens a datagram and takes it in.
    pub(super) fn on_datagram(&mut self, now: Now, from: SocketAddr, bytes: &Bytes) {
        let opened = match self.sealer.open(now.at, bytes) {
            Ok(opened) => opened,
            Err(error) => return self.drop_datagram(now, &error),
        };
        self.count_plaintext(&opened);
        match Packet::decode(opened.body) {
            Ok(packet) => self.on_packet(now, from, packet),
            Err(_) => self.count("datagrams_dropped_malformed"),
        }
    }

    pub(super) fn on_packet(&mut self, now: Now, from: SocketAddr, packet: Packet) {
        for record in packet.records.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            self.learn_record(now, record);
        }
        let (sender, parts) = match self.sender(&packet) {
            Ok(known) => known,
            Err(counter) => return self.count(counter),
        };
        if sender.hash == self.own.ident.hash {
            // An earlier self, or somebody under the same name.
            return self.on_own_name(now, sender);
        }
        if self
            .table
            .get(sender.hash)
            .is_some_and(|peer| peer.ident.boot > sender.boot)
        {
            return self.answer_outdated(now, from, sender);
        }
        if !self.have_record(sender.node()) {
            let (waiting, new) = self.parked.wait(now.at, sender.node(), from);
            waiting.datagram = Some((from, packet));
            self.count("datagrams_parked");
            if new {
                self.ask_for_records(now, from, &[sender.node()]);
            }
            return;
        }
        if let Some(mut parts) = parts {
            self.on_swim_message(now, from, &mut parts);
        } else if let Some(incarnation) = packet.incarnation.checked_sub(1) {
            self.on_sign_of_life(now, sender, incarnation);
        }
        let known = self
            .table
            .run(sender.node())
            .is_some_and(|peer| peer.is_active());
        if known {
            self.on_sections(now, sender, packet);
        } else {
            self.count("datagrams_dropped_dead_sender");
        }
    }

    fn sender(&self, packet: &Packet) -> Result<(Ident, Option<Parts>), &'static str> {
        if packet.swim.is_empty() {
            let sender = Ident::get(&packet.sender[..]).ok_or("datagrams_dropped_malformed")?;
            return Ok((sender, None));
        }
        match Parts::parse(&packet.swim, self.own.ident) {
            Ok(parts) => Ok((*parts.source.id(), Some(parts))),
            Err(MessageError::NotForUs) => Err("datagrams_dropped_not_for_us"),
            Err(MessageError::Malformed) => Err("datagrams_dropped_malformed"),
        }
    }

    /// Whether updates about a run can be understood.
    pub(super) fn have_record(&self, node: NodeRef) -> bool {
        let known = self
            .table
            .get(node.hash)
            .is_some_and(|peer| peer.ident.boot >= node.boot);
        known || self.parked.records.contains_key(&node)
    }

    /// Applies what a message of foca tells, then lets foca react to it.
    fn on_swim_message(&mut self, now: Now, from: SocketAddr, parts: &mut Parts) {
        let source = parts.source.clone();
        self.learn_update(
            now,
            &source,
            Word {
                by: 0,
                reason: StatusReason::Learnt,
            },
        );
        let heard = self
            .table
            .run(source.id().node())
            .is_some_and(|peer| peer.is_active());
        if !heard && !parts.is_turn_undead() {
            // foca tells the sender that it is held for dead, and listens to nothing else.
            parts.updates.clear();
        }
        let by = source.id().hash;
        let mut wants = Vec::new();
        let updates = std::mem::take(&mut parts.updates);
        for mut update in updates {
            let id = *update.id();
            if id == *source.id() && update.state() == State::Down {
                // Who leaves says so at incarnation 0, whatever it has refuted before.
                let incarnation = source.incarnation().max(update.incarnation());
                update = Update::new(id, incarnation, State::Down);
            }
            if id == self.own.ident {
                // Who has left stays dead.
                if !self.has_left() {
                    parts.updates.push(update);
                }
            } else if id.hash == self.own.ident.hash {
                self.on_own_name(now, id);
            } else if self.have_record(id.node()) {
                let word = Word {
                    by,
                    reason: StatusReason::Learnt,
                };
                if self.learn_update(now, &update, word) {
                    parts.updates.push(update);
                }
            } else if update.state() != State::Down {
                let (waiting, new) = self.parked.wait(now.at, id.node(), from);
                waiting.update = Some((
                    update,
                    Word {
                        by,
                        reason: StatusReason::Learnt,
                    },
                ));
                if new {
                    wants.push(id.node());
                }
            }
        }
        if !wants.is_empty() {
            self.ask_for_records(now, from, &wants);
        }
        if self.has_left() && parts.is_turn_undead() {
            return;
        }
        self.swim.handle(now.at, parts);
    }

    /// A member that is known says at which incarnation it lives: this ends a
    /// suspicion of an earlier one.
    fn on_sign_of_life(&mut self, now: Now, sender: Ident, incarnation: u32) {
        let incarnation = u16::try_from(incarnation).unwrap_or(u16::MAX);
        let held = self.table.run(sender.node());
        let alive = Update::new(sender, incarnation, State::Alive);
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        if held.is_some_and(Peer::is_active) && self.learn_update(now, &alive, word) {
            self.swim.apply(now.at, vec![alive], true);
        }
    }

    /// Somebody suspects this node: it refutes. What it sends from now on must say so,
    /// also what leaves before foca's next message.
    fn refute(&mut self, now: Now, incarnation: u16) {
        let accused = Update::new(self.own.ident, incarnation, State::Suspect);
        self.swim.apply(now.at, vec![accused], true);
        if incarnation >= self.own.incarnation && incarnation < u16::MAX {
            self.own.incarnation = incarnation + 1;
        }
    }

    fn on_sections(&mut self, now: Now, sender: Ident, packet: Packet) {
        if packet.suspected > 0 {
            let incarnation = u16::try_from(packet.suspected - 1).unwrap_or(u16::MAX);
            self.refute(now, incarnation);
        }
        if Ident::get(&packet.undead[..]) == Some(self.own.ident) && !self.has_left() {
            self.swim.apply(
                now.at,
                vec![Update::new(self.own.ident, 0, State::Down)],
                true,
            );
        }
        for accusation in packet.accusations.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            self.on_accusation(now, accusation);
        }
        for forced in packet.forced.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            self.on_forced(now, forced);
        }
        self.answer_wants(now, sender.node(), &packet.wants);
        if !packet.events.is_empty() {
            self.events
                .on_section(now, sender.node(), packet.events, &self.table);
        }
        if packet.ask_digest {
            self.transmit(now, sender.node(), Extra::default());
        }
        self.compare_digest(now, sender.node(), packet.digest);
    }

    fn answer_wants(&mut self, now: Now, to: NodeRef, wants: &[u8]) {
        for bytes in wants.chunks_exact(IDENT_BYTES).take(ITEMS_PER_DATAGRAM_MAX) {
            let Some(ident) = Ident::get(bytes) else {
                continue;
            };
            let topic = if ident.node() == self.me_ref() || self.table.run(ident.node()).is_some() {
                Topic::Record(ident.hash)
            } else {
                continue;
            };
            self.broadcasts.push(topic);
        }
        if !wants.is_empty() {
            self.transmit(now, to, Extra::default());
        }
    }

    /// Takes a record that rode on a datagram; what waited for it goes on.
    fn learn_record(&mut self, now: Now, bytes: &Bytes) {
        let Ok(delta) = RecordDelta::decode(bytes.clone()) else {
            return self.count("records_refused_malformed");
        };
        let node = NodeRef {
            hash: delta.hash,
            boot: delta.boot,
        };
        if !self.merge_record(now, &delta) {
            return;
        }
        if let Some(waiting) = self.parked.waiting.remove(&node) {
            if let Some((update, word)) = waiting.update
                && self.learn_update(now, &update, word)
            {
                self.swim.apply(now.at, vec![update], true);
            }
            if let Some((from, packet)) = waiting.datagram {
                self.on_packet(now, from, packet);
            }
        }
    }
}

/// The identity's 16 bytes.
pub(crate) fn ident_bytes(ident: Ident) -> Bytes {
    let mut bytes = BytesMut::with_capacity(IDENT_BYTES);
    ident.put(&mut bytes);
    bytes.freeze()
}

/// Puts one item into a datagram, if it still has something to tell and fits. Gives
/// the bytes that it takes there at most.
fn add(
    packet: &mut Packet,
    topic: Topic,
    table: &crate::table::Table,
    own: &crate::own::Own,
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
            let delta = record.since(0);
            let bytes = delta.encoded_len();
            if bytes > RECORD_RIDE_MAX {
                return (Take::Drop, 0);
            }
            if bytes + RECORD_OVERHEAD > room {
                return (Take::TooLarge, 0);
            }
            packet.records.push(Bytes::from(delta.encode_to_vec()));
            return (Take::Yes, bytes + RECORD_OVERHEAD);
        }
        Topic::Accusation(subject, incarnation, accuser) => {
            packet.accusations.push(Accusation {
                subject: ident_bytes(subject),
                incarnation: u32::from(incarnation),
                accuser,
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

pub(super) fn dropped(error: &OpenError) -> &'static str {
    match error {
        OpenError::Truncated => "datagrams_dropped_truncated",
        OpenError::Oversized => "datagrams_dropped_oversized",
        OpenError::Version(_) => "datagrams_dropped_version",
        OpenError::Suite(_) => "datagrams_dropped_suite",
        OpenError::PlaintextRefused => "datagrams_dropped_plaintext_refused",
        OpenError::SealedRefused => "datagrams_dropped_sealed_refused",
        OpenError::UnknownKey(_) => "datagrams_dropped_unknown_key",
        OpenError::OtherCluster => "datagrams_dropped_other_cluster",
        OpenError::Forged => "datagrams_dropped_forged",
        OpenError::Reflected => "datagrams_dropped_reflected",
        OpenError::Replayed => "datagrams_dropped_replayed",
    }
}
