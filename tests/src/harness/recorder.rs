//! Consumers that write down what they see, for the checkers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_proto::v1::event_service_client::EventServiceClient;
use muster_proto::v1::membership_service_client::MembershipServiceClient;
use muster_proto::v1::{
    MemberFilter, WatchEventsRequest, WatchEventsResponse, WatchMembersRequest,
    WatchMembersResponse,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::{Daemon, MemberView};
use crate::check::events::{self, EventHistory};
use crate::check::members::MemberHistory;
use crate::check::{History, Step};

/// Time between two tries to reach a daemon that is down.
const RETRY: Duration = Duration::from_millis(50);

/// A stream that is silent sends a heartbeat after this time.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A stream that says nothing for so long, though it must send heartbeats, is given up: its
/// daemon is stopped.
const SILENCE: Duration = Duration::from_secs(20);

/// Octets that a daemon may send ahead of the reader: few, so that with a daemon that dies
/// goes what was not read.
const WINDOW: u32 = 16 << 10;

/// Streams after which a consumer reads as many messages again.
const TURNS: usize = 4;

/// How a consumer reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habit {
    /// Opens a new stream after so many messages and up to three more, in turn, at the next
    /// of its daemons; 0: never.
    pub reopen_after: usize,
    /// Pauses for so long before each message.
    pub pause: Duration,
}

/// Where a daemon is met.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the daemon.
    pub name: String,
    /// Its API socket.
    pub socket: PathBuf,
}

impl From<&Daemon> for Place {
    fn from(daemon: &Daemon) -> Self {
        Self {
            name: daemon.name().to_owned(),
            socket: daemon.socket(),
        }
    }
}

type Shared<F, M> = Arc<Mutex<History<F, M>>>;

/// Consumers of some daemons. They read until [`Recorder::finish`], whatever happens to
/// the daemons, and resume with their tokens.
#[derive(Debug)]
pub struct Recorder {
    members: Vec<Shared<MemberFilter, WatchMembersResponse>>,
    events: Vec<Shared<Vec<String>, WatchEventsResponse>>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            events: Vec::new(),
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }
}

impl Recorder {
    /// A consumer of members and one of events at each of these daemons, of everything.
    #[must_use]
    pub fn of<'a>(daemons: impl IntoIterator<Item = &'a Daemon>) -> Self {
        let mut recorder = Self::default();
        for daemon in daemons {
            let place = [Place::from(daemon)];
            recorder.members(
                daemon.name(),
                &place,
                MemberFilter::default(),
                Habit::default(),
            );
            recorder.events(daemon.name(), &place, Vec::new(), Habit::default());
        }
        recorder
    }

    /// One more consumer of members; it begins at the first of these places. Its number.
    pub fn members(
        &mut self,
        name: &str,
        places: &[Place],
        filter: MemberFilter,
        habit: Habit,
    ) -> usize {
        let history = Arc::new(Mutex::new(History::new(name, filter)));
        self.members.push(Arc::clone(&history));
        let consumer = Consumer::new(places, habit, &self.stop);
        self.tasks.spawn(follow_members(consumer, history));
        self.members.len() - 1
    }

    /// One more consumer of events.
    pub fn events(
        &mut self,
        name: &str,
        places: &[Place],
        names: Vec<String>,
        habit: Habit,
    ) -> usize {
        let history = Arc::new(Mutex::new(History::new(name, names)));
        self.events.push(Arc::clone(&history));
        let consumer = Consumer::new(places, habit, &self.stop);
        self.tasks.spawn(follow_events(consumer, history));
        self.events.len() - 1
    }

    /// What consumer number n of members recorded so far.
    #[must_use]
    pub fn of_members(&self, n: usize) -> MemberHistory {
        lock(&self.members[n]).clone()
    }

    /// What consumer number n of events recorded so far.
    #[must_use]
    pub fn of_events(&self, n: usize) -> EventHistory {
        lock(&self.events[n]).clone()
    }

    /// What all recorded so far.
    #[must_use]
    pub fn so_far(&self) -> (Vec<MemberHistory>, Vec<EventHistory>) {
        let members = self.members.iter().map(|one| lock(one).clone());
        let events = self.events.iter().map(|one| lock(one).clone());
        (members.collect(), events.collect())
    }

    /// Ends all consumers; what they recorded.
    pub async fn finish(mut self) -> (Vec<MemberHistory>, Vec<EventHistory>) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.so_far()
    }
}

