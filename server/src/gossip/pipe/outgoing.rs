//! One pipe that this node opens: connects when first asked, then carries
//! exchanges one after the other until it is idle, broken or told to close.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{ExchangeError, ExchangeId, ExchangeKind};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::frame::{FrameError, FrameKind, Frames, Head};
use super::handshake::{self, HandshakeError, Identity, Prefer};
use super::message::{Goodbye, Open, Reason};
use super::stream::SealedStream;
use super::{CONNECT_DEADLINE, HANDSHAKE_DEADLINE, IDLE_CLOSE, KEY_REMOVED};
use crate::gossip::metrics::{Counters, Gauge};
use crate::gossip::task::Arrival;

/// One exchange to be carried.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: ExchangeId,
    pub(crate) body: Bytes,
    pub(crate) deadline: Instant,
}

/// What every outgoing pipe of a node needs.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) identity: Arc<Identity>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) counters: Arc<Counters>,
}

/// The task of one pipe.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) slot: u64,
    pub(crate) to: SocketAddr,
    pub(crate) kind: ExchangeKind,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) context: Context,
}

type Pipe = Frames<SealedStream<TcpStream>>;

/// Why an exchange failed, and whether another connection could do better.
enum Failure {
    /// The peer had closed meanwhile, or the connection died.
    Stale(ExchangeError),
    Final(ExchangeError),
}

enum Next {
    Job(Job),
    /// Nobody asks any more.
    Unused,
    /// The peer closed, or broke the rules.
    Dead,
    /// The key of the pipe was removed.
    Revoked,
}

impl Outgoing {
    /// Runs until the pipe is of no more use; says so last of all.
    pub(crate) async fn run(mut self) {
        let gauge = Gauge::up(&self.context.counters, |c| &c.pipes_outgoing);
        let mut pipe = None;
        loop {
            match self.next(&mut pipe).await {
                Next::Job(job) => self.carry(&mut pipe, job).await,
                Next::Dead => pipe = None,
                Next::Revoked => {
                    self.context.counters.pipes_closed_key_removed.add(1);
                    if let Some(pipe) = pipe.take() {
                        pipe.close(Reason::KeyRemoved, KEY_REMOVED).await;
                    }
                }
                Next::Unused => {
                    self.context.counters.pipes_closed_idle.add(1);
                    break;
                }
            }
            if pipe.is_none() {
                break;
            }
        }
        // A job may have come in just before the end: it is not lost.
        self.jobs.close();
        if let Ok(job) = self.jobs.try_recv() {
            self.carry(&mut pipe, job).await;
        }
        if let Some(pipe) = pipe {
            pipe.close(Reason::Done, "no longer needed").await;
        }
        drop(gauge);
        self.report(Arrival::SlotClosed { slot: self.slot }).await;
    }

    async fn next(&mut self, pipe: &mut Option<Pipe>) -> Next {
        let Some(pipe) = pipe else {
            return self.jobs.recv().await.map_or(Next::Unused, Next::Job);
        };
        let revoked = self.context.identity.revoked(pipe.io().key());
        tokio::select! {
            biased;
            () = revoked => Next::Revoked,
            job = self.jobs.recv() => job.map_or(Next::Unused, Next::Job),
            head = pipe.head() => {
                if !matches!(head, Ok(Head { kind: FrameKind::Goodbye, .. })) {
                    self.context.counters.pipes_closed_abruptly.add(1);
                }
                Next::Dead
            }
            () = sleep(IDLE_CLOSE) => Next::Unused,
        }
    }

    async fn carry(&mut self, pipe: &mut Option<Pipe>, job: Job) {
        self.context.counters.exchanges_sent.add(1);
        let result = match timeout_at(job.deadline, self.exchange(pipe, &job.body)).await {
            Ok(result) => result,
            Err(_) => Err(ExchangeError::Timeout),
        };
        if let Err(error) = &result {
            // What is left on the pipe would answer the wrong question.
            *pipe = None;
            self.context.counters.exchanges_failed.add(1);
            tracing::debug!(to = %self.to, kind = ?self.kind, %error, "exchange failed");
        }
        let (slot, id) = (self.slot, job.id);
        self.report(Arrival::Response { slot, id, result }).await;
    }

