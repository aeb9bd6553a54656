//! The queries that this node asks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use muster_engine::name::{NameError, RESERVED_PREFIXES, check_query_name};
use muster_engine::{EventDraft, EventKind, Member};
use muster_proto::peer::query_peer_service_server::QueryPeerServiceServer;
use muster_proto::v1 as pb;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::progress::Progress;
use super::service::Service;
use super::watcher::Watcher;
use super::{
    ANSWERS_BYTES_MAX, ASKED_MAX, Answer, PING, QueryId, SERF_PING, TIMEOUT_MAX, TIMEOUT_MIN,
    default_timeout,
};
use crate::daemon::supervisor::Tasks;
use crate::filter::{Filter, FilterError};
use crate::gossip::{CommandError, Handle};
use crate::hub::{Hub, lock};
use crate::peers::{MESSAGE_BYTES_MAX, Me};

/// What was told about one query and not taken by whoever asked. At the bound members
/// wait with their answers.
const TOLD_MAX: usize = 64;

/// Unit of the room for answers, bytes.
pub(super) const ROOM_UNIT: usize = 1 << 10;

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Name in the grammar of events; of the reserved ones only the pings.
    pub name: String,
    /// At most the limit of event payloads.
    pub payload: Bytes,
    /// Whom to ask; an empty one asks every live member, this node included.
    pub target: pb::MemberFilter,
    /// How long to wait; `None` follows from the size of the cluster.
    pub timeout: Option<Duration>,
    /// Also tell who got it.
    pub want_ack: bool,
}

/// Why a question is not asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The name breaks the grammar.
    #[error("name: {0}")]
    BadName(#[from] NameError),
    /// Only the system asks that.
    #[error("name: {0} is reserved for the system")]
    Reserved(String),
    /// The target makes no sense.
    #[error(transparent)]
    BadTarget(#[from] FilterError),
    /// The timeout is out of bounds.
    #[error("timeout: must be between {TIMEOUT_MIN:?} and {TIMEOUT_MAX:?}")]
    BadTimeout,
    /// [`ASKED_MAX`] are under way.
    #[error("{ASKED_MAX} queries wait for answers, more are not taken")]
    TooMany,
    /// It could not be sent before its own end.
    #[error("the query could not be sent within its timeout")]
    NotSent,
    /// The engine did not take it.
    #[error(transparent)]
    Engine(#[from] CommandError),
}

/// What comes back, in this order: started, then acknowledgements and answers as they
/// come, then done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The question is on its way.
    Started {
        /// Which it is.
        id: QueryId,
        /// Live members that match, by display name.
        expected: Vec<Arc<str>>,
        /// When `Done` comes at the latest.
        deadline: Instant,
    },
    /// A member got it. Only if acknowledgements are wanted; at most once per run of a
    /// member.
    Ack {
        /// Its display name.
        member: Arc<str>,
    },
    /// A member answered, at most once.
    Answer {
        /// Its display name.
        member: Arc<str>,
        /// The answer, or why there is none.
        result: Result<Bytes, String>,
        /// The answer was longer.
        truncated: bool,
    },
    /// Every expected member is done, failed or left, or the time is over.
    Done {
        /// Acknowledgements told.
        acks: usize,
        /// Answers told, errors included.
        answers: usize,
        /// Expected members that gave no sign.
        silent: Vec<Arc<str>>,
        /// Expected members that got it and did not answer in time.
        unfinished: Vec<Arc<str>>,
    },
}

/// Asks. Clones share everything.
#[derive(Debug, Clone)]
pub struct Asker {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Metrics,
    handle: Handle,
    me: Me,
    tasks: Tasks,
    asks: Mutex<BTreeMap<Key, Arc<Asked>>>,
    /// Queries on their way to the engine: their ids are not known yet, and answers may
    /// be faster.
    launching: watch::Sender<usize>,
    places: Arc<Semaphore>,
    /// In [`ROOM_UNIT`]s.
    pub(super) room: Arc<Semaphore>,
}

/// Boot and sequence.
pub(super) type Key = (u64, u64);

/// One query that waits for answers.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Bytes,
    pub(super) want_ack: bool,
    pub(super) progress: Mutex<Progress>,
    /// Somebody is done.
    pub(super) changed: Notify,
    /// Nobody waits any more.
    pub(super) over: CancellationToken,
    pub(super) told: mpsc::Sender<Told>,
}

/// Something for whoever asked, with the room that it takes.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) answered: Answered,
    pub(super) hold: Option<OwnedSemaphorePermit>,
}

/// The answers to one question. Dropped, the question is given up: who has not answered
/// yet is told so. Ends without `Done` only when the daemon stops.
#[derive(Debug)]
pub struct Asking {
    told: mpsc::Receiver<Told>,
    acks: usize,
    answers: usize,
    /// Room of what was told last.
    hold: Option<OwnedSemaphorePermit>,
    over: bool,
}

/// Counts a query as launching while it lives.
struct Launching<'a>(&'a watch::Sender<usize>);

