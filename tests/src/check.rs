//! Checks what clients recorded of their watches against what the API promises.
//!
//! A recorder writes down, for each consumer, which streams it opened with which token at
//! which daemon, and every message. The checkers are pure: histories in, breaches out. They
//! know nothing of the daemons; what one consumer saw is held against what the others saw.

pub mod events;
pub mod members;

use std::fmt;

/// One thing that a consumer did or saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<M> {
    /// It opened a stream at a daemon, with this token; empty: none.
    Opened {
        /// Name of the daemon.
        daemon: String,
        /// The token of the request.
        token: Vec<u8>,
    },
    /// A message came on the stream.
    Message(M),
    /// The stream ended: by the consumer, by the daemon, or because one of them died.
    Ended,
}

/// What one consumer did and saw, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct History<F, M> {
    /// Name of the consumer, for messages.
    pub consumer: String,
    /// What it asked for, the same in all its requests.
    pub filter: F,
    /// From its first stream to its last.
    pub steps: Vec<Step<M>>,
}

impl<F, M> History<F, M> {
    /// Of a consumer that did nothing yet.
    #[must_use]
    pub fn new(consumer: &str, filter: F) -> Self {
        Self {
            consumer: consumer.to_owned(),
            filter,
            steps: Vec::new(),
        }
    }

    /// The messages, of all its streams.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        self.steps.iter().filter_map(|step| match step {
            Step::Message(message) => Some(message),
            Step::Opened { .. } | Step::Ended => None,
        })
    }
}

/// The promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing comes before what it follows, and each message says what it must.
    Ordered,
    /// Nothing comes twice.
    Unique,
    /// Nothing is left out.
    GapFree,
    /// What changed at once is seen at once, and the same by everybody.
    Atomic,
    /// A token goes on exactly where it was given out, or the stream says that it does not.
    Resumable,
    /// What was not asked for does not come, and what was does.
    Filtered,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub promise: Promise,
    /// To whom.
    pub consumer: String,
    /// How.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            promise,
            consumer,
            what,
        } = self;
        write!(f, "{consumer}: not {promise:?}: {what}")
    }
}

/// Breaches that are told; more of them say nothing new.
const BREACHES_MAX: usize = 20;

/// The first breaches, a line each; none: an empty text.
#[must_use]
pub fn told(breaches: &[Breach]) -> String {
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    lines[..lines.len().min(BREACHES_MAX)].join("\n")
}
