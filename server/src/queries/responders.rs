//! Who answers queries on this node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use muster_engine::name::{NameError, check_name};
use tokio::sync::{mpsc, oneshot};

use super::metrics::Metrics;
use super::{Answer, Outcome, PATTERNS_MAX, Query, RESPONDER_JOBS_MAX, RESPONDERS_MAX, cut_error};
use crate::hub::lock;

/// Names of queries: exact ones, or prefixes with a final `*`; `*` alone is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

/// Why a responder is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// No name at all.
    #[error("no name is given")]
    NoNames,
    /// More than [`PATTERNS_MAX`].
    #[error("{0} names, at most {PATTERNS_MAX} are allowed")]
    TooManyNames(usize),
    /// A name breaks the grammar, or is the system's.
    #[error("{name:?}: {error}")]
    BadName {
        /// As given.
        name: String,
        /// What is wrong with it.
        #[source]
        error: NameError,
    },
    /// More than [`RESPONDERS_MAX`].
    #[error("{RESPONDERS_MAX} responders are registered, more are not taken")]
    TooMany,
}

/// Everybody who answers. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Responders {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    registry: Mutex<Registry>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    patterns: Patterns,
    label: Arc<str>,
    jobs: mpsc::Sender<Job>,
}

/// One who answers, until it is dropped.
#[derive(Debug)]
pub struct Responder {
    id: u64,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
}

/// One query for one responder. Dropped, it is answered with "handler went away".
#[derive(Debug)]
pub struct Job {
    /// The query.
    pub query: Arc<Query>,
    reply: oneshot::Sender<Outcome>,
}

impl Patterns {
    /// Checks them.
    ///
    /// # Errors
    /// None, too many, or one that no query can have.
    pub fn new(names: Vec<String>) -> Result<Self, RespondError> {
        if names.is_empty() {
            return Err(RespondError::NoNames);
        }
        if names.len() > PATTERNS_MAX {
            return Err(RespondError::TooManyNames(names.len()));
        }
        for name in &names {
            // What may follow a prefix is anything, also after `web-`.
            let checked = match name.strip_suffix('*') {
                Some("") => Ok(()),
                Some(prefix) => check_name(&format!("{prefix}x")),
                None => check_name(name),
            };
            checked.map_err(|error| RespondError::BadName {
                name: name.clone(),
                error,
            })?;
        }
        Ok(Self(names))
    }

    /// Whether a query is meant. Those of the system never are.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        check_name(name).is_ok() && self.0.iter().any(fits)
    }
}

impl Responders {
    /// Nobody yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let registry = Mutex::default();
        Self {
            shared: Arc::new(Shared { registry, metrics }),
        }
    }

    /// Registers one who answers queries of those names. `label` is for the log.
    ///
    /// # Errors
    /// [`RespondError::TooMany`].
    pub fn serve(&self, names: Patterns, label: &str) -> Result<Responder, RespondError> {
        let (sender, jobs) = mpsc::channel(RESPONDER_JOBS_MAX);
        let mut registry = lock(&self.shared.registry);
        if registry.entries.len() >= RESPONDERS_MAX {
            return Err(RespondError::TooMany);
        }
        let id = registry.next;
        registry.next += 1;
        let entry = Entry {
            patterns: names,
            label: Arc::from(label),
            jobs: sender,
        };
        registry.entries.insert(id, entry);
        self.shared.metrics.responders.inc();
        Ok(Responder {
            id,
            shared: Arc::clone(&self.shared),
            jobs,
        })
    }

    /// Hands a query to all who answer such: the first good answer is it; without one
    /// all their errors are.
    pub(crate) fn run(&self, query: &Arc<Query>) -> impl Future<Output = Outcome> + Send + use<> {
        let metrics = self.shared.metrics.clone();
        let replies = FuturesUnordered::new();
        for entry in self.matching(&query.name) {
            let (reply, answer) = oneshot::channel();
            let query = Arc::clone(query);
            let offered = entry.jobs.try_send(Job { query, reply });
            let refusal = offered.err().map(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    metrics.busy.inc();
                    "busy"
                }
                mpsc::error::TrySendError::Closed(_) => GONE,
            });
            let (label, metrics) = (entry.label, metrics.clone());
            replies.push(async move {
                let outcome = match (refusal, answer.await) {
                    (Some(refusal), _) => Outcome::Failed(refusal.to_owned()),
                    (None, Ok(outcome)) => outcome,
                    (None, Err(_)) => {
                        metrics.abandoned.inc();
                        Outcome::Failed(GONE.to_owned())
                    }
                };
                (label, outcome)
            });
        }
        first_good(replies)
    }

    fn matching(&self, name: &str) -> Vec<Entry> {
        let registry = lock(&self.shared.registry);
        let entries = registry.entries.values();
        entries
            .filter(|entry| entry.patterns.matches(name))
            .cloned()
            .collect()
    }
}

