//! Where what the engine says goes: the hub, or a recorder in tests.

pub use crate::hub::{EventUpdate, MemberUpdate};

/// Takes batches from the engine's thread; must not block. A batch holds all
/// that one turn of the loop brought and is never empty.
pub trait Sink: Send + Sync + 'static {
    /// Changes of the member table, in order.
    fn apply_members(&self, batch: Vec<MemberUpdate>);
    /// Events, in order.
    fn push_events(&self, batch: Vec<EventUpdate>);
    /// The engine raised its boot number above one that peers remembered.
    fn boot_raised(&self, boot: u64);
}
