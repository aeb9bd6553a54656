//! Events and queries as surfaces see them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One run of one member: the unit in which events are ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Name of the member.
    pub name: Arc<str>,
    /// Its boot.
    pub boot: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.boot)
    }
}

/// Largest target, bytes.
pub const TARGET_BYTES_MAX: usize = 4_096;

/// Most attributes of one event.
pub const ATTRIBUTES_MAX: usize = 32;

/// Most bytes of the keys and values of all attributes of one event.
pub const ATTRIBUTES_BYTES_MAX: usize = 4_096;

/// Longest name of a source child, bytes.
pub const CHILD_BYTES_MAX: usize = 128;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An event of a user: handed over in order.
    #[default]
    User,
    /// A question: handed over at once, never shown as an event.
    Query,
}

impl EventKind {
    pub(crate) const fn to_wire(self) -> u32 {
        match self {
            Self::User => 0,
            Self::Query => 1,
        }
    }

    /// `None` for kinds of later versions.
    pub(crate) const fn from_wire(kind: u32) -> Option<Self> {
        match kind {
            0 => Some(Self::User),
            1 => Some(Self::Query),
            _ => None,
        }
    }
}

/// One event or query, ready for consumers. Sequences grow by one per origin, over
/// both kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Who sent it.
    pub origin: Origin,
    /// From 1, without holes.
    pub sequence: u64,
    /// Event or query.
    pub kind: EventKind,
    /// Lamport time: data for handlers, never used for order or dedup.
    pub lamport: u64,
    /// Name in the grammar of [`crate::name::check_name`]; queries of the system
    /// may have a reserved prefix before it.
    pub name: String,
    /// Opaque.
    pub payload: Bytes,
    /// Whom it is for, opaque to the engine; empty for everybody.
    pub target: Bytes,
    /// Consumers that coalesce may keep only the newest of this name.
    pub coalesce: bool,
    /// The child of the origin (a container, say) that it came from; may be empty.
    pub child: String,
    /// Free data beside the payload.
    pub attributes: BTreeMap<String, String>,
    /// Queries: how long the asker waits, milliseconds.
    pub timeout_ms: u64,
    /// Queries: the asker wants to hear who got it.
    pub want_ack: bool,
    /// Wall clock of this node when it was handed over, milliseconds.
    pub received_unix_ms: u64,
}

/// Events `first..=last` of `origin` that this node will never hand over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose events.
    pub origin: Origin,
    /// First missing sequence.
    pub first: u64,
    /// Last missing sequence, inclusive.
    pub last: u64,
}

/// An event or query to be sent from this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventDraft {
    /// Event or query.
    pub kind: EventKind,
    /// Name, checked by the engine.
    pub name: String,
    /// Payload, at most [`crate::Limits::event_payload_bytes`].
    pub payload: Bytes,
    /// Whom it is for: at most [`TARGET_BYTES_MAX`] bytes; empty for everybody.
    pub target: Bytes,
    /// Consumers that coalesce may keep only the newest of this name.
    pub coalesce: bool,
    /// The child that it comes from: at most [`CHILD_BYTES_MAX`] bytes.
    pub child: String,
    /// At most [`ATTRIBUTES_MAX`], of [`ATTRIBUTES_BYTES_MAX`] bytes in all.
    pub attributes: BTreeMap<String, String>,
    /// Queries: how long the asker waits, milliseconds.
    pub timeout_ms: u64,
    /// Queries: receivers tell that they got it.
    pub want_ack: bool,
}

impl EventDraft {
    /// An event for everybody.
    #[must_use]
    pub fn new(name: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// Checks all but the payload, whose limit is a setting.
    pub(crate) fn check(&self) -> Result<(), EventError> {
        match self.kind {
            EventKind::User => crate::name::check_name(&self.name)?,
            EventKind::Query => crate::name::check_query_name(&self.name)?,
        }
        check_extras(&self.target, &self.child, &self.attributes)
    }
}

/// Checks what an event carries beside its name and payload.
pub(crate) fn check_extras(
    target: &[u8],
    child: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<(), EventError> {
    let held: usize = attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
    let sizes = [
        ("bytes of the target", target.len(), TARGET_BYTES_MAX),
        ("bytes of the child's name", child.len(), CHILD_BYTES_MAX),
        ("attributes", attributes.len(), ATTRIBUTES_MAX),
        ("bytes of attributes", held, ATTRIBUTES_BYTES_MAX),
    ];
    let over = sizes.into_iter().find(|(_, size, limit)| size > limit);
    over.map_or(Ok(()), |(what, size, limit)| {
        Err(EventError::TooMuch { what, size, limit })
    })
}

/// The engine holds the event: receipt ACCEPTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Boot of this node.
    pub boot: u64,
    /// Sequence that the event got.
    pub sequence: u64,
    /// Lamport time that the event got.
    pub lamport: u64,
}

/// Why an event was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The name breaks the grammar.
    #[error("bad event name: {0}")]
    InvalidName(#[from] crate::name::NameError),
    /// The payload is larger than the limit.
    #[error("the payload has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A target, child or attributes larger than the limits.
    #[error("{size} {what}, at most {limit} are allowed")]
    TooMuch {
        /// What is too large.
        what: &'static str,
        /// How many were given.
        size: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The window of unacknowledged events is full; try again after
    /// [`crate::Output::EventRoom`]. The driver waits, users never see it.
    #[error("the event window is full")]
    Full,
    /// This node leaves or has left.
    #[error("this node is leaving or has left the cluster")]
    Leaving,
}