/// Said of a job that its responder left.
const GONE: &str = "handler went away";

async fn first_good<F>(mut replies: FuturesUnordered<F>) -> Outcome
where
    F: Future<Output = (Arc<str>, Outcome)>,
{
    let mut errors = Vec::new();
    while let Some((label, outcome)) = replies.next().await {
        match outcome {
            Outcome::Answer(answer) => return Outcome::Answer(answer),
            Outcome::Failed(error) => {
                tracing::debug!(responder = &*label, error, "a responder failed");
                errors.push(error);
            }
            Outcome::Nothing => {}
        }
    }
    if errors.is_empty() {
        return Outcome::Nothing;
    }
    Outcome::Failed(cut_error(errors.join("; ")))
}

impl Responder {
    /// The next job.
    pub async fn next(&mut self) -> Job {
        match self.jobs.recv().await {
            Some(job) => job,
            // The other end is in the registry until this is dropped.
            None => std::future::pending().await,
        }
    }

    /// Answers other names from now on. Jobs that wait stay.
    pub fn rename(&self, names: Patterns) {
        if let Some(entry) = lock(&self.shared.registry).entries.get_mut(&self.id) {
            entry.patterns = names;
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if lock(&self.shared.registry)
            .entries
            .remove(&self.id)
            .is_some()
        {
            self.shared.metrics.responders.dec();
        }
    }
}

impl Job {
    /// Answers, or says why not. True if somebody still waited.
    pub fn answer(self, result: Result<Answer, String>) -> bool {
        let outcome = match result {
            Ok(answer) => Outcome::Answer(answer.cut()),
            Err(error) => Outcome::Failed(cut_error(error)),
        };
        self.reply.send(outcome).is_ok()
    }

    /// Leaves the query to others.
    pub fn pass(self) {
        let _heard = self.reply.send(Outcome::Nothing).is_ok();
    }

    /// Nobody waits for the answer any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.reply.is_closed()
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn unwanted(&mut self) {
        self.reply.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::queries::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, QueryId};

    fn query(name: &str) -> Arc<Query> {
        Arc::new(Query {
            id: QueryId {
                origin: Arc::from("a"),
                boot: 1,
                sequence: 1,
            },
            name: name.to_owned(),
            payload: bytes::Bytes::new(),
            lamport: 1,
            deadline: Instant::now() + Duration::from_secs(9),
            deadline_unix_ms: 0,
        })
    }

