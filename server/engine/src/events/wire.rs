//! What travels: sections of datagrams, pull requests and answers, positions.
//!
//! An [`Envelope`] is written once, by its origin. Everybody else stores and
//! relays the origin's bytes, so that fields unknown here survive.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use crate::event::{Event, EventKind, Origin, check_extras};
use crate::ident::{NodeRef, name_hash};
use crate::name::{NAME_BYTES_MAX, check_name, check_query_name};

/// Largest section that rides in one datagram, bytes.
pub(crate) const SECTION_BYTES_MAX: usize = 1_280;

/// Largest payload that is relayed, whatever the local limit for own events is:
/// the highest value that the setting allows.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Largest envelope: payload, both names, numbers, and room for fields of later
/// versions. Larger ones are dropped and counted.
pub(super) const ENVELOPE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 16_384;

/// Origins asked for in one pull request; what is above waits for the next one.
pub(super) const WANTS_MAX: usize = 64;

/// One event or query as its origin wrote it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Envelope {
    /// Name of the origin.
    #[prost(string, tag = "1")]
    pub(super) origin: String,
    /// Its boot.
    #[prost(uint64, tag = "2")]
    pub(super) boot: u64,
    /// From 1.
    #[prost(uint64, tag = "3")]
    pub(super) sequence: u64,
    /// Lamport time at the origin.
    #[prost(uint64, tag = "4")]
    pub(super) lamport: u64,
    /// Event name.
    #[prost(string, tag = "5")]
    pub(super) name: String,
    /// Opaque.
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) payload: Bytes,
    /// Whom it is for, opaque here; empty for everybody.
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) target: Bytes,
    /// Consumers that coalesce may keep only the newest of this name.
    #[prost(bool, tag = "8")]
    pub(super) coalesce: bool,
    /// The origin's child that it came from.
    #[prost(string, tag = "9")]
    pub(super) child: String,
    /// Free data.
    #[prost(btree_map = "string, string", tag = "10")]
    pub(super) attributes: BTreeMap<String, String>,
    /// [`EventKind`] as a number. Unknown ones are kept and relayed, not handed over.
    #[prost(uint32, tag = "11")]
    pub(super) kind: u32,
    /// Queries: how long the asker waits, milliseconds.
    #[prost(uint64, tag = "12")]
    pub(super) timeout_ms: u64,
    /// Queries: receivers tell that they got it.
    #[prost(bool, tag = "13")]
    pub(super) want_ack: bool,
}

/// Why an envelope is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadEnvelope {
    Undecodable,
    Oversized,
    /// Its origin, boot or sequence is not what the carrier said.
    Foreign,
    BadName,
}

impl Envelope {
    /// A view of `raw`, checked against the place where it is to be stored.
    pub(super) fn view(raw: &Bytes, key: NodeRef, sequence: u64) -> Result<Self, BadEnvelope> {
        if raw.len() > ENVELOPE_BYTES_MAX {
            return Err(BadEnvelope::Oversized);
        }
        let Ok(view) = Self::decode(raw.clone()) else {
            return Err(BadEnvelope::Undecodable);
        };
        if view.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BadEnvelope::Oversized);
        }
        if view.boot != key.boot || view.sequence != sequence {
            return Err(BadEnvelope::Foreign);
        }
        if check_extras(&view.target, &view.child, &view.attributes).is_err() {
            return Err(BadEnvelope::Oversized);
        }
        let named = match view.kind() {
            Some(EventKind::User) => check_name(&view.name).is_ok(),
            Some(EventKind::Query) => check_query_name(&view.name).is_ok(),
            // How a later version calls them is its own matter.
            None => view.name.len() <= NAME_BYTES_MAX,
        };
        if !named || check_name(&view.origin).is_err() {
            return Err(BadEnvelope::BadName);
        }
        Ok(view)
    }

    /// `None` for a kind of a later version.
    pub(super) fn kind(&self) -> Option<EventKind> {
        EventKind::from_wire(self.kind)
    }

    /// What consumers see of it; `None` for a kind of a later version.
    pub(super) fn into_event(self, origin: Origin, received_unix_ms: u64) -> Option<Event> {
        Some(Event {
            kind: self.kind()?,
            origin,
            sequence: self.sequence,
            lamport: self.lamport,
            name: self.name,
            payload: self.payload,
            target: self.target,
            coalesce: self.coalesce,
            child: self.child,
            attributes: self.attributes,
            timeout_ms: self.timeout_ms,
            want_ack: self.want_ack,
            received_unix_ms,
        })
    }
}

/// One event on its way: the sequence stands outside, so that copies are
/// recognised without decoding the envelope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Entry {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) envelope: Bytes,
}

/// Events of one origin and boot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Batch {
    #[prost(fixed64, tag = "1")]
    pub(super) hash: u64,
    #[prost(uint64, tag = "2")]
    pub(super) boot: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) entries: Vec<Entry>,
}

/// The sender holds, or has given up, everything of this origin and boot up to
/// `position`. Sent to the origin itself it is an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Mark {
    #[prost(fixed64, tag = "1")]
    pub(super) hash: u64,
    #[prost(uint64, tag = "2")]
    pub(super) boot: u64,
    #[prost(uint64, tag = "3")]
    pub(super) position: u64,
}

