//! One handler: takes what concerns it from the hub, runs its program, keeps order.
//!
//! Members, user events and queries of one handler do not wait for each other. Calls
//! about members come one at a time; user events come one at a time for each origin;
//! queries come side by side. While the queue is full the ring is not read: a handler
//! that stays behind until the ring has moved on misses events, and that is counted.

mod call;
mod feed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use muster_engine::{Event, Origin};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::call::Caller;
use super::cursors::CursorStore;
use super::job::Cause;
use super::lanes::{Lane, Lanes};
use super::members::{Batch, Tracker};
use super::metrics::{HandlerLabel, Metrics};
use super::progress::Progress;
use super::results::Board;
use super::{Common, Definition};
use crate::coalesce::Coalescer;
use crate::queries::{Job, Responder};

/// After how much quiet the exact cursors are written.
const IDLE: Duration = Duration::from_secs(1);

/// An event in the queue.
#[derive(Debug)]
struct Waiting {
    event: Arc<Event>,
    redelivered: bool,
}

/// What a call was for, once it ended.
#[derive(Debug)]
enum Done {
    Members,
    User {
        lane: Lane,
        origin: Origin,
        sequence: u64,
    },
    Query,
}

/// Where a worker begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// The daemon starts.
    Start,
    /// The daemon runs already.
    Now,
}

/// How a worker is told to end.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// The handler is no longer wanted: calls under way may end.
    pub(super) retire: CancellationToken,
    /// The daemon ends.
    pub(super) stop: CancellationToken,
    /// How long calls may go on then.
    pub(super) grace: Duration,
}

