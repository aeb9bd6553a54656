//! The task that keeps the view true: subscribe first, list second, and look at each
//! container that changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::RngExt as _;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::error::DockerError;
use super::event::News;
use super::lines::{Line, Lines};
use super::metrics::Metrics;
use super::pending::Pending;
use super::summary::Summary;
use super::view::View;
use super::{Container, Inspected};

/// Time between looks at whether the engine still answers; an engine that hangs says
/// nothing else.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Time between lists, in case the engine forgot to tell of a change.
const LIST_EVERY: Duration = Duration::from_secs(60);

/// Shortest pause before the engine is tried again; doubled each time it fails.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Events that are read before the first inspect; the engine keeps 256. What is beyond
/// is read meanwhile.
const TOLD_AGAIN_MAX: usize = 1_024;

/// Follows one engine for ever.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) view: View,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
}

/// What is being asked.
type Jobs = FuturesUnordered<BoxFuture<'static, Answer>>;

enum Answer {
    Inspected(Arc<str>, Result<Inspected, DockerError>),
    Listed(Result<Vec<Summary>, DockerError>),
    Pinged(Result<(), DockerError>),
}

/// One connection to the engine that holds.
struct Session {
    events: Lines,
    pending: Pending,
    jobs: Jobs,
    /// Version of the engine.
    engine: String,
    live: bool,
    /// A list is wanted out of turn.
    relist: bool,
    listing: bool,
    pinging: bool,
}

impl Follower {
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut pause = PAUSE_MIN;
        let stop = self.stop.clone();
        loop {
            let mut was_live = false;
            let error = tokio::select! {
                ended = self.follow(&mut was_live) => match ended {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
                () = stop.cancelled() => return Ok(()),
            };
            self.lost(&error, was_live);
            if was_live {
                pause = PAUSE_MIN;
            }
            let jitter = rand::rng().random_range(0.5..1.0);
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
                () = stop.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn lost(&mut self, error: &DockerError, was_live: bool) {
        let error = error.chain();
        if !self.view.publish_away(error.clone()) {
            return;
        }
        match was_live {
            true => tracing::warn!(error, "the Docker engine is away"),
            false => tracing::info!(error, "no Docker engine yet"),
        }
    }

    /// Follows the engine until that fails.
    async fn follow(&mut self, live: &mut bool) -> Result<Infallible, DockerError> {
        let mut session = self.begin().await?;
        self.catch_up(&mut session)?;
        let mut ping = every(PING_EVERY);
        let mut list = every(LIST_EVERY);
        loop {
            self.ask(&mut session);
            if session.pending.is_settled() {
                if !session.live {
                    session.live = true;
                    *live = true;
                    tracing::info!(version = session.engine, "the Docker engine is followed");
                }
                self.view.publish_live(&session.engine);
            }
            let due = session.pending.due();
            tokio::select! {
                line = session.events.next() => match line? {
                    Some(line) => self.told(&mut session, &line),
                    None => return Err(DockerError::broken("GET /events", "the engine ended it")),
                },
                Some(answer) = session.jobs.next(), if !session.jobs.is_empty() => {
                    self.answered(&mut session, answer)?;
                }
                () = until(due), if due.is_some() => {}
                _ = list.tick() => session.relist = true,
                _ = ping.tick(), if !session.pinging => {
                    session.pinging = true;
                    let client = self.client.clone();
                    let ping = async move { Answer::Pinged(client.ping().await) };
                    session.jobs.push(ping.boxed());
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<Session, DockerError> {
        let api = self.client.negotiate().await?;
        if api.is_too_new() {
            let version = api.version.to_string();
            tracing::warn!(
                version,
                "this engine leaves out fields that programs may read"
            );
        }
        let events = self.client.events(api.clock).await?;
        self.metrics.lists.inc();
        let listed = self.client.list().await?;
        self.view.heard(SystemTime::now());
        let mut pending = Pending::default();
        for id in self.view.keep(&listed) {
            pending.settle(id);
        }
        Ok(Session {
            events,
            pending,
            jobs: Jobs::new(),
            engine: api.engine.clone(),
            live: false,
            relist: false,
            listing: false,
            pinging: false,
        })
    }

    /// Reads what came before the first inspect, such as events of before that the engine
    /// told again: the inspects show it anyway.
    fn catch_up(&mut self, session: &mut Session) -> Result<(), DockerError> {
        for _ in 0..TOLD_AGAIN_MAX {
            match session.events.next().now_or_never() {
                Some(Ok(Some(line))) => self.told(session, &line),
                Some(Err(error)) => return Err(error),
                Some(Ok(None)) | None => break,
            }
        }
        Ok(())
    }

    /// Asks for what is to be known now.
    fn ask(&self, session: &mut Session) {
        while let Some(id) = session.pending.take(Instant::now()) {
            self.metrics.inspects.inc();
            let client = self.client.clone();
            let inspect = async move {
                let answer = client.inspect(&id).await;
                Answer::Inspected(id, answer)
            };
            session.jobs.push(inspect.boxed());
        }
        if session.relist && !session.listing && session.live {
            session.relist = false;
            session.listing = true;
            self.metrics.lists.inc();
            let client = self.client.clone();
            let list = async move { Answer::Listed(client.list().await) };
            session.jobs.push(list.boxed());
        }
    }

    /// An event came.
    fn told(&mut self, session: &mut Session, line: &Line) {
        self.view.heard(SystemTime::now());
        self.metrics.events.inc();
        let news = match line {
            Line::Text(text) => News::read(text),
            Line::TooLong => Err("it is too long".to_owned()),
        };
        match news {
            Ok(News::Nothing) => {}
            Ok(News::Changed(id)) => self.mark(session, id.into()),
            Ok(News::Gone(id)) => {
                session.pending.gone(&id);
                self.view.remove(&id);
            }
            Err(error) => {
                tracing::warn!(error, "an event of the Docker engine cannot be read");
                self.metrics.dropped.inc();
                session.relist = true;
            }
        }
    }

    fn mark(&self, session: &mut Session, id: Arc<str>) {
        if session.pending.mark(id, Instant::now()).is_err() {
            self.metrics.dropped.inc();
            session.relist = true;
        }
    }

    fn answered(&mut self, session: &mut Session, answer: Answer) -> Result<(), DockerError> {
        match answer {
            Answer::Pinged(answer) => {
                session.pinging = false;
                answer?;
                self.view.heard(SystemTime::now());
            }
            Answer::Listed(answer) => {
                session.listing = false;
                for id in self.view.differing(&answer?) {
                    self.mark(session, id);
                }
            }
            Answer::Inspected(id, answer) => {
                if session.pending.done(&id, Instant::now()) {
                    self.inspected(&id, answer);
                }
            }
        }
        Ok(())
    }

    /// A container that cannot be inspected is no reason to doubt the engine: pings are.
    /// It stays as it was until its next event or list.
    fn inspected(&mut self, id: &str, answer: Result<Inspected, DockerError>) {
        let container = match answer {
            Ok(inspected) => Container::try_from(inspected),
            Err(error) if error.is_missing() => {
                self.view.remove(id);
                return;
            }
            Err(error) => Err(error.chain()),
        };
        match container {
            Ok(container) => {
                self.view.heard(SystemTime::now());
                self.view.put(container);
            }
            Err(error) => {
                self.metrics.failed.inc();
                tracing::warn!(container = id, error, "cannot inspect a container");
            }
        }
    }
}

/// Ticks, the first after one period.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
