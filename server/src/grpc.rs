//! The API: gRPC over unix sockets.

pub mod access;
mod convert;
mod events;
mod filter;
mod frames;
pub mod gate;
pub mod limits;
mod members;
pub mod metrics;
pub mod peer;
mod routes;
mod status;
mod watch;

pub use metrics::Metrics;
pub use peer::{Peer, SocketKind};
