//! The membership and event engine of Muster.
//!
//! Pure: no clock, no sockets, no runtime, no unseeded randomness. Everything
//! that happens to a node comes in through [`Engine::handle`] or one of the
//! command methods, always with the time as an argument, and everything that it
//! wants done comes out of [`Engine::poll_output`]. The daemon drives one engine
//! with real sockets; the simulator drives thousands in virtual time.
//!
//! ```text
//!   datagram, request, answer, tick, command
//!                    |
//!   wire (sealed datagrams, exchanges)
//!                    |
//!   swim (foca) -- suspicion -- records -- sync       events (logs, replication)
//!                    |                                   |
//!            Output::Transmit, Request, Respond, Members, Event, ...
//! ```

pub mod api;
mod broadcast;
pub mod coordinate;
pub mod crypto;
pub mod engine;
pub mod event;
mod events;
mod health;
pub mod history;
mod ident;
pub mod member;
pub mod name;
mod own;
mod record;
mod settle;
pub mod snapshot;
mod suspicion;
mod swim;
mod table;
#[cfg(test)]
mod tests;
pub mod time;
pub mod tuning;
mod wire;

pub use api::{
    Config, EngineError, ExchangeError, ExchangeId, ExchangeKind, Input, Limits, Note, Output,
    WatchEvent, WatchFailure, WatchId,
};
pub use coordinate::Coordinate;
pub use crypto::Stage;
pub use engine::Engine;
pub use event::{Accepted, Event, EventDraft, EventError, EventKind, Gap, Origin};
pub use history::{Explanation, Observation};
pub use member::{Member, MemberKey, Role, Status, StatusChange, StatusReason};
pub use own::{OwnUpdate, PUBLISHED_BYTES_MAX, PUBLISHED_KEYS_MAX, published_bytes};
pub use record::Published;
pub use snapshot::Snapshot;
pub use time::{Now, Time};
pub use tuning::Tuning;
