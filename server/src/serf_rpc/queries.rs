//! Queries: those that clients ask, and those that they answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_proto::v1::MemberFilter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::limits::PENDING_QUERIES_MAX;
use super::metrics::Metrics;
use super::outbox::{Gone, Outbox};
use super::record::{self, Payload, QueryEvent, QueryRecord};
use super::request;
use crate::hub::lock;
use crate::queries::{Answer, Answered, Ask, AskError, Job, Patterns, Responder};

/// Prefix of the names that serf keeps for itself.
const SERF_PREFIX: &str = "_serf_";

/// Type of the last record of a query.
const DONE: &str = "done";

/// Pause before the last record. The `serf` command forgets what it has not printed when
/// the end comes: with serf it never comes right after an answer.
const DONE_AFTER: Duration = Duration::from_millis(100);

/// Asks a query and tells what comes back, until all is told or the connection ends.
pub(crate) async fn ask(
    shared: &Shared,
    outbox: &Outbox,
    seq: u64,
    request: request::Query,
) -> Result<(), Gone> {
    let mut asking = match shared.asker.ask(question(request)).await {
        Ok(asking) => asking,
        Err(error) => return outbox.send(&record::head(seq, &refusal(&error))).await,
    };
    outbox.send(&record::head(seq, "")).await?;
    loop {
        let answered = tokio::select! {
            answered = asking.next() => answered,
            () = outbox.cut_token().cancelled() => return Err(Gone),
        };
        let Some(answered) = answered else {
            return Ok(());
        };
        let Some(told) = told(answered) else {
            continue;
        };
        if told.kind == DONE {
            tokio::select! {
                () = sleep(DONE_AFTER) => {}
                () = outbox.cut_token().cancelled() => return Err(Gone),
            }
        }
        shared.metrics.records.inc();
        outbox.send(&record::with_body(seq, "", &told)).await?;
    }
}

fn question(request: request::Query) -> Ask {
    // serf's expressions match any part of a tag, ours the whole.
    let part = |(tag, pattern): (String, String)| (tag, format!("(?s:.*)(?:{pattern})(?s:.*)"));
    let timeout = u64::try_from(request.timeout).unwrap_or(0);
    Ask {
        name: request.name,
        payload: request.payload.0,
        target: MemberFilter {
            names: request.filter_nodes,
            tags: request.filter_tags.into_iter().map(part).collect(),
            ..MemberFilter::default()
        },
        timeout: (timeout > 0).then(|| Duration::from_nanos(timeout)),
        want_ack: request.request_ack,
    }
}

/// In serf's words where it has some.
fn refusal(error: &AskError) -> String {
    if let AskError::Reserved(name) = error
        && name.starts_with(SERF_PREFIX)
    {
        return format!("Queries cannot contain the '{SERF_PREFIX}' prefix");
    }
    error.to_string()
}

/// What a client is told of it; of the begin nothing, and of a failed answer nothing,
/// for which the protocol has no record.
fn told(answered: Answered) -> Option<QueryRecord> {
    let record = |kind, from: &str, payload| QueryRecord {
        from: from.to_owned(),
        payload: Payload(payload),
        kind,
    };
    match answered {
        Answered::Started { .. } => None,
        Answered::Ack { member } => Some(record("ack", &member, Default::default())),
        Answered::Answer {
            member,
            result: Ok(payload),
            ..
        } => Some(record("response", &member, payload)),
        Answered::Answer {
            member,
            result: Err(error),
            ..
        } => {
            tracing::debug!(%member, error, "a member could not answer a query of serf's RPC");
            None
        }
        Answered::Done { .. } => Some(record(DONE, "", Default::default())),
    }
}

/// Queries that a client was told of and may answer. Whoever drops them leaves them to
/// others.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    jobs: BTreeMap<u64, Job>,
}

impl Pending {
    /// The number of a query that is only shown.
    fn number(&self) -> u64 {
        let mut waiting = lock(&self.0);
        waiting.last += 1;
        waiting.last
    }

    /// Keeps a query; its number for this client. One too many is given back.
    fn keep(&self, job: Job) -> Result<u64, Job> {
        let mut waiting = lock(&self.0);
        if waiting.jobs.len() >= PENDING_QUERIES_MAX {
            waiting.jobs.retain(|_, job| !job.is_unwanted());
        }
        if waiting.jobs.len() >= PENDING_QUERIES_MAX {
            return Err(job);
        }
        waiting.last += 1;
        let id = waiting.last;
        waiting.jobs.insert(id, job);
        Ok(id)
    }

    /// Answers a query; the error, empty if there is none.
    pub(crate) fn respond(&self, request: request::Respond) -> &'static str {
        let Some(job) = lock(&self.0).jobs.remove(&request.id) else {
            return "No pending queries matching ID";
        };
        match job.answer(Ok(Answer::new(request.payload.0))) {
            true => "",
            false => "response is past the deadline",
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for (_, job) in std::mem::take(&mut self.jobs) {
            job.pass();
        }
    }
}

/// Tells a client of queries.
#[derive(Debug)]
pub(crate) struct QueryStream {
    responder: Responder,
    /// Whether the client may answer; if not, nobody waits for it to.
    may_answer: bool,
    pending: Arc<Pending>,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    seq: u64,
}

impl QueryStream {
    /// Begins to take queries of those names.
    ///
    /// # Errors
    /// There are too many who do.
    pub(crate) fn begin(
        shared: &Shared,
        outbox: Arc<Outbox>,
        pending: Arc<Pending>,
        seq: u64,
        (names, may_answer): (Vec<String>, bool),
    ) -> Result<Self, String> {
        let names = Patterns::new(names).map_err(|error| error.to_string())?;
        let served = shared.responders.serve(names, "a stream of serf's RPC");
        Ok(Self {
            responder: served.map_err(|error| error.to_string())?,
            may_answer,
            pending,
            metrics: shared.metrics.clone(),
            outbox,
            seq,
        })
    }

    /// Hands queries out until `stopped`, or until the connection ends.
    pub(crate) async fn run(mut self, stopped: CancellationToken) {
        loop {
            let job = tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                () = self.outbox.cut_token().cancelled() => return,
                job = self.responder.next() => job,
            };
            if self.hand_out(job).await.is_err() {
                return;
            }
        }
    }

    async fn hand_out(&self, job: Job) -> Result<(), Gone> {
        let query = Arc::clone(&job.query);
        let id = if self.may_answer {
            match self.pending.keep(job) {
                Ok(id) => id,
                Err(job) => {
                    self.metrics.denied("busy_query");
                    let _heard = job.answer(Err("busy".to_owned()));
                    return Ok(());
                }
            }
        } else {
            job.pass();
            self.pending.number()
        };
        let record = QueryEvent {
            event: "query",
            id,
            lamport: query.lamport,
            name: query.name.clone(),
            payload: Payload(query.payload.clone()),
        };
        self.metrics.records.inc();
        let record = record::with_body(self.seq, "", &record);
        self.outbox.send(&record).await
    }
}