/// The sender, an origin, wants to hear the positions of these members now, and
/// again as they move until they reach `through`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Call {
    #[prost(fixed64, repeated, tag = "1")]
    pub(super) who: Vec<u64>,
    #[prost(uint64, tag = "2")]
    pub(super) through: u64,
}

/// The events part of a datagram.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Section {
    #[prost(message, repeated, tag = "1")]
    pub(super) batches: Vec<Batch>,
    #[prost(message, repeated, tag = "2")]
    pub(super) marks: Vec<Mark>,
    #[prost(message, optional, tag = "3")]
    pub(super) call: Option<Call>,
}

/// Events of one origin and boot above `after`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Want {
    #[prost(fixed64, tag = "1")]
    pub(super) hash: u64,
    #[prost(uint64, tag = "2")]
    pub(super) boot: u64,
    #[prost(uint64, tag = "3")]
    pub(super) after: u64,
    /// Last one wanted; 0 for all there are.
    #[prost(uint64, tag = "4")]
    pub(super) upto: u64,
}

/// Body of a pull.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PullRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) wants: Vec<Want>,
}

/// What one member has for one [`Want`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Range {
    #[prost(fixed64, tag = "1")]
    pub(super) hash: u64,
    #[prost(uint64, tag = "2")]
    pub(super) boot: u64,
    /// Name of the origin; empty if the member never heard of it.
    #[prost(string, tag = "3")]
    pub(super) name: String,
    /// Nothing up to here is held any longer.
    #[prost(uint64, tag = "4")]
    pub(super) floor: u64,
    /// The member's own contiguous position.
    #[prost(uint64, tag = "5")]
    pub(super) position: u64,
    /// The answer was cut at its size limit: ask again.
    #[prost(bool, tag = "6")]
    pub(super) more: bool,
    #[prost(message, repeated, tag = "7")]
    pub(super) entries: Vec<Entry>,
    /// The next boot of this origin that the member has events of; 0 for none.
    #[prost(uint64, tag = "8")]
    pub(super) next_boot: u64,
}

/// Answer to a pull: one range for each want, in any order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PullAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) ranges: Vec<Range>,
}

/// Contiguous position of one origin and boot, for the state exchange.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Position {
    /// [`name_hash`] of the origin.
    #[prost(fixed64, tag = "1")]
    pub(crate) hash: u64,
    /// Its boot.
    #[prost(uint64, tag = "2")]
    pub(crate) boot: u64,
    /// Its name.
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    /// Everything up to here is held or given up.
    #[prost(uint64, tag = "4")]
    pub(crate) sequence: u64,
}

impl Position {
    /// Whose events.
    pub(crate) fn origin(&self) -> NodeRef {
        NodeRef {
            hash: self.hash,
            boot: self.boot,
        }
    }
}

/// Whether `name` is a member name and has this hash.
pub(super) fn name_fits(name: &str, hash: u64) -> bool {
    check_name(name).is_ok() && name_hash(name) == hash
}

/// Bytes that an entry takes inside a section, its own framing included; a new
/// batch around it takes at most [`BATCH_OVERHEAD`] more.
pub(super) fn entry_bytes(envelope: usize) -> usize {
    envelope + ENTRY_OVERHEAD
}

/// Tag and length of the entry, tag and 10-byte sequence, tag and length of the
/// envelope.
const ENTRY_OVERHEAD: usize = 4 + 11 + 4;

/// Tag and length, hash, boot.
pub(super) const BATCH_OVERHEAD: usize = 4 + 9 + 11;

/// A mark with its framing, at most.
pub(super) const MARK_BYTES_MAX: usize = 2 + 9 + 11 + 11;

/// A call of three members with its framing, at most.
pub(super) const CALL_BYTES_MAX: usize = 2 + 2 + 24 + 11;

/// Largest envelope that rides in a datagram; larger ones are announced.
pub(super) const EAGER_BYTES_MAX: usize =
    SECTION_BYTES_MAX - BATCH_OVERHEAD - ENTRY_OVERHEAD - CALL_BYTES_MAX;

/// Smallest entry that can be real, in bytes: both tags, lengths, and the names.
const ENTRY_BYTES_MIN: usize = 8;

/// Looks at the outer shape of a pull answer before it is decoded: a body of
/// empty messages would take fifty times its size in memory.
pub(super) fn answer_is_sane(body: &[u8]) -> bool {
    let most = body.len() / ENTRY_BYTES_MIN + 1;
    let mut entries = 0;
    let mut ranges = 0;
    let mut rest = body;
    while let Some(field) = next_field(&mut rest) {
        let Some(range) = field.1 else {
            continue;
        };
        ranges += 1;
        let mut inner = range;
        while let Some((_, content)) = next_field(&mut inner) {
            entries += usize::from(content.is_some());
        }
    }
    ranges <= WANTS_MAX && entries <= most
}

/// Takes one protobuf field off the front: its number and, if it has a length,
/// its content. `None` at the end or where it makes no sense.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let skip = match key & 7 {
        0 => {
            varint(rest)?;
            return Some((key >> 3, None));
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(skip)?;
    *rest = after;
    Some((key >> 3, (key & 7 == 2).then_some(content)))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