    fn names(names: &[&str]) -> Patterns {
        Patterns::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    #[test]
    fn patterns_are_exact_or_prefixes_and_never_mean_the_system() {
        let patterns = names(&["uptime", "web-*"]);
        assert!(patterns.matches("uptime") && patterns.matches("web-1"));
        assert!(!patterns.matches("uptimes") && !patterns.matches("we"));
        assert!(names(&["*"]).matches("anything"));
        assert!(!names(&["*"]).matches(super::super::PING));
        assert_eq!(Patterns::new(Vec::new()), Err(RespondError::NoNames));
        for bad in ["", "-a", "a b", "_serf_x", "_muster_*", "a**"] {
            let refused = Patterns::new(vec![bad.to_owned()]);
            assert!(
                matches!(refused, Err(RespondError::BadName { .. })),
                "{bad}: {refused:?}"
            );
        }
        let many = vec!["a".to_owned(); PATTERNS_MAX + 1];
        assert!(Patterns::new(many).is_err());
    }

    #[tokio::test]
    async fn the_first_good_answer_wins_over_errors() {
        let responders = Responders::default();
        let mut bad = responders.serve(names(&["q"]), "bad").unwrap();
        let mut good = responders.serve(names(&["*"]), "good").unwrap();
        let run = responders.run(&query("q"));
        bad.next().await.answer(Err("no".to_owned()));
        good.next().await.answer(Ok(Answer::new("yes")));
        assert_eq!(run.await, Outcome::Answer(Answer::new("yes")));
        assert_eq!(responders.run(&query("other")).now_or(&mut good).await, ());
    }

    /// Lets the only responder that is asked pass.
    trait NowOr {
        async fn now_or(self, responder: &mut Responder);
    }

    impl<F: Future<Output = Outcome>> NowOr for F {
        async fn now_or(self, responder: &mut Responder) {
            let (outcome, ()) = tokio::join!(self, async { responder.next().await.pass() });
            assert_eq!(outcome, Outcome::Nothing);
        }
    }

    #[tokio::test]
    async fn without_a_good_answer_all_errors_are_told() {
        let responders = Responders::default();
        assert_eq!(responders.run(&query("q")).await, Outcome::Nothing);
        let mut one = responders.serve(names(&["q"]), "one").unwrap();
        let two = responders.serve(names(&["q"]), "two").unwrap();
        let run = responders.run(&query("q"));
        one.next().await.answer(Err("disk full".to_owned()));
        drop(two);
        let Outcome::Failed(text) = run.await else {
            panic!("an answer came from nowhere");
        };
        assert!(text.contains("disk full") && text.contains(GONE), "{text}");
    }

    #[tokio::test]
    async fn a_full_queue_is_answered_busy() {
        let responders = Responders::default();
        let _asleep = responders.serve(names(&["q"]), "asleep").unwrap();
        let waiting: Vec<_> = (0..RESPONDER_JOBS_MAX)
            .map(|_| responders.run(&query("q")))
            .collect();
        let outcome = responders.run(&query("q")).await;
        assert_eq!(outcome, Outcome::Failed("busy".to_owned()));
        assert_eq!(responders.shared.metrics.busy.get(), 1);
        drop(waiting);
    }

    #[tokio::test]
    async fn names_can_change_and_a_dropped_one_is_not_asked() {
        let responders = Responders::default();
        let mut one = responders.serve(names(&["q"]), "one").unwrap();
        one.rename(names(&["r"]));
        assert_eq!(responders.run(&query("q")).await, Outcome::Nothing);
        let run = responders.run(&query("r"));
        let mut job = one.next().await;
        assert!(!job.is_unwanted());
        drop(run);
        job.unwanted().await;
        assert!(!job.answer(Ok(Answer::default())));
        assert_eq!(responders.shared.metrics.responders.get(), 1);
        drop(one);
        assert_eq!(responders.run(&query("r")).await, Outcome::Nothing);
        assert_eq!(responders.shared.metrics.responders.get(), 0);
    }

    #[tokio::test]
    async fn what_is_too_long_is_cut_and_said_so() {
        let responders = Responders::default();
        let mut one = responders.serve(names(&["q"]), "one").unwrap();
        let run = responders.run(&query("q"));
        let long = vec![b'x'; ANSWER_BYTES_MAX + 1];
        let payload = long.into();
        let truncated = false;
        one.next().await.answer(Ok(Answer { payload, truncated }));
        let Outcome::Answer(answer) = run.await else {
            panic!("no answer");
        };
        assert!(answer.truncated);
        assert_eq!(answer.payload.len(), ANSWER_BYTES_MAX);
        let run = responders.run(&query("q"));
        one.next().await.answer(Err("é".repeat(ERROR_BYTES_MAX)));
        let Outcome::Failed(text) = run.await else {
            panic!("no error");
        };
        assert!(text.len() <= ERROR_BYTES_MAX && text.ends_with("..."));
    }
}