/// Where a consumer reads, and how.
struct Consumer {
    places: Vec<Place>,
    next: usize,
    habit: Habit,
    stop: watch::Receiver<bool>,
}

impl Consumer {
    fn new(places: &[Place], habit: Habit, stop: &watch::Sender<bool>) -> Self {
        Self {
            places: places.to_vec(),
            next: 0,
            habit,
            stop: stop.subscribe(),
        }
    }

    /// The next place, when somebody accepts there; none at the end.
    async fn connect(&mut self) -> Option<(String, Channel)> {
        loop {
            let place = &self.places[self.next % self.places.len()];
            self.next += 1;
            let target = format!("unix://{}", place.socket.display());
            let endpoint = Endpoint::try_from(target).ok()?;
            let endpoint = endpoint
                .connect_timeout(SILENCE)
                .initial_stream_window_size(WINDOW);
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                channel = endpoint.connect() => match channel {
                    Ok(channel) => return Some((place.name.clone(), channel)),
                    Err(_down) => tokio::time::sleep(RETRY).await,
                },
            }
        }
    }

    /// Reads a stream as the habit is; whether to open another one.
    async fn read<M>(&mut self, mut stream: Streaming<M>, mut take: impl FnMut(M)) -> bool {
        let mut taken = 0;
        let enough = match self.habit.reopen_after {
            0 => usize::MAX,
            count => count + self.next % TURNS,
        };
        loop {
            let message = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return false,
                message = tokio::time::timeout(SILENCE, stream.message()) => message,
            };
            match message {
                Ok(Ok(Some(message))) => take(message),
                Ok(Ok(None) | Err(_)) | Err(_) => return true,
            }
            taken += 1;
            if taken == enough {
                return true;
            }
            if !self.habit.pause.is_zero() {
                tokio::time::sleep(self.habit.pause).await;
            }
        }
    }
}

async fn follow_members(
    mut consumer: Consumer,
    history: Shared<MemberFilter, WatchMembersResponse>,
) {
    let mut view = MemberView::default();
    let filter = lock(&history).filter.clone();
    while let Some((daemon, channel)) = consumer.connect().await {
        if !view.is_complete() {
            // A snapshot that was cut: what was held before it is gone.
            view = MemberView::default();
        }
        let request = WatchMembersRequest {
            filter: Some(filter.clone()),
            resume_token: view.token().to_owned(),
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
            ..Default::default()
        };
        let token = request.resume_token.clone().into_bytes();
        let opened = MembershipServiceClient::new(channel)
            .watch_members(request)
            .await;
        let Ok(stream) = opened else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        lock(&history).steps.push(Step::Opened { daemon, token });
        let complete = view.clone();
        view.reopen();
        let more = consumer
            .read(stream.into_inner(), |message| {
                // The checker tells what is wrong with it.
                view.apply(&message).ok();
                lock(&history).steps.push(Step::Message(message));
            })
            .await;
        if view.is_opening() {
            // Nothing came: the token still stands.
            view = complete;
        }
        lock(&history).steps.push(Step::Ended);
        if !more {
            return;
        }
    }
}

async fn follow_events(mut consumer: Consumer, history: Shared<Vec<String>, WatchEventsResponse>) {
    let names = lock(&history).filter.clone();
    while let Some((daemon, channel)) = consumer.connect().await {
        let token = events::token(&lock(&history));
        let request = WatchEventsRequest {
            names: names.clone(),
            resume_token: token.clone().into(),
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
            ..Default::default()
        };
        let opened = EventServiceClient::new(channel).watch_events(request).await;
        let Ok(stream) = opened else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        lock(&history).steps.push(Step::Opened { daemon, token });
        let more = consumer
            .read(stream.into_inner(), |message| {
                lock(&history).steps.push(Step::Message(message));
            })
            .await;
        lock(&history).steps.push(Step::Ended);
        if !more {
            return;
        }
    }
}

/// Comes to its end when the recorder is to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _told = stop.wait_for(|stop| *stop).await.map(|_stop| ());
}

/// A consumer that panicked fails its test; what it wrote is still there.
fn lock<F, M>(history: &Shared<F, M>) -> std::sync::MutexGuard<'_, History<F, M>> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
