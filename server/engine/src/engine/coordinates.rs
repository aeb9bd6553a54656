//! Places of this node and its peers: measured from probe to answer, told with
//! answers to probes.
//!
//! A probe costs no byte more; its answer carries a coordinate of about 25 bytes, so
//! with one probe a second a node sends about 25 bytes a second for all this. Nothing
//! here changes a member: whoever watches members sees no difference.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Engine;
use crate::api::Output;
use crate::coordinate::{Coordinate, Vivaldi, decode, encode};
use crate::ident::{Ident, NodeRef};
use crate::member::MemberKey;
use crate::swim::message::{self, Probe};
use crate::time::{Now, Time};
use crate::wire::Packet;

/// What this node knows of places. Peers are members of the table, so there are no
/// more of them; each is kept until it is reaped or restarts.
#[derive(Debug)]
pub(super) struct Coordinates {
    /// `None` if coordinates are turned off.
    vivaldi: Option<Vivaldi>,
    /// The probe under way: to whom, its number, when it left.
    pub(super) probe: Option<(NodeRef, u8, Time)>,
    peers: BTreeMap<u64, Coordinate>,
}

impl Coordinates {
    pub(super) fn new(enabled: bool, seed: u64) -> Self {
        Self {
            vivaldi: enabled.then(|| Vivaldi::new(seed)),
            probe: None,
            peers: BTreeMap::new(),
        }
    }

    /// Peers whose places are known.
    pub(super) fn known(&self) -> usize {
        self.peers.len()
    }

    /// How often this node's place became none and was begun anew.
    pub(super) fn resets(&self) -> u64 {
        self.vivaldi.as_ref().map_or(0, Vivaldi::resets)
    }
}

impl Engine {
    /// Where this node is in the space of round trip times; `None` if coordinates are
    /// turned off. A process begins at the origin.
    #[must_use]
    pub fn coordinate(&self) -> Option<Coordinate> {
        self.coordinates.vivaldi.as_ref().map(Vivaldi::place)
    }

    /// Where peers are, as they said when they last answered a probe of this node.
    pub fn peer_coordinates(&self) -> impl Iterator<Item = (MemberKey, Coordinate)> {
        let peers = self.coordinates.peers.iter();
        peers.filter_map(|(hash, place)| Some((self.table.key_of(*hash)?, *place)))
    }

    /// Notes a probe that leaves, or lets the answer to one carry this node's place.
    pub(super) fn carry_coordinate(
        &mut self,
        now: Now,
        to: NodeRef,
        foca: &Bytes,
        packet: &mut Packet,
    ) {
        let Some(vivaldi) = &self.coordinates.vivaldi else {
            return;
        };
        match message::probe(foca) {
            Some(Probe::Ping(number)) => self.coordinates.probe = Some((to, number, now.at)),
            Some(Probe::Ack(_)) => packet.coordinate = encode(&vivaldi.place()),
            Some(Probe::Request) | None => {}
        }
    }

    /// A member answers a probe: the time since it left is a round trip.
    pub(super) fn on_probe_answer(&mut self, now: Now, sender: Ident, number: u8, place: &[u8]) {
        let probe = self.coordinates.probe;
        let Some((_, _, left)) =
            probe.filter(|(to, sent, _)| (*to, *sent) == (sender.node(), number))
        else {
            return;
        };
        self.coordinates.probe = None;
        let Some(vivaldi) = &mut self.coordinates.vivaldi else {
            return;
        };
        if place.is_empty() {
            // Turned off over there, or an older build.
            return;
        }
        let told = decode(place);
        let outcome = told.map(|place| vivaldi.update(sender.hash, &place, now.at.since(left)));
        let (Some(place), Some(Ok(()))) = (told, outcome) else {
            return self.count("coordinates_rejected");
        };
        let me = vivaldi.place();
        self.coordinates.peers.insert(sender.hash, place);
        self.count("round_trips_measured");
        if let Some(member) = self.table.key_of(sender.hash) {
            let place = Some(place);
            self.outputs
                .push_back(Output::Coordinate { me, member, place });
        }
    }

    /// Drops what is known of a member that is reaped or that begins anew.
    pub(super) fn forget_coordinate(&mut self, hash: u64) {
        let Some(vivaldi) = &mut self.coordinates.vivaldi else {
            return;
        };
        vivaldi.forget(hash);
        let me = vivaldi.place();
        if self.coordinates.peers.remove(&hash).is_some()
            && let Some(member) = self.table.key_of(hash)
        {
            let place = None;
            self.outputs
                .push_back(Output::Coordinate { me, member, place });
        }
    }
}
