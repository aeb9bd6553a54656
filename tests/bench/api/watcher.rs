//! Many watchers, as cheap as a client can be: bare HTTP/2, messages are counted and
//! not decoded.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes};
use http::Request;
use muster_proto::v1 as pb;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a burst may take to be delivered.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

/// Watchers that connect at a time.
const GATHER_AT_ONCE: usize = 50;

/// Silence that no run outlasts.
const HEARTBEAT: prost_types::Duration = prost_types::Duration {
    seconds: 300,
    nanos: 0,
};

/// First byte of a `WatchEventsResponse` that carries a gap: an event was lost.
const TAG_GAP: u8 = 0x1a;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// User events.
    Events,
    /// Members.
    Members,
}

impl Watched {
    const fn path(self) -> &'static str {
        match self {
            Self::Events => "/muster.v1.EventService/WatchEvents",
            Self::Members => "/muster.v1.MembershipService/WatchMembers",
        }
    }

    fn request(self) -> Bytes {
        let heartbeat_interval = Some(HEARTBEAT);
        let message = match self {
            Self::Events => pb::WatchEventsRequest {
                heartbeat_interval,
                ..pb::WatchEventsRequest::default()
            }
            .encode_to_vec(),
            Self::Members => pb::WatchMembersRequest {
                heartbeat_interval,
                ..pb::WatchMembersRequest::default()
            }
            .encode_to_vec(),
        };
        let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap_or(u8::MAX)];
        framed.extend(message);
        framed.into()
    }

    /// Messages in front of the first change.
    const fn preamble(self) -> u64 {
        match self {
            // `begin`.
            Self::Events => 1,
            // `snapshot_begin`, one part, `snapshot_end`.
            Self::Members => 3,
        }
    }
}

/// What all watchers of a crowd share.
#[derive(Debug, Default)]
struct Tally {
    ready: AtomicU64,
    delivered: AtomicU64,
    /// The number of deliveries that is waited for.
    goal: AtomicU64,
    /// When it was reached.
    reached: Mutex<Option<Instant>>,
    news: Notify,
    lost: AtomicBool,
}

/// Watchers that are subscribed. They end with it.
#[derive(Debug)]
pub(crate) struct Crowd {
    size: u64,
    tally: Arc<Tally>,
    pause: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Crowd {
    /// Subscribes `size` watchers, each on a connection of its own.
    pub(crate) async fn gather(
        socket: &Path,
        watched: Watched,
        size: usize,
    ) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::default());
        let pause = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for number in 1..=size {
            let watcher = Watcher {
                socket: socket.to_owned(),
                watched,
                tally: Arc::clone(&tally),
                pause: pause.subscribe(),
            };
            tasks.spawn(async move {
                let lost = Arc::clone(&watcher.tally);
                if watcher.run().await.is_err() {
                    lost.lost.store(true, Ordering::SeqCst);
                    lost.news.notify_one();
                }
            });
            if number % GATHER_AT_ONCE == 0 || number == size {
                tally
                    .wait(|tally| tally.ready.load(Ordering::SeqCst) >= number as u64)
                    .await?;
            }
        }
        Ok(Self {
            size: size as u64,
            tally,
            pause,
            _tasks: tasks,
        })
    }

    /// Says that `changes` will come; what to wait for.
    pub(crate) fn due(&self, changes: usize) -> u64 {
        let delivered = self.tally.delivered.load(Ordering::SeqCst);
        let goal = delivered + changes as u64 * self.size;
        self.tally.goal.store(goal, Ordering::SeqCst);
        goal
    }

    /// Waits until everything due has come to everybody: when the last one came.
    pub(crate) async fn delivered(&self, due: u64) -> anyhow::Result<Instant> {
        let tally = &self.tally;
        tally
            .wait(|tally| tally.delivered.load(Ordering::SeqCst) >= due)
            .await?;
        let mut reached = tally
            .reached
            .lock()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        reached.take().context("nobody saw the last delivery")
    }

    /// Makes everybody stop reading their connections, or go on.
    pub(crate) fn pause(&self, pause: bool) {
        self.pause.send_replace(pause);
    }
}

