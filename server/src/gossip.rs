//! The driver of the engine: its thread, its sockets, its pipes.

pub mod handle;

pub use handle::{CommandError, Handle, JoinOutcome, Report};
