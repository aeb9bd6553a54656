//! Where what the engine says goes: the hub, or a recorder in tests.

use std::sync::Arc;

use muster_engine::Event;

pub use crate::hub::{EventUpdate, MemberUpdate};

/// Takes batches from the engine's thread; must not block. A batch holds all
/// that one turn of the loop brought and is never empty.
pub trait Sink: Send + Sync + 'static {
    /// Changes of the member table, in order.
    fn apply_members(&self, batch: Vec<MemberUpdate>);
    /// Events, in order.
    fn push_events(&self, batch: Vec<EventUpdate>);
    /// Queries, each once and as early as it is known here: before its position
    /// is passed in [`Sink::push_events`]. The asker gets its own.
    fn queries(&self, batch: Vec<Arc<Event>>);
    /// The engine raised its boot number above one that peers remembered.
    fn boot_raised(&self, boot: u64);
}