impl Tally {
    async fn wait(&self, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let all = async {
            while !done(self) && !self.lost.load(Ordering::SeqCst) {
                self.news.notified().await;
            }
        };
        let in_time = timeout(DELIVERY_LIMIT, all).await;
        if self.lost.load(Ordering::SeqCst) {
            bail!("a watcher lost its stream or an event");
        }
        in_time.with_context(|| {
            let delivered = self.delivered.load(Ordering::SeqCst);
            let goal = self.goal.load(Ordering::SeqCst);
            format!("{delivered} of {goal} deliveries in time")
        })
    }

    fn add(&self, count: u64) {
        let before = self.delivered.fetch_add(count, Ordering::SeqCst);
        let goal = self.goal.load(Ordering::SeqCst);
        if before < goal && before + count >= goal {
            if let Ok(mut reached) = self.reached.lock() {
                *reached = Some(Instant::now());
            }
            self.news.notify_one();
        }
    }
}

#[derive(Debug)]
struct Watcher {
    socket: PathBuf,
    watched: Watched,
    tally: Arc<Tally>,
    pause: watch::Receiver<bool>,
}

impl Watcher {
    async fn run(mut self) -> anyhow::Result<()> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (client, mut connection) = h2::client::handshake(stream).await?;
        let request = Request::post(format!("http://localhost{}", self.watched.path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut client = client;
        let (response, mut send) = client.send_request(request, false)?;
        send.send_data(self.watched.request(), true)?;
        let response = tokio::select! {
            response = response => response?,
            ended = &mut connection => bail!("the connection ended: {ended:?}"),
        };
        let mut body = response.into_body();
        let mut frames = Frames::default();
        let mut seen = 0;
        loop {
            tokio::select! {
                data = body.data() => {
                    let data = data.context("the stream ended")??;
                    body.flow_control().release_capacity(data.len())?;
                    self.count(&mut seen, frames.take(data)?);
                }
                ended = &mut connection => bail!("the connection ended: {ended:?}"),
                changed = self.pause.changed() => changed?,
            }
            // The connection is not polled meanwhile: nothing is read.
            while *self.pause.borrow_and_update() {
                self.pause.changed().await?;
            }
        }
    }

    fn count(&self, seen: &mut u64, found: Found) {
        let preamble = self.watched.preamble();
        let before = *seen;
        *seen += found.messages;
        if before < preamble && *seen >= preamble {
            self.tally.ready.fetch_add(1, Ordering::SeqCst);
            self.tally.news.notify_one();
        }
        let changes = seen.saturating_sub(preamble) - before.saturating_sub(preamble);
        if self.watched == Watched::Events && found.gaps > 0 {
            self.tally.lost.store(true, Ordering::SeqCst);
        }
        if changes > 0 {
            self.tally.add(changes);
        }
    }
}

/// Cuts a stream of bytes into gRPC messages without keeping them.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 5],
    have: usize,
    /// Bytes of the message that are still to come.
    rest: usize,
    fresh: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Found {
    messages: u64,
    gaps: u64,
}

impl Frames {
    fn take(&mut self, mut data: Bytes) -> anyhow::Result<Found> {
        let mut found = Found::default();
        while !data.is_empty() {
            if self.rest > 0 {
                if std::mem::take(&mut self.fresh) {
                    found.gaps += u64::from(data[0] == TAG_GAP);
                }
                let step = self.rest.min(data.len());
                data.advance(step);
                self.rest -= step;
                found.messages += u64::from(self.rest == 0);
                continue;
            }
            let step = (5 - self.have).min(data.len());
            data.copy_to_slice(&mut self.header[self.have..self.have + step]);
            self.have += step;
            if self.have == 5 {
                self.have = 0;
                let [_, length @ ..] = self.header;
                self.rest = usize::try_from(u32::from_be_bytes(length))?;
                anyhow::ensure!(self.rest > 0, "an empty message");
                self.fresh = true;
            }
        }
        Ok(found)
    }
}
