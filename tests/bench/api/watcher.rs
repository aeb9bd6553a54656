//! Many watchers, as cheap as a client can be: bare HTTP/2, messages are counted and
//! not decoded.

mod frames;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::Request;
use muster_proto::v1 as pb;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::frames::{Found, Frames};
use self::tally::Tally;

/// Connections that subscribe at a time.
const GATHER_AT_ONCE: usize = 50;

/// Bytes under way on a connection, as clients of gRPC allow. With h2's 64 KiB it takes
/// small messages on many streams for an attack.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Silence that no run outlasts.
const HEARTBEAT: prost_types::Duration = prost_types::Duration {
    seconds: 300,
    nanos: 0,
};

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

/// How many watchers there are, and how they connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Watchers that share a connection.
    pub(crate) each: usize,
}

impl Shape {
    pub(crate) const fn watchers(self) -> usize {
        self.connections * self.each
    }
}

/// Watchers that are subscribed. They end with it.
#[derive(Debug)]
pub(crate) struct Crowd {
    shape: Shape,
    tally: Arc<Tally>,
    /// Connections that are not read: those with a lower number.
    stopped: watch::Sender<usize>,
    _tasks: JoinSet<()>,
}

impl Crowd {
    /// Subscribes all watchers.
    pub(crate) async fn gather(
        socket: &Path,
        watched: Watched,
        shape: Shape,
    ) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::default());
        let stopped = watch::Sender::new(0);
        let mut tasks = JoinSet::new();
        for number in 0..shape.connections {
            let connection = Connection {
                number,
                socket: socket.to_owned(),
                watched,
                watchers: shape.each,
                tally: Arc::clone(&tally),
                stopped: stopped.subscribe(),
            };
            tasks.spawn(async move {
                let tally = Arc::clone(&connection.tally);
                if let Err(error) = connection.run().await {
                    tally.lose(format!("{error:#}"));
                }
            });
            let opened = number + 1;
            if opened % GATHER_AT_ONCE == 0 || opened == shape.connections {
                tally.ready((opened * shape.each) as u64).await?;
            }
        }
        Ok(Self {
            shape,
            tally,
            stopped,
            _tasks: tasks,
        })
    }

    /// Says that `changes` will come to those who read; what to wait for.
    pub(crate) fn due(&self, changes: usize) -> u64 {
        let reading = self
            .shape
            .connections
            .saturating_sub(*self.stopped.borrow());
        self.tally.due((changes * reading * self.shape.each) as u64)
    }

    /// As [`Crowd::due`], with the count of deliveries in all.
    pub(crate) fn expect(&self, due: u64) {
        self.tally.expect(due);
    }

    /// Waits until everything due has come to everybody: when the last one came.
    pub(crate) async fn delivered(&self, due: u64) -> anyhow::Result<Instant> {
        self.tally.delivered(due).await
    }

    /// Makes this many connections stop reading, all others read.
    pub(crate) fn stop(&self, connections: usize) {
        self.stopped.send_replace(connections);
    }
}

/// One connection with its watchers.
#[derive(Debug)]
struct Connection {
    number: usize,
    socket: PathBuf,
    watched: Watched,
    watchers: usize,
    tally: Arc<Tally>,
    stopped: watch::Receiver<usize>,
}

impl Connection {
    async fn run(self) -> anyhow::Result<()> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (client, mut connection) = h2::client::Builder::new()
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await?;
        let mut watchers: FuturesUnordered<_> = (0..self.watchers)
            .map(|_| watch(client.clone(), self.watched, &self.tally))
            .collect();
        let mut stopped = self.stopped;
        loop {
            tokio::select! {
                ended = watchers.next() => bail!("a stream ended: {ended:?}"),
                ended = &mut connection => bail!("the connection ended: {ended:?}"),
                changed = stopped.changed() => changed?,
            }
            // Nothing is polled meanwhile: nothing is read.
            while self.number < *stopped.borrow_and_update() {
                stopped.changed().await?;
            }
        }
    }
}

/// Subscribes and counts until the stream ends.
async fn watch(client: SendRequest<Bytes>, watched: Watched, tally: &Tally) -> anyhow::Result<()> {
    let request = Request::post(format!("http://localhost{}", watched.path()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let mut client = client.ready().await?;
    let (response, mut send) = client.send_request(request, false)?;
    send.send_data(watched.request(), true)?;
    let mut body = response.await?.into_body();
    let mut frames = Frames::default();
    let mut seen = 0;
    loop {
        let data = body.data().await.context("the stream ended")??;
        body.flow_control().release_capacity(data.len())?;
        count(tally, watched, &mut seen, frames.take(data)?);
    }
}

fn count(tally: &Tally, watched: Watched, seen: &mut u64, found: Found) {
    let preamble = watched.preamble();
    let before = *seen;
    *seen += found.messages;
    if before < preamble && *seen >= preamble {
        tally.one_ready();
    }
    if watched == Watched::Events && found.gaps > 0 {
        tally.lose("an event was lost");
    }
    let changes = seen.saturating_sub(preamble) - before.saturating_sub(preamble);
    if changes > 0 {
        tally.add(changes);
    }
}
