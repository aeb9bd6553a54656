//! Queries: a question to members, whose acknowledgements and answers come back.
//!
//! ```text
//!   Asker -> gossip (an event of kind query) -> Receiver at every member
//!     ^                                            | is it for me?
//!     +-- peers' gRPC: begin / wanted / answer ----+-> Responders -> Job
//! ```
//! The question spreads as events do: reliably, and at once. Answers go straight to the
//! asker over one call of their own, which first asks whether anybody still waits: if
//! not, no responder runs. This node's own answer takes the same way without the
//! network.

pub mod asker;
mod delivery;
mod intake;
pub mod metrics;
mod progress;
pub mod receiver;
pub mod responders;
mod service;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::Event;
use tokio::time::Instant;

pub use self::asker::{Answered, Ask, AskError, Asker, Asking};
pub use self::metrics::Metrics;
pub use self::receiver::Receiver;
pub use self::responders::{Job, Patterns, Responder, Responders};
pub use crate::peers::ANSWER_BYTES_MAX;

/// Queries of this node that wait for answers at once. One more is refused with
/// RESOURCE_EXHAUSTED.
pub const ASKED_MAX: usize = 1_024;

/// Queries of others that are being answered at once. One more is dropped and counted:
/// its asker sees silence.
pub const ANSWERING_MAX: usize = 2_048;

/// Queries that came and wait to be looked at. One more is dropped and counted.
pub const RECEIVED_MAX: usize = 4_096;

/// Bytes of answers that wait for whoever asked, all queries together. Beyond it members
/// wait with their answers.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Longest text of an error, bytes; longer ones are cut.
pub const ERROR_BYTES_MAX: usize = 4 << 10;

/// Jobs that wait for one responder. One more is answered with the error "busy".
pub const RESPONDER_JOBS_MAX: usize = 256;

/// Responders at once. One more is refused.
pub const RESPONDERS_MAX: usize = 1_024;

/// Patterns of names of one responder.
pub const PATTERNS_MAX: usize = 64;

/// Longest timeout of a query.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Shortest timeout of a query.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The query that is answered by its acknowledgement alone.
pub const PING: &str = "_muster_ping";

/// What serf calls it.
pub const SERF_PING: &str = "_serf_ping";

/// Identity of a query: unique in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId {
    /// Name of the member that asks.
    pub origin: Arc<str>,
    /// Boot of that member.
    pub boot: u64,
    /// Its position among the events and queries of that boot.
    pub sequence: u64,
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.origin, self.boot, self.sequence)
    }
}

/// A query as a responder sees it.
#[derive(Debug, Clone)]
pub struct Query {
    /// Which.
    pub id: QueryId,
    /// Its name.
    pub name: String,
    /// Opaque.
    pub payload: Bytes,
    /// Lamport time: data.
    pub lamport: u64,
    /// When nobody waits for the answer any more, as far as is known here.
    pub deadline: Instant,
    /// The same on the wall clock, milliseconds since 1970.
    pub deadline_unix_ms: u64,
}

/// A good answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// At most [`ANSWER_BYTES_MAX`]; what is beyond is cut.
    pub payload: Bytes,
    /// There was more.
    pub truncated: bool,
}

/// What the responders of a member came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One answered.
    Answer(Answer),
    /// All who tried failed: what they said.
    Failed(String),
    /// There is none, or none wanted to.
    Nothing,
}

impl Query {
    fn new(event: &Event) -> Self {
        let timeout = Duration::from_millis(event.timeout_ms).min(TIMEOUT_MAX);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: QueryId {
                origin: Arc::clone(&event.origin.name),
                boot: event.origin.boot,
                sequence: event.sequence,
            },
            name: event.name.clone(),
            payload: event.payload.clone(),
            lamport: event.lamport,
            deadline: Instant::now() + timeout,
            deadline_unix_ms: event.received_unix_ms.saturating_add(timeout_ms),
        }
    }
}

impl Answer {
    /// An answer, cut to what can be told.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self {
            payload,
            truncated: false,
        }
        .cut()
    }

    fn cut(mut self) -> Self {
        if self.payload.len() > ANSWER_BYTES_MAX {
            self.payload.truncate(ANSWER_BYTES_MAX);
            self.truncated = true;
        }
        self
    }
}

/// Cuts a text of an error, between characters.
fn cut_error(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let mut end = ERROR_BYTES_MAX - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// As serf: 16 gossip intervals of 200 ms for each digit that the number of live
/// members has.
#[must_use]
pub fn default_timeout(members: usize) -> Duration {
    let mut rounds = 1;
    let mut reach = 10;
    // ceil(log10(members + 1))
    while members.saturating_add(1) > reach {
        rounds += 1;
        reach = reach.saturating_mul(10);
    }
    Duration::from_millis(200) * 16 * rounds
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