/// The worker of one handler.
#[derive(Debug)]
pub(super) struct Worker {
    definition: Arc<Definition>,
    common: Arc<Common>,
    caller: Caller,
    board: Board,
    label: HandlerLabel,
    /// Index of the ring entry to read next.
    index: u64,
    progress: Progress,
    lanes: Lanes<Waiting>,
    /// Events whose sender lets a newer one of the same name take their place.
    merging: Coalescer<String, Waiting>,
    tracker: Option<Tracker>,
    batches: VecDeque<Batch>,
    members_out: bool,
    queries_out: usize,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Worker {
    /// A worker that begins now, or, when the daemon has just started, with whatever
    /// the ring holds by now and a former run has not had.
    pub(super) fn new(
        definition: Arc<Definition>,
        common: Arc<Common>,
        board: Board,
        begin: Begin,
    ) -> Self {
        let label = HandlerLabel {
            handler: definition.label.clone(),
        };
        let ring = common.hub.events();
        let (index, before) = match begin {
            Begin::Start => (
                ring.join_oldest().index,
                common.cursors.get(&definition.key),
            ),
            Begin::Now => (ring.at_head().0, None),
        };
        let progress = Progress::new(definition.redeliver, before);
        let tracker = definition
            .spec
            .wants_members()
            .then(|| Tracker::new(common.windows));
        let merging = Coalescer::new(common.windows);
        let worker = Self {
            caller: Caller::new(Arc::clone(&definition), Arc::clone(&common), board.clone()),
            definition,
            common,
            board,
            label,
            index,
            progress,
            lanes: Lanes::default(),
            merging,
            tracker,
            batches: VecDeque::new(),
            members_out: false,
            queries_out: 0,
            running: FuturesUnordered::new(),
        };
        worker.tell_uncertain();
        worker
    }

    /// Works until told to end.
    pub(super) async fn run(mut self, mut queries: Option<Responder>, ends: Ends) {
        let hub = Arc::clone(&self.common.hub);
        let mut ring = hub.events().subscribe();
        let mut members = hub.members().subscribe();
        let mut quiet_since = Instant::now();
        loop {
            ring.mark_unchanged();
            members.mark_unchanged();
            self.look_at_members();
            self.start_member_call();
            self.take_merged();
            self.read_ring();
            // What was started made room.
            while self.start_events().await && self.has_room() {
                self.read_ring();
            }
            self.show_load();
            let due = self.due();
            let may_ask = self.queries_out < self.definition.concurrency;
            let idle = self.lanes.is_idle() && self.progress.is_dirty();
            tokio::select! {
                biased;
                () = ends.stop.cancelled() => break,
                () = ends.retire.cancelled() => break,
                Some(done) = self.running.next(), if !self.running.is_empty() => {
                    self.finish(done).await;
                    quiet_since = Instant::now();
                }
                () = changed(&mut ring), if self.has_room() => quiet_since = Instant::now(),
                () = changed(&mut members), if self.tracker.is_some() => {}
                () = at(due), if due.is_some() => {}
                job = next(&mut queries), if may_ask => self.start_query(job),
                () = tokio::time::sleep_until(quiet_since + IDLE), if idle => {
                    self.settle().await;
                }
            }
        }
        drop(queries);
        self.end(&ends).await;
    }

    fn has_room(&self) -> bool {
        self.lanes.queued() < self.definition.queue
    }

    /// When something that was collected is to be told.
    fn due(&self) -> Option<Instant> {
        let events = self.merging.deadline();
        self.members_due().into_iter().chain(events).min()
    }

    /// When members are to be told, if nothing else has to end first.
    fn members_due(&self) -> Option<Instant> {
        let due = self.tracker.as_ref().and_then(Tracker::due);
        due.filter(|_| !self.members_out && self.batches.is_empty())
    }

    fn look_at_members(&mut self) {
        let now = Instant::now();
        let due = self.members_due();
        let Some(tracker) = &mut self.tracker else {
            return;
        };
        tracker.look(self.common.hub.members(), now);
        if due.is_some_and(|due| due <= now) {
            let batches = tracker.tell();
            let wanted = batches
                .into_iter()
                .filter_map(|batch| self.definition.wanted(batch));
            self.batches.extend(wanted);
        }
    }

    fn start_member_call(&mut self) {
        if !self.members_out
            && let Some(batch) = self.batches.pop_front()
        {
            let members = batch.members.into_iter().map(|told| told.member).collect();
            let cause = Cause::Members {
                kind: batch.kind,
                members,
            };
            self.members_out = true;
            self.call(cause, Done::Members);
        }
    }

    /// Starts what may be started. Says whether anything was.
    async fn start_events(&mut self) -> bool {
        let mut any = false;
        while self.lanes.out() < self.definition.concurrency
            && let Some((lane, waiting)) = self.lanes.take()
        {
            let (origin, sequence) = (waiting.event.origin.clone(), waiting.event.sequence);
            if self.progress.start(&origin, sequence) {
                self.write().await;
            }
            let cause = Cause::User {
                event: waiting.event,
                redelivered: waiting.redelivered,
            };
            self.call(
                cause,
                Done::User {
                    lane,
                    origin,
                    sequence,
                },
            );
            any = true;
        }
        any
    }

    fn call(&mut self, cause: Cause, done: Done) {
        let caller = self.caller.clone();
        self.running.push(Box::pin(async move {
            caller.call(cause).await;
            done
        }));
    }

    fn start_query(&mut self, job: Job) {
        let caller = self.caller.clone();
        self.queries_out += 1;
        self.running.push(Box::pin(async move {
            caller.answer(job).await;
            Done::Query
        }));
    }

    async fn finish(&mut self, done: Done) {
        match done {
            Done::Members => self.members_out = false,
            Done::Query => self.queries_out -= 1,
            Done::User {
                lane,
                origin,
                sequence,
            } => {
                self.lanes.done(&lane);
                if self.progress.finish(&origin, sequence) {
                    self.write().await;
                }
            }
        }
    }

    async fn settle(&mut self) {
        if self.progress.settle() {
            self.write().await;
        }
    }

    /// Writes the cursors, away from this thread.
    async fn write(&mut self) {
        let cursors: &CursorStore = &self.common.cursors;
        cursors.note(&self.definition.key, self.progress.cursors());
        if !cursors.is_kept() {
            return;
        }
        let cursors = cursors.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || cursors.write()).await {
            tracing::warn!(%error, "cannot write the cursors of handlers");
        }
    }

    /// Lets calls end, kills those that the end of the daemon does not wait for, and
    /// writes where the handler stands.
    async fn end(mut self, ends: &Ends) {
        let kill = self.caller.stop.clone();
        let late = async {
            ends.stop.cancelled().await;
            tokio::time::sleep(ends.grace).await;
            kill.cancel();
        };
        let mut late = std::pin::pin!(late);
        let mut killed = false;
        while !self.running.is_empty() {
            tokio::select! {
                Some(done) = self.running.next() => self.finish(done).await,
                () = late.as_mut(), if !killed => killed = true,
            }
        }
        self.settle().await;
        self.metrics().forget(&self.label);
    }

    fn show_load(&self) {
        let running = self.running.len();
        let queued = self.lanes.queued();
        self.board.load(queued, running);
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let metrics = self.metrics();
        metrics
            .running
            .get_or_create(&self.label)
            .set(gauge(running));
        metrics.queued.get_or_create(&self.label).set(gauge(queued));
    }

    fn metrics(&self) -> &Metrics {
        &self.common.metrics
    }
}

async fn changed(watch: &mut watch::Receiver<u64>) {
    if watch.changed().await.is_err() {
        // The hub is gone, and so will be this.
        std::future::pending::<()>().await;
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn next(responder: &mut Option<Responder>) -> Job {
    match responder {
        Some(responder) => responder.next().await,
        None => std::future::pending().await,
    }
}
