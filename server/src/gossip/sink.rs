//! Where what the engine says goes: the hub, or a recorder in tests.

use std::sync::Arc;

use muster_engine::{Event, Gap, Member, MemberKey, Origin};

/// A change of the member table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberUpdate {
    /// A member appeared or changed.
    Updated(Arc<Member>),
    /// A member was reaped.
    Removed(MemberKey),
}

/// Something in the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventUpdate {
    /// An event, in order per origin.
    Event(Arc<Event>),
    /// Events that will never come.
    Gap(Gap),
    /// This node joined the stream of an origin after `sequence`.
    Base {
        /// Whose events.
        origin: Origin,
        /// Last sequence before this node's time.
        sequence: u64,
    },
}

/// Takes batches from the engine's thread; must not block. A batch holds all
/// that one turn of the loop brought and is never empty.
pub trait Sink: Send + Sync + 'static {
    /// Changes of the member table, in order.
    fn apply_members(&self, batch: Vec<MemberUpdate>);
    /// Events, in order.
    fn push_events(&self, batch: Vec<EventUpdate>);
}
