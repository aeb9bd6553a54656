//! One node, what it is told, and what it says.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::api::Limits;
use crate::event::EventDraft;
use crate::events::wire::{Batch, Entry, Envelope, Section};
use crate::events::{Events, EventsOutput, Peers};
use crate::ident::{NodeRef, name_hash};
use crate::time::{Now, Time};

pub(super) struct Fixed(pub(super) Vec<NodeRef>);

impl Peers for Fixed {
    fn live(&self) -> &[NodeRef] {
        &self.0
    }
    fn name_of(&self, hash: u64) -> Option<Arc<str>> {
        ["a", "b", "c"]
            .into_iter()
            .find(|n| name_hash(n) == hash)
            .map(Arc::from)
    }
}

pub(super) fn node(name: &str, boot: u64) -> NodeRef {
    NodeRef {
        hash: name_hash(name),
        boot,
    }
}

pub(super) fn at(ms: u64) -> Now {
    Now {
        at: Time::from_micros(ms * 1_000),
        unix_ms: ms,
    }
}

pub(super) fn peers() -> Fixed {
    let mut live = vec![node("b", 1), node("c", 1)];
    live.sort_unstable();
    Fixed(live)
}

pub(super) fn events() -> Events {
    Events::new(node("a", 1), Arc::from("a"), &Limits::default(), 1)
}

pub(super) fn drain(events: &mut Events) -> Vec<EventsOutput> {
    std::iter::from_fn(|| events.poll()).collect()
}

pub(super) fn counter(events: &Events, name: &str) -> u64 {
    let mut all = Vec::new();
    events.counters(&mut all);
    all.into_iter().find(|(n, _)| *n == name).unwrap().1
}

pub(super) fn envelope(origin: &str, boot: u64, sequence: u64) -> Envelope {
    Envelope {
        origin: origin.to_owned(),
        boot,
        sequence,
        lamport: 7,
        name: "deploy".to_owned(),
        payload: Bytes::from_static(b"x"),
        ..Envelope::default()
    }
}

pub(super) fn section(key: NodeRef, sequence: u64, raw: &[u8]) -> Bytes {
    let entry = Entry {
        sequence,
        envelope: Bytes::copy_from_slice(raw),
    };
    let section = Section {
        batches: vec![Batch {
            hash: key.hash,
            boot: key.boot,
            entries: vec![entry],
        }],
        ..Section::default()
    };
    Bytes::from(section.encode_to_vec())
}

pub(super) fn send(events: &mut Events, key: NodeRef, sequence: u64, envelope: &Envelope) {
    let section = section(key, sequence, &envelope.encode_to_vec());
    events.on_section(at(1_000), node("b", 1), section, &peers());
}

pub(super) fn draft(size: usize) -> EventDraft {
    EventDraft::new("deploy", vec![0; size])
}