impl<'a> Launching<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Asker {
    /// For a node.
    #[must_use]
    pub fn new(hub: Arc<Hub>, handle: Handle, me: Me, tasks: Tasks, metrics: Metrics) -> Self {
        let inner = Inner {
            hub,
            metrics,
            handle,
            me,
            tasks,
            asks: Mutex::default(),
            launching: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(ASKED_MAX)),
            room: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX / ROOM_UNIT)),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What peers call to answer.
    pub(crate) fn service(&self) -> QueryPeerServiceServer<Service> {
        let service = QueryPeerServiceServer::new(Service::new(self.clone()));
        service.max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Asks. A question that nobody matches is not sent and done at once.
    ///
    /// # Errors
    /// Why it is not asked.
    pub async fn ask(&self, ask: Ask) -> Result<Asking, AskError> {
        let inner = &self.inner;
        check_name(&ask.name)?;
        let target = Bytes::copy_from_slice(Filter::compile(ask.target.clone())?.key());
        let members = inner.hub.meant(&target);
        let patience = inner.patience(&ask)?;
        let Ok(place) = Arc::clone(&inner.places).try_acquire_owned() else {
            inner.metrics.refused.inc();
            return Err(AskError::TooMany);
        };
        let (told, asking) = channel();
        let deadline = Instant::now() + patience;
        let asked = Arc::new(Asked {
            target,
            want_ack: ask.want_ack,
            progress: Mutex::new(Progress::new(members.iter().map(|m| standing(m)))),
            changed: Notify::new(),
            over: CancellationToken::new(),
            told,
        });
        let expected = lock(&asked.progress).expected();
        let key = if expected.is_empty() {
            let key = (inner.me.boot(), 0);
            inner.begin(&asked, key, deadline);
            key
        } else {
            inner.launch(ask, &asked, deadline).await?
        };
        inner.metrics.asked.inc();
        let watcher = Watcher::new(Arc::clone(inner), asked, key, deadline, place);
        let watching = watcher.run(inner.tasks.stop_token());
        inner.tasks.spawn_guarded("query", watching);
        Ok(asking)
    }

    /// The query with that key, also if it is only just being sent.
    pub(super) async fn find(&self, key: Key) -> Option<Arc<Asked>> {
        let mut launching = self.inner.launching.subscribe();
        let finding = async {
            loop {
                // Before the look: what is sent after it has another key.
                let some = *launching.borrow_and_update() > 0;
                let found = lock(&self.inner.asks).get(&key).cloned();
                if found.is_some() || !some || launching.changed().await.is_err() {
                    return found;
                }
            }
        };
        timeout(LAUNCH_WAIT, finding).await.ok().flatten()
    }
}

/// How long an answer waits for its question to be known.
const LAUNCH_WAIT: Duration = Duration::from_secs(2);

impl Inner {
    fn patience(&self, ask: &Ask) -> Result<Duration, AskError> {
        match ask.timeout {
            Some(given) if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&given) => Ok(given),
            Some(_) => Err(AskError::BadTimeout),
            None => Ok(default_timeout(self.hub.meant(&Bytes::new()).len())),
        }
    }

    /// Sends it and waits for its answers from then on.
    async fn launch(
        &self,
        ask: Ask,
        asked: &Arc<Asked>,
        deadline: Instant,
    ) -> Result<Key, AskError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let draft = EventDraft {
            kind: EventKind::Query,
            target: asked.target.clone(),
            timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            want_ack: ask.want_ack,
            ..EventDraft::new(ask.name, ask.payload)
        };
        let _launching = Launching::new(&self.launching);
        let sent = timeout_at(deadline, self.handle.send_event(draft)).await;
        let accepted = sent.map_err(|_elapsed| AskError::NotSent)??;
        let key = (accepted.boot, accepted.sequence);
        // Before anybody can find it: the start is told before all else.
        self.begin(asked, key, deadline);
        lock(&self.asks).insert(key, Arc::clone(asked));
        self.metrics.asking.inc();
        Ok(key)
    }

    /// Tells the start of a query; the queue is empty.
    fn begin(&self, asked: &Asked, (boot, sequence): Key, deadline: Instant) {
        let id = QueryId {
            origin: Arc::clone(self.me.name()),
            boot,
            sequence,
        };
        let expected = lock(&asked.progress).expected();
        tracing::debug!(%id, expected = expected.len(), "query asked");
        let answered = Answered::Started {
            id,
            expected,
            deadline,
        };
        let hold = None;
        let _gone = asked.told.try_send(Told { answered, hold }).is_err();
    }

    /// Nobody waits for it any more.
    pub(super) fn end(&self, key: Key) {
        if lock(&self.asks).remove(&key).is_some() {
            self.metrics.asking.dec();
        }
    }
}

/// A reserved name is refused, but for the pings.
fn check_name(name: &str) -> Result<(), AskError> {
    check_query_name(name)?;
    let reserved = RESERVED_PREFIXES.iter().any(|p| name.starts_with(p));
    if reserved && name != PING && name != SERF_PING {
        return Err(AskError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// As whom a member is known in a query.
pub(super) fn standing(member: &Member) -> (Arc<str>, u64) {
    (Arc::clone(member.display_name()), member.boot)
}

fn channel() -> (mpsc::Sender<Told>, Asking) {
    let (sender, told) = mpsc::channel(TOLD_MAX);
    let asking = Asking {
        told,
        acks: 0,
        answers: 0,
        hold: None,
        over: false,
    };
    (sender, asking)
}

impl Stream for Asking {
    type Item = Answered;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answered>> {
        let this = &mut *self;
        this.hold = None;
        if this.over {
            return Poll::Ready(None);
        }
        let told = std::task::ready!(this.told.poll_recv(cx));
        Poll::Ready(told.map(|told| {
            this.hold = told.hold;
            let mut answered = told.answered;
            match &mut answered {
                Answered::Started { .. } => {}
                Answered::Ack { .. } => this.acks += 1,
                Answered::Answer { .. } => this.answers += 1,
                Answered::Done { acks, answers, .. } => {
                    (*acks, *answers) = (this.acks, this.answers);
                    this.over = true;
                }
            }
            answered
        }))
    }
}

impl Answered {
    pub(super) fn answer(member: Arc<str>, answer: Answer) -> Self {
        Self::Answer {
            member,
            truncated: answer.truncated,
            result: Ok(answer.payload),
        }
    }
}
