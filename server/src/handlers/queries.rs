//! Where queries come from, as far as handlers are concerned.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::job::Query;

/// Most bytes of an answer; what a script prints beyond is cut, and the asker is
/// told.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the script printed.
    pub payload: Bytes,
    /// It printed more.
    pub truncated: bool,
}

/// One query that waits for an answer. Dropped without one, it is not answered.
pub trait QueryJob: Debug + Send {
    /// What is asked.
    fn query(&self) -> Arc<Query>;

    /// Answers, or says why there is no answer.
    fn answer(self: Box<Self>, answer: Result<Answer, String>);

    /// There is nothing to say.
    fn pass(self: Box<Self>);
}

/// A stream of queries for one handler. It holds those that nobody takes in a
/// bounded queue, and answers those beyond it as busy.
pub trait QuerySource: Debug + Send {
    /// The next one; `None` when there will be no more. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Box<dyn QueryJob>>>;
}

/// Gives handlers their queries.
pub trait QueryRouter: Debug + Send + Sync {
    /// Queries of these names, all if there are none, that one handler will answer.
    fn serve(&self, names: Vec<String>, label: &str, queue: usize) -> Box<dyn QuerySource>;
}