    /// One exchange; on a kept pipe that died meanwhile it is tried once more.
    async fn exchange(&self, pipe: &mut Option<Pipe>, body: &[u8]) -> Result<Bytes, ExchangeError> {
        if let Some(kept) = pipe {
            match ask(kept, body).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Stale(_)) => self.context.counters.exchanges_retried.add(1),
            }
            *pipe = None;
        }
        let opened = self.open().await?;
        match ask(pipe.insert(opened), body).await {
            Ok(answer) => Ok(answer),
            Err(Failure::Stale(error) | Failure::Final(error)) => Err(error),
        }
    }

    async fn open(&self) -> Result<Pipe, ExchangeError> {
        let counters = &self.context.counters;
        let dialled = dial(self.to, &self.context.identity, Prefer::Stage).await;
        let stream = dialled.map_err(|error| match error {
            DialError::Connect(error) => {
                counters.pipes_failed_connect.add(1);
                error
            }
            DialError::Handshake(error) => {
                counters.pipes_failed_handshake.add(1);
                handshake_failure(&error)
            }
        })?;
        let mut pipe = Frames::new(stream);
        let open = Open::of(self.kind).encode_to_vec();
        pipe.write(FrameKind::Open, &open)
            .await
            .map_err(|error| broken(&error))?;
        counters.pipes_opened.add(1);
        Ok(pipe)
    }

    async fn report(&self, arrival: Arrival) {
        if self.context.arrivals.send(arrival).await.is_err() {
            tracing::trace!("the engine stopped before a pipe did");
        }
    }
}

/// Why there is no stream to a peer.
pub(super) enum DialError {
    Connect(ExchangeError),
    Handshake(HandshakeError),
}

/// Connects and shakes hands, each within its deadline. A peer that does not take the
/// first offer gets the others, each on a new connection.
pub(super) async fn dial(
    to: SocketAddr,
    me: &Identity,
    prefer: Prefer,
) -> Result<SealedStream<TcpStream>, DialError> {
    let mut refused = None;
    for offer in me.offers(prefer) {
        let io = connect(to).await.map_err(DialError::Connect)?;
        let shaking = timeout(HANDSHAKE_DEADLINE, handshake::initiate(io, me, &offer));
        match shaking.await.unwrap_or(Err(HandshakeError::Slow)) {
            Ok(stream) => return Ok(stream),
            // What the first offer met is what people should read.
            Err(error) if error.may_take_another() => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(DialError::Handshake(error)),
        }
    }
    Err(DialError::Handshake(
        refused.unwrap_or(HandshakeError::Slow),
    ))
}

async fn connect(to: SocketAddr) -> Result<TcpStream, ExchangeError> {
    let io = match timeout(CONNECT_DEADLINE, TcpStream::connect(to)).await {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => return Err(ExchangeError::Connect(error.to_string())),
        Err(_) => return Err(ExchangeError::Connect("no answer in time".to_owned())),
    };
    match io.set_nodelay(true) {
        Ok(()) => Ok(io),
        Err(error) => Err(ExchangeError::Connect(error.to_string())),
    }
}

async fn ask(pipe: &mut Pipe, body: &[u8]) -> Result<Bytes, Failure> {
    pipe.write(FrameKind::Body, body)
        .await
        .map_err(frame_failure)?;
    let head = pipe.head().await.map_err(frame_failure)?;
    let answer = pipe.body(head).await.map_err(frame_failure)?;
    match head.kind {
        FrameKind::Body => Ok(answer),
        FrameKind::Goodbye => Err(goodbye_failure(&answer)),
        FrameKind::Open => Err(frame_failure(FrameError::Kind(FrameKind::Open as u8))),
    }
}

fn handshake_failure(error: &HandshakeError) -> ExchangeError {
    match error {
        HandshakeError::Io(source) => ExchangeError::Handshake(format!("{error}: {source}")),
        HandshakeError::Busy => ExchangeError::Connect(error.to_string()),
        HandshakeError::NotMuster
        | HandshakeError::Version(_)
        | HandshakeError::Suite(_)
        | HandshakeError::PlaintextRefused { .. }
        | HandshakeError::SealedRefused { .. }
        | HandshakeError::UnknownKey(_)
        | HandshakeError::WrongKeyOrCluster
        | HandshakeError::Slow => ExchangeError::Handshake(error.to_string()),
    }
}

fn frame_failure(error: FrameError) -> Failure {
    let told = broken(&error);
    match error {
        FrameError::Io(_) | FrameError::Ended => Failure::Stale(told),
        FrameError::Kind(_) | FrameError::TooLong { .. } | FrameError::Slow => Failure::Final(told),
    }
}

fn goodbye_failure(body: &[u8]) -> Failure {
    let Ok(goodbye) = Goodbye::decode(body) else {
        return Failure::Final(ExchangeError::Broken("a garbled goodbye".to_owned()));
    };
    let told = ExchangeError::Broken(format!("the peer closed: {}", goodbye.text));
    match goodbye.reason() {
        Reason::Done | Reason::Stopping | Reason::Busy | Reason::KeyRemoved => Failure::Stale(told),
        Reason::BadFrame => Failure::Final(told),
        Reason::UnknownKind | Reason::UnknownVersion => {
            Failure::Final(ExchangeError::Handshake(goodbye.text))
        }
    }
}

fn broken(error: &FrameError) -> ExchangeError {
    ExchangeError::Broken(match error {
        FrameError::Io(source) => source.to_string(),
        FrameError::Ended | FrameError::Kind(_) | FrameError::TooLong { .. } | FrameError::Slow => {
            error.to_string()
        }
    })
}
