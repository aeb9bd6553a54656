//! Pipes that peers open: accepted, checked, then served one request at a time.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::ExchangeKind;
use muster_engine::crypto::seal::DATAGRAM_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{FrameError, FrameKind, Frames, Head};
use super::handshake::{self, HandshakeError, Identity};
use super::message::{Open, Purpose, Reason};
use super::rpc::Arrived;
use super::stream::SealedStream;
use super::watched::Watched;
use super::{
    ANSWER_DEADLINE, HALF_OPEN_MAX, HANDSHAKE_DEADLINE, IDLE_CLOSE_INCOMING, INCOMING_MAX,
    KEY_REMOVED, REQUEST_BYTES_MAX,
};
use crate::daemon::supervisor::Tasks;
use crate::gossip::metrics::{Counters, Gauge};
use crate::gossip::task::Arrival;
use crate::gossip::udp::canonical;

/// Pause after a failed accept: out of files, mostly, and others must close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest hello of a watcher, bytes.
const HELLO_BYTES_MAX: usize = 1 << 10;

/// Unit of the request budget, bytes.
const BUDGET_UNIT: usize = 4 << 10;

/// Accepts and serves the pipes of peers. Clones share the bounds.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    identity: Arc<Identity>,
    arrivals: mpsc::Sender<Arrival>,
    /// Where pipes of gRPC go.
    rpc: mpsc::Sender<Arrived>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    half_open: Arc<Semaphore>,
    incoming: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    watched: Watched,
}

