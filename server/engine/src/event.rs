//! User events as surfaces see them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One run of one member: the unit in which events are ordered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// One event, ready for consumers. Sequences grow by one per origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who sent it.
    pub origin: Origin,
    /// From 1, without holes.
    pub sequence: u64,
    /// Lamport time: data for handlers, never used for order or dedup.
    pub lamport: u64,
    /// Name in the grammar of [`crate::name::check_name`].
    pub name: String,
    /// Opaque.
    pub payload: Bytes,
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

/// An event to be sent from this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// Name, checked by the engine.
    pub name: String,
    /// Payload, at most [`crate::Limits::event_payload_bytes`].
    pub payload: Bytes,
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
    /// The window of unacknowledged events is full; try again after
    /// [`crate::Output::EventRoom`]. The driver waits, users never see it.
    #[error("the event window is full")]
    Full,
    /// This node leaves or has left.
    #[error("this node is leaving or has left the cluster")]
    Leaving,
}
