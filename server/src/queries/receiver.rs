//! The queries that come to this node.

use std::sync::Arc;
use std::time::Duration;

use muster_engine::{Event, Member, Status};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::asker::Asker;
use super::delivery::Delivery;
use super::metrics::Metrics;
use super::responders::Responders;
use super::watcher::by_boot;
use super::{ANSWERING_MAX, Query, RECEIVED_MAX};
use crate::daemon::supervisor::Tasks;
use crate::hub::Hub;
use crate::peers::{Me, Peers};

/// How long the asker of a query may be unknown here.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);

/// Takes queries from the engine's thread, without waiting.
#[derive(Debug, Clone)]
pub struct Inbox {
    queue: mpsc::Sender<Arc<Event>>,
    metrics: Metrics,
}

/// Queries that wait to be looked at.
#[derive(Debug)]
pub struct Received(mpsc::Receiver<Arc<Event>>);

/// Answers them.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// What this node knows.
    pub hub: Arc<Hub>,
    /// This node.
    pub me: Me,
    /// The way to those who ask.
    pub peers: Peers,
    /// For the queries of this node itself.
    pub asker: Asker,
    /// Who answers.
    pub responders: Responders,
    /// Each query has a task.
    pub tasks: Tasks,
    /// What is counted.
    pub metrics: Metrics,
}

/// The way of queries from the engine to a [`Receiver`].
#[must_use]
pub fn inbox(metrics: Metrics) -> (Inbox, Received) {
    let (queue, received) = mpsc::channel(RECEIVED_MAX);
    (Inbox { queue, metrics }, Received(received))
}

impl Inbox {
    /// Takes a batch; drops and counts what is too much.
    pub fn put(&self, batch: Vec<Arc<Event>>) {
        for query in batch {
            self.metrics.received.inc();
            if self.queue.try_send(query).is_err() {
                self.metrics.dropped.inc();
            }
        }
    }
}

impl Receiver {
    /// Answers until the tasks are told to stop.
    ///
    /// # Errors
    /// None at present.
    pub async fn run(self, mut received: Received) -> anyhow::Result<()> {
        let stop = self.tasks.stop_token();
        let places = Arc::new(Semaphore::new(ANSWERING_MAX));
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = received.0.recv() => event,
            };
            let Some(event) = event else {
                stop.cancelled().await;
                return Ok(());
            };
            if !self.hub.is_for_me(&event) {
                self.metrics.elsewhere.inc();
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.metrics.dropped.inc();
                tracing::debug!(name = event.name, "too many queries at once, dropped one");
                continue;
            };
            let (receiver, stop) = (self.clone(), stop.clone());
            self.tasks.spawn_guarded("answer query", async move {
                let _place = place;
                tokio::select! {
                    () = receiver.answer(&event) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    async fn answer(&self, event: &Event) {
        let _answering = Answering::new(&self.metrics);
        let query = Arc::new(Query::new(event));
        let mut delivery = Delivery::new(Arc::clone(&query), &self.responders, &self.metrics);
        let mine = *query.id.origin == **self.me.name() && query.id.boot == self.me.boot();
        let delivering = async {
            if mine {
                return delivery.to_myself(&self.asker, &self.me).await;
            }
            if let Some(asker) = self.asker_of(&query).await {
                let lives = || self.lives(&query);
                delivery.to(self.peers.channel(asker.addr), lives).await;
            } else {
                self.metrics.unreachable.inc();
            }
        };
        if timeout_at(query.deadline, delivering).await.is_err() {
            self.metrics.unreachable.inc();
            tracing::debug!(id = %query.id, name = query.name, "query not answered in time");
        }
    }

    /// Whether the run of a member that asks is neither failed nor gone, as far as is
    /// known here.
    fn lives(&self, query: &Query) -> bool {
        let asker = by_boot(&self.hub, &query.id.origin, query.id.boot);
        asker.is_some_and(|asker| !matches!(asker.status, Status::Failed | Status::Left))
    }

    /// Who asks, once it is known here: a query may be faster than the news of a new
    /// member.
    async fn asker_of(&self, query: &Query) -> Option<Arc<Member>> {
        let mut members = self.hub.members().subscribe();
        let looking = async {
            loop {
                let found = by_boot(&self.hub, &query.id.origin, query.id.boot);
                if found.is_some() || members.changed().await.is_err() {
                    return found;
                }
            }
        };
        let patience = Instant::now() + UNKNOWN_MAX;
        timeout_at(patience, looking).await.ok().flatten()
    }
}

/// A gauge that is one higher while this lives.
struct Answering(Metrics);

impl Answering {
    fn new(metrics: &Metrics) -> Self {
        metrics.answering.inc();
        Self(metrics.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.dec();
    }
}