/// Why serving a pipe ended, other than by the peer's goodbye.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// There was no pipe yet.
    #[error("handshake failed")]
    Handshake(#[from] HandshakeError),
    /// The peer broke the rules of frames, or the connection broke.
    #[error("bad frame")]
    Frame(#[from] FrameError),
    /// The peer wants what is not known here.
    #[error("{0}")]
    Refused(String),
    /// The engine found that the request makes no sense.
    #[error("a request made no sense")]
    Senseless,
    /// The engine did not answer.
    #[error("no answer in time")]
    Unanswered,
}

impl Server {
    /// For a node; requests go to `arrivals`, pipes of gRPC to `rpc`.
    pub(crate) fn new(
        identity: Arc<Identity>,
        arrivals: mpsc::Sender<Arrival>,
        rpc: mpsc::Sender<Arrived>,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            identity,
            arrivals,
            rpc,
            counters,
            stop,
            half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX)),
            incoming: Arc::new(Semaphore::new(INCOMING_MAX)),
            budget: Arc::new(Semaphore::new(REQUEST_BYTES_MAX / BUDGET_UNIT)),
            watched: Watched::default(),
        }
    }

    /// Accepts until the daemon stops.
    pub(crate) async fn run(self, listener: TcpListener, tasks: Tasks) -> anyhow::Result<()> {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, from)) => self.admit(io, canonical(from), &tasks),
                Err(error) => {
                    self.counters.accept_errors.add(1);
                    tracing::debug!(%error, "cannot accept a peer's connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, io: TcpStream, from: SocketAddr, tasks: &Tasks) {
        let Ok(place) = Arc::clone(&self.incoming).try_acquire_owned() else {
            self.counters.pipes_refused_incoming.add(1);
            return refuse(&io);
        };
        let Ok(half_open) = Arc::clone(&self.half_open).try_acquire_owned() else {
            self.counters.pipes_refused_half_open.add(1);
            return refuse(&io);
        };
        let server = self.clone();
        tasks.spawn_guarded("peer pipe", async move {
            let _place = place;
            let _gauge = Gauge::up(&server.counters, |c| &c.pipes_incoming);
            if let Err(error) = io.set_nodelay(true) {
                tracing::trace!(%error, "a peer's connection stays slow");
            }
            match server.serve(io, from, half_open).await {
                Ok(None) => {}
                Ok(Some(frames)) => server.hand_over(frames, from).await,
                Err(error) => {
                    server.count(&error);
                    let error: &dyn std::error::Error = &error;
                    tracing::debug!(%from, error, "peer pipe ended");
                }
            }
        });
    }

    /// Serves one connection to its end, or gives it back if it is for gRPC.
    pub(crate) async fn serve<T>(
        &self,
        io: T,
        from: SocketAddr,
        half_open: OwnedSemaphorePermit,
    ) -> Result<Option<Frames<SealedStream<T>>>, ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let opening = timeout(HANDSHAKE_DEADLINE, self.open(io));
        let (mut frames, purpose) = match opening.await {
            Ok(opened) => opened?,
            Err(_) => return Err(HandshakeError::Slow.into()),
        };
        drop(half_open);
        self.counters.pipes_accepted.add(1);
        let revoked = self.identity.revoked(frames.io().key());
        let served = match purpose {
            Purpose::Exchange(kind) => self.exchanges(&mut frames, from, kind, revoked).await,
            Purpose::Watch => self.watched(&mut frames, from, revoked).await,
            Purpose::Datagrams => self.carried(&mut frames, revoked).await,
            Purpose::Rpc => return Ok(Some(frames)),
        };
        match &served {
            Ok(None) => {}
            Ok(Some(Reason::Stopping)) => frames.close(Reason::Stopping, "the node stops").await,
            Ok(Some(Reason::KeyRemoved)) => {
                self.counters.pipes_closed_key_removed.add(1);
                frames.close(Reason::KeyRemoved, KEY_REMOVED).await;
            }
            Ok(Some(_)) => frames.close(Reason::Done, "idle").await,
            Err(ServeError::Frame(FrameError::Io(_) | FrameError::Ended)) => {}
            Err(error) => frames.close(Reason::BadFrame, &error.to_string()).await,
        }
        served.map(|_| None)
    }

    /// Gives a pipe to whoever serves gRPC, on another runtime.
    async fn hand_over(&self, frames: Frames<SealedStream<TcpStream>>, from: SocketAddr) {
        let place = match self.rpc.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => {
                self.counters.pipes_refused_rpc.add(1);
                return frames.close(Reason::Busy, "too many at once").await;
            }
            Err(mpsc::error::TrySendError::Closed(())) => {
                let text = "no gRPC is served here";
                return frames.close(Reason::UnknownKind, text).await;
            }
        };
        match frames.into_inner().over(TcpStream::into_std) {
            Ok(stream) => place.send(Arrived::new(from, stream)),
            Err(error) => tracing::debug!(%from, %error, "a peer's connection cannot move"),
        }
    }

    /// Handshake and `Open` frame: only then is the peer known to have the key,
    /// and not to replay somebody's handshake.
    async fn open<T>(&self, io: T) -> Result<(Frames<SealedStream<T>>, Purpose), ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = handshake::accept(io, &self.identity).await?;
        let mut frames = Frames::new(stream);
        let head = frames.head().await?;
        if head.kind != FrameKind::Open {
            let text = "the first frame must be an open frame";
            frames.close(Reason::BadFrame, text).await;
            return Err(ServeError::Refused(text.to_owned()));
        }
        let body = frames.body(head).await?;
        match Open::understand(&body) {
            Ok(purpose) => Ok((frames, purpose)),
            Err(goodbye) => {
                frames.close(goodbye.reason(), &goodbye.text).await;
                Err(ServeError::Refused(goodbye.text))
            }
        }
    }

    /// Requests in sequence. `Some` reason if it is on this node to say goodbye.
    async fn exchanges<T>(
        &self,
        frames: &mut Frames<T>,
        from: SocketAddr,
        kind: ExchangeKind,
        revoked: impl Future<Output = ()>,
    ) -> Result<Option<Reason>, ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut revoked = std::pin::pin!(revoked);
        loop {
            let head = match self.next(frames, revoked.as_mut()).await? {
                ControlFlow::Continue(head) => head,
                ControlFlow::Break(end) => return Ok(end),
            };
            let units = head.bytes.div_ceil(BUDGET_UNIT);
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            let Ok(_held) = self.budget.acquire_many(units).await else {
                return Ok(Some(Reason::Stopping));
            };
            let body = frames.body(head).await?;
            let answer = self.ask(from, kind, body).await?;
            frames.write(FrameKind::Body, &answer).await?;
        }
    }

    /// One exchange of hellos, then nothing until either side ends it.
    async fn watched<T>(
        &self,
        frames: &mut Frames<T>,
        from: SocketAddr,
        revoked: impl Future<Output = ()>,
    ) -> Result<Option<Reason>, ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = timeout(HANDSHAKE_DEADLINE, async {
            let head = frames.head().await?;
            match head.kind {
                FrameKind::Body if head.bytes <= HELLO_BYTES_MAX => frames.body(head).await,
                kind @ (FrameKind::Body | FrameKind::Open | FrameKind::Goodbye) => {
                    Err(FrameError::Kind(kind as u8))
                }
            }
        });
        let hello = hello.await.unwrap_or(Err(FrameError::Slow))?;
        let answer = self.ask(from, ExchangeKind::Watch, hello).await?;
        frames.write(FrameKind::Body, &answer).await?;
        let place = self.watched.enter(&self.counters);
        tokio::select! {
            () = self.stop.cancelled() => Ok(Some(Reason::Stopping)),
            () = revoked => Ok(Some(Reason::KeyRemoved)),
            () = place.given_up() => Ok(Some(Reason::Done)),
            head = frames.head() => match head?.kind {
                FrameKind::Goodbye => Ok(None),
                kind @ (FrameKind::Body | FrameKind::Open) => {
                    Err(FrameError::Kind(kind as u8).into())
                }
            },
        }
    }

    /// Datagrams until either side ends it. A slow engine holds up the sender, which
    /// drops what its queue does not hold.
    async fn carried<T>(
        &self,
        frames: &mut Frames<T>,
        revoked: impl Future<Output = ()>,
    ) -> Result<Option<Reason>, ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut revoked = std::pin::pin!(revoked);
        loop {
            let head = match self.next(frames, revoked.as_mut()).await? {
                ControlFlow::Continue(head) => head,
                ControlFlow::Break(end) => return Ok(end),
            };
            let (bytes, limit) = (head.bytes, DATAGRAM_BYTES_MAX);
            if bytes > limit {
                return Err(FrameError::TooLong { bytes, limit }.into());
            }
            let bytes = frames.body(head).await?;
            self.counters.datagrams_carried_received.add(1);
            if self.arrivals.send(Arrival::Carried(bytes)).await.is_err() {
                return Ok(Some(Reason::Stopping));
            }
        }
    }

    /// The head of the next body, or how the pipe ends: with a reason if it is on this
    /// node to say goodbye.
    async fn next<T>(
        &self,
        frames: &mut Frames<T>,
        revoked: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<ControlFlow<Option<Reason>, Head>, ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let head = tokio::select! {
            () = self.stop.cancelled() => return Ok(ControlFlow::Break(Some(Reason::Stopping))),
            () = revoked => return Ok(ControlFlow::Break(Some(Reason::KeyRemoved))),
            () = sleep(IDLE_CLOSE_INCOMING) => return Ok(ControlFlow::Break(Some(Reason::Done))),
            head = frames.head() => head?,
        };
        match head.kind {
            FrameKind::Goodbye => Ok(ControlFlow::Break(None)),
            FrameKind::Open => Err(FrameError::Kind(FrameKind::Open as u8).into()),
            FrameKind::Body => Ok(ControlFlow::Continue(head)),
        }
    }

    async fn ask(
        &self,
        from: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
    ) -> Result<Bytes, ServeError> {
        self.counters.exchanges_received.add(1);
        let (reply, answer) = oneshot::channel();
        let request = Arrival::Request {
            from,
            kind,
            body,
            reply,
        };
        let answered = timeout(ANSWER_DEADLINE, async {
            // A closed channel shows as a dropped reply.
            let _closed = self.arrivals.send(request).await.is_err();
            answer.await
        });
        match answered.await {
            Ok(Ok(Some(body))) => Ok(body),
            Ok(Ok(None)) => Err(ServeError::Senseless),
            Ok(Err(_)) | Err(_) => Err(ServeError::Unanswered),
        }
    }

    fn count(&self, error: &ServeError) {
        let counters = &self.counters;
        let counter = match error {
            ServeError::Handshake(HandshakeError::Io(_) | HandshakeError::Busy) => {
                &counters.pipes_refused_broken
            }
            ServeError::Handshake(HandshakeError::NotMuster) => &counters.pipes_refused_garbage,
            ServeError::Handshake(HandshakeError::Version(_) | HandshakeError::Suite(_)) => {
                &counters.pipes_refused_version
            }
            ServeError::Handshake(HandshakeError::PlaintextRefused { .. }) => {
                &counters.pipes_refused_plaintext
            }
            ServeError::Handshake(HandshakeError::SealedRefused { .. }) => {
                &counters.pipes_refused_sealed
            }
            ServeError::Handshake(HandshakeError::UnknownKey(_)) => {
                &counters.pipes_refused_unknown_key
            }
            ServeError::Handshake(HandshakeError::WrongKeyOrCluster) => {
                &counters.pipes_refused_wrong_key
            }
            ServeError::Handshake(HandshakeError::Slow) => &counters.pipes_refused_slow,
            ServeError::Refused(_) => &counters.pipes_refused_kind,
            ServeError::Frame(FrameError::Io(_) | FrameError::Ended) => {
                &counters.pipes_closed_abruptly
            }
            ServeError::Frame(_) | ServeError::Senseless | ServeError::Unanswered => {
                &counters.pipes_refused_frame
            }
        };
        counter.add(1);
    }
}

/// Tells a peer that there is no place, as far as that goes without waiting.
fn refuse(io: &TcpStream) {
    match io.try_write(&handshake::busy_reply()) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => tracing::trace!(%error, "a refused peer is gone"),
    }
}

#[cfg(test)]
mod tests;
