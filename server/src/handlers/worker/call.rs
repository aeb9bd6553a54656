//! One call of the program of a handler.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::contract::{self, Surroundings};
use super::super::job::Cause;
use super::super::metrics::RunLabel;
use super::super::results::{Board, CallResult};
use super::super::{Common, Definition, json};
use crate::process::{self, Keep, Outcome, Ran, Run};
use crate::queries::{ANSWER_BYTES_MAX, Answer, Job};

/// Bytes of output of a call that are kept for the log, the last ones.
pub(super) const LOGGED_BYTES_MAX: usize = 8 << 10;

/// Bytes of standard error that an asker is told when a query failed.
pub(super) const ERROR_TAIL_BYTES_MAX: usize = 1 << 10;

/// Makes calls. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    definition: Arc<Definition>,
    common: Arc<Common>,
    board: Board,
    /// Kills calls.
    pub(super) stop: CancellationToken,
}

impl Caller {
    pub(super) fn new(definition: Arc<Definition>, common: Arc<Common>, board: Board) -> Self {
        Self {
            definition,
            common,
            board,
            stop: CancellationToken::new(),
        }
    }

    /// Calls the program and notes how it went.
    pub(super) async fn call(self, cause: Cause) {
        let timeout = self.definition.timeout;
        self.run(&cause, timeout, Keep::Last(LOGGED_BYTES_MAX))
            .await;
    }

    /// Lets the program answer a query: what it prints if it ends with 0 and prints
    /// anything, else why not.
    pub(super) async fn answer(self, job: Job) {
        let query = Arc::clone(&job.query);
        if job.is_unwanted() || query.deadline <= Instant::now() {
            job.answer(Err("nobody was free in time".to_owned()));
            return;
        }
        let left = query.deadline.saturating_duration_since(Instant::now());
        let timeout = self.definition.timeout.min(left);
        let cause = Cause::Query(query);
        let ran = self
            .run(&cause, timeout, Keep::First(ANSWER_BYTES_MAX))
            .await;
        let answer = if !ran.outcome.is_success() {
            Err(failure(&ran))
        } else if ran.stdout.total == 0 {
            job.pass();
            return;
        } else {
            Ok(Answer {
                payload: ran.stdout.bytes(),
                truncated: ran.stdout.is_truncated(),
            })
        };
        if !job.answer(answer) {
            tracing::debug!(
                handler = self.definition.label,
                "nobody waited for the answer"
            );
        }
    }

    async fn run(&self, cause: &Cause, timeout: Duration, stdout: Keep) -> Ran {
        let me = self.common.me();
        let wait = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_unix_ms = unix_ms().saturating_add(wait);
        let around = Surroundings {
            me: &me,
            socket: &self.common.socket,
            serf_rpc: self.common.serf_rpc.as_deref(),
            deadline_unix_ms,
        };
        let stdin = if self.definition.json {
            json::stdin(cause, &me, deadline_unix_ms)
        } else {
            contract::stdin(cause)
        };
        let run = Run {
            program: self.definition.program.clone(),
            environment: contract::environment(self.common.environment.clone(), cause, &around),
            stdin,
            user: self.common.user.clone(),
            timeout,
            stdout,
            stderr: Keep::Last(LOGGED_BYTES_MAX),
        };
        let ran = process::run(run, &self.stop).await;
        self.note(cause, &ran);
        ran
    }

    fn note(&self, cause: &Cause, ran: &Ran) {
        let handler = self.definition.label.as_str();
        let metrics = &self.common.metrics;
        let label = RunLabel {
            handler: handler.to_owned(),
            outcome: word(&ran.outcome),
        };
        metrics.runs.get_or_create(&label).inc();
        metrics.seconds.observe(ran.took.as_secs_f64());
        let kept = ran.stdout.bytes().len() + ran.stderr.bytes().len();
        let printed = ran.stdout.total + ran.stderr.total;
        metrics
            .output_cut
            .inc_by(printed.saturating_sub(kept as u64));
        let ok = ran.outcome.is_success();
        self.board.ended(CallResult {
            name: cause.name().to_owned(),
            at_unix_ms: unix_ms(),
            took: ran.took,
            outcome: ran.outcome.to_string(),
            ok,
        });
        let (event, name, id) = (cause.word(), cause.name(), cause.id());
        let stderr = ran.stderr.text();
        // An answer may be large, and is nobody's business but the asker's.
        let stdout = match cause {
            Cause::Query(_) => String::new(),
            Cause::Members { .. } | Cause::User { .. } => ran.stdout.text(),
        };
        let (outcome, took) = (&ran.outcome, ran.took);
        if ok {
            tracing::debug!(
                handler,
                event,
                name,
                id,
                ?took,
                stdout,
                stderr,
                "handler ran"
            );
        } else {
            tracing::warn!(handler, event, name, id, ?took, %outcome, stdout, stderr, "handler failed");
        }
    }
}

/// What an asker is told of a failure.
fn failure(ran: &Ran) -> String {
    let text = ran.stderr.text();
    let mut from = text.len().saturating_sub(ERROR_TAIL_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    match &text[from..] {
        "" => ran.outcome.to_string(),
        tail => format!("{}: {tail}", ran.outcome),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Exited(0) => "ok",
        Outcome::Exited(_) | Outcome::Signaled(_) => "failed",
        Outcome::TimedOut(_) => "timeout",
        Outcome::Stopped => "stopped",
        Outcome::NotStarted(_) => "not_started",
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
