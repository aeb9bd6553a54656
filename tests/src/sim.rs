//! Whole clusters in one thread and in virtual time, from one seed.
//!
//! ```text
//!   script (Action) ---> Sim: one heap of (time, order) ---> engines
//!                         |  ^                                  |
//!                  network, pipes, clocks <---- Transmit, Carry, Request, Respond
//!                         |
//!                  views, cursors, streams ----> invariants ----> violations
//! ```
//!
//! Everything random comes from the seed, everything ordered is ordered by the
//! heap: equal seeds and scripts give equal traces, which [`Sim::trace_hash`]
//! shows. What is simplified: a node's CPU is infinitely fast, datagrams cost no
//! bandwidth, loss is independent per packet, bare acknowledgements are not
//! counted.

mod carry;
mod clock;
mod cluster;
mod events;
mod exchange;
#[cfg(test)]
mod fixtures;
mod invariants;
mod life;
mod machine;
mod measure;
mod network;
mod node;
mod observe;
mod pipe;
mod plan;
mod plot;
mod queue;
mod read;
mod record;
mod report;
mod rng;
mod script;
mod setup;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
mod trace;
mod verdict;
mod watch;

pub use clock::EPOCH_UNIX_MS;
pub use cluster::{Sim, Tap};
pub use machine::Machine;
pub use measure::{Measure, measure};
pub use network::{CutId, Weather};
pub use node::State;
pub use plan::Plan;
pub use plot::plots;
pub use read::Joined;
pub use record::{Change, Cursor, Sent, Stream, Traffic, Violation};
pub use report::{Conditions, Coverage, Detection, Rate, Report};
pub use rng::{PPM, Rng};
pub use script::{Action, Address, QUERY_EVERY};
pub use setup::{Demands, PORT, Setup, address};
pub use trace::TRACE_LINES_MAX;
