//! What comes in, taken apart.

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message as _;

use super::sending::Extra;
use crate::broadcast::Topic;
use crate::crypto::OpenError;
use crate::engine::Engine;
use crate::ident::{IDENT_BYTES, Ident, NodeRef};
use crate::swim::message::{MessageError, Parts};
use crate::swim::{State, Update};
use crate::time::Now;
use crate::wire::{ITEMS_PER_DATAGRAM_MAX, Packet, RecordDelta};

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Came {
    /// By UDP, from there.
    ByUdp(SocketAddr),
    /// Over TCP.
    ByTcp,
}

impl Engine {
    /// Opens a datagram and takes it in.
    pub(in crate::engine) fn on_datagram(&mut self, now: Now, came: Came, bytes: &Bytes) {
        let opened = match self.sealer.open(now.at, bytes) {
            Ok(opened) => opened,
            Err(error) => return self.drop_datagram(now, &error),
        };
        self.count_plaintext(&opened);
        match Packet::decode(opened.body) {
            Ok(packet) => self.on_packet(now, came, packet),
            Err(_) => self.count("datagrams_dropped_malformed"),
        }
    }

    pub(in crate::engine) fn on_packet(&mut self, now: Now, came: Came, packet: Packet) {
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
        let from = match came {
            Came::ByUdp(from) => Some(from),
            // The port of a connection is nobody's address.
            Came::ByTcp => self.addr_of(sender.node()),
        };
        let Some(from) = from else {
            return self.count("datagrams_dropped_unknown_sender");
        };
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
                self.ask_for_records(now, (from, sender.node()), &[sender.node()]);
            }
            return;
        }
        let answers = parts.as_ref().and_then(Parts::answers);
        let asks = parts.as_ref().and_then(Parts::asks);
        // Why somebody is dead comes before that.
        let heard = self.is_active(sender.node());
        if heard {
            self.hear_accusations(now, &packet);
        }
        if let Some(parts) = parts {
            self.on_swim_message(now, from, parts);
        } else if let Some(incarnation) = packet.incarnation.checked_sub(1) {
            self.on_sign_of_life(now, sender, incarnation);
        }
        if self.is_active(sender.node()) {
            if !heard {
                self.hear_accusations(now, &packet);
            }
            let said = (answers.is_some(), packet.unheard);
            self.heard_datagram(now, sender.node(), came, said);
            if asks.is_some() {
                let extra = Extra {
                    receipt: asks,
                    ..Extra::default()
                };
                self.transmit(now, sender.node(), extra);
            }
            if let Some(number) = answers.filter(|_| came != Came::ByTcp) {
                self.on_probe_answer(now, sender, number, &packet.coordinate);
            }
            self.on_sections(now, sender, packet);
        } else {
            self.count("datagrams_dropped_dead_sender");
        }
    }

    /// The address in the record of a run, which may not be a member yet.
    fn addr_of(&self, node: NodeRef) -> Option<SocketAddr> {
        let held = self.table.run(node).map(|peer| &peer.record);
        let record = held.or_else(|| self.parked.records.get(&node).map(|(_, record)| record));
        record.map(|record| record.parsed().addr)
    }

    fn is_active(&self, node: NodeRef) -> bool {
        let held = self.table.run(node);
        held.is_some_and(crate::table::Peer::is_active)
    }

    fn hear_accusations(&mut self, now: Now, packet: &Packet) {
        for accusation in packet.accusations.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            self.on_accusation(now, accusation);
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

    fn on_sections(&mut self, now: Now, sender: Ident, packet: Packet) {
        if let Some(number) = packet.receipt.checked_sub(1) {
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            self.swim.on_receipt(sender.hash, number);
        }
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
        for forced in packet.forced.iter().take(ITEMS_PER_DATAGRAM_MAX) {
            self.on_forced(now, forced);
        }
        self.answer_wants(now, sender.node(), &packet.wants);
        if !packet.events.is_empty() {
            self.events
                .on_section(now, sender.node(), packet.events, &self.table);
        }
        if !packet.witness.is_empty() {
            self.on_witness_wanted(now, &packet.witness);
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
            if let Some((update, word)) = waiting.update {
                self.learn_update(now, &update, word);
                self.tell_swim(now, true);
            }
            if let Some((from, packet)) = waiting.datagram {
                self.on_packet(now, Came::ByUdp(from), packet);
            }
        }
    }
}

pub(in crate::engine) fn dropped(error: &OpenError) -> &'static str {
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
