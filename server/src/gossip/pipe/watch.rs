//! The watch streams of this node: opened, held, and told of when they end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use muster_engine::{ExchangeKind, WatchEvent, WatchFailure, WatchId};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::KEY_REMOVED;
use super::frame::{FrameError, FrameKind, Frames};
use super::handshake::{self, HandshakeError, Prefer};
use super::message::{Open, Reason};
use super::outgoing::Context;
use super::stream::SealedStream;
use crate::daemon::supervisor::Tasks;
use crate::gossip::metrics::Gauge;
use crate::gossip::task::Arrival;

type Pipe = Frames<SealedStream<TcpStream>>;

/// Opens and closes watch streams; owned by the engine's task and never waits. There
/// are as many as the engine asks for, which bounds them.
#[derive(Debug)]
pub(crate) struct Watches {
    held: BTreeMap<WatchId, DropGuard>,
    context: Context,
    tasks: Tasks,
}

impl Watches {
    /// Without streams; each gets a task on the current runtime.
    pub(crate) fn new(context: Context, tasks: Tasks) -> Self {
        let held = BTreeMap::new();
        Self {
            held,
            context,
            tasks,
        }
    }

    /// Opens a stream; what happens to it comes as [`Arrival::Watch`].
    pub(crate) fn open(&mut self, id: WatchId, to: SocketAddr, hello: Bytes, deadline: Instant) {
        let closed = CancellationToken::new();
        let stream = Stream {
            id,
            to,
            hello,
            deadline,
            closed: closed.clone(),
            context: self.context.clone(),
        };
        self.held.insert(id, closed.drop_guard());
        self.tasks.spawn_guarded("watch stream", stream.run());
    }

    /// Ends a stream with a goodbye: nothing more comes of it.
    pub(crate) fn close(&mut self, id: WatchId) {
        self.held.remove(&id);
    }
}

/// The task of one stream.
struct Stream {
    id: WatchId,
    to: SocketAddr,
    hello: Bytes,
    deadline: Instant,
    closed: CancellationToken,
    context: Context,
}

impl Stream {
    async fn run(self) {
        let _gauge = Gauge::up(&self.context.counters, |c| &c.pipes_outgoing);
        let opened = tokio::select! {
            biased;
            () = self.closed.cancelled() => return,
            opened = self.open() => opened,
        };
        let counters = &self.context.counters;
        let mut pipe = match opened {
            Ok((pipe, answer)) => {
                counters.pipes_opened.add(1);
                self.report(WatchEvent::Opened(answer)).await;
                pipe
            }
            Err(failure) => {
                counters.pipes_failed_connect.add(1);
                tracing::debug!(to = %self.to, ?failure, "a watch stream did not open");
                return self.report(WatchEvent::Failed(failure)).await;
            }
        };
        let revoked = self.context.identity.revoked(pipe.io().key());
        tokio::select! {
            biased;
            () = self.closed.cancelled() => pipe.close(Reason::Done, "no longer watched").await,
            () = revoked => {
                counters.pipes_closed_key_removed.add(1);
                pipe.close(Reason::KeyRemoved, KEY_REMOVED).await;
                self.report(WatchEvent::Closed).await;
            }
            head = pipe.head() => {
                let event = match head.map(|head| head.kind) {
                    Ok(FrameKind::Goodbye) => WatchEvent::Closed,
                    Ok(FrameKind::Open | FrameKind::Body) => {
                        pipe.close(Reason::BadFrame, "a watch stream carries nothing").await;
                        WatchEvent::Closed
                    }
                    Err(_) => WatchEvent::Lost,
                };
                self.report(event).await;
            }
        }
    }

    /// Connects, shakes hands and exchanges hellos, all before the deadline.
    async fn open(&self) -> Result<(Pipe, Bytes), WatchFailure> {
        let me = &self.context.identity;
        for offer in me.offers(Prefer::Stage) {
            let accepted = AtomicBool::new(false);
            let attempt = timeout_at(self.deadline, async {
                let io = self.connect().await?;
                accepted.store(true, Ordering::Relaxed);
                let stream = handshake::initiate(io, me, &offer).await?;
                greet(Frames::new(stream), &self.hello).await
            });
            match attempt.await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(Trouble::Handshake(error))) if error.may_take_another() => {}
                Ok(Err(trouble)) => return Err(trouble.failure()),
                Err(_) if accepted.load(Ordering::Relaxed) => return Err(WatchFailure::Unanswered),
                Err(_) => return Err(WatchFailure::Silent),
            }
        }
        Err(WatchFailure::Rejected)
    }

    async fn connect(&self) -> Result<TcpStream, Trouble> {
        let io = TcpStream::connect(self.to)
            .await
            .map_err(Trouble::Connect)?;
        if io.local_addr().is_ok_and(|local| local == self.to) {
            // Nobody listens on that port, so that TCP gave it to this end and let it
            // meet itself.
            return Err(Trouble::Connect(io::ErrorKind::ConnectionRefused.into()));
        }
        io.set_nodelay(true).map_err(Trouble::Connect)?;
        Ok(io)
    }

    async fn report(&self, event: WatchEvent) {
        let id = self.id;
        let told = self.context.arrivals.send(Arrival::Watch { id, event });
        if told.await.is_err() {
            tracing::trace!("the engine stopped before a watch stream did");
        }
    }
}

/// What went wrong with an attempt.
enum Trouble {
    Connect(io::Error),
    Handshake(HandshakeError),
    Frame,
    /// It said goodbye instead of an answer.
    Goodbye,
}

impl From<HandshakeError> for Trouble {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<FrameError> for Trouble {
    fn from(_: FrameError) -> Self {
        Self::Frame
    }
}

impl Trouble {
    fn failure(&self) -> WatchFailure {
        match self {
            Self::Connect(error) => connect_failure(error.kind()),
            Self::Handshake(HandshakeError::Io(_)) | Self::Frame => WatchFailure::Broken,
            Self::Handshake(_) | Self::Goodbye => WatchFailure::Rejected,
        }
    }
}

/// Whose fault a failed connect is.
fn connect_failure(kind: io::ErrorKind) -> WatchFailure {
    use io::ErrorKind as Kind;
    if kind == Kind::ConnectionRefused {
        WatchFailure::Refused
    } else if kind == Kind::HostUnreachable {
        WatchFailure::Unreachable
    } else if kind == Kind::TimedOut {
        WatchFailure::Silent
    } else if kind == Kind::ConnectionReset || kind == Kind::ConnectionAborted {
        WatchFailure::Broken
    } else {
        // No route, no interface, no address, no descriptors, a firewall of this host.
        WatchFailure::Local
    }
}

async fn greet(mut pipe: Pipe, hello: &[u8]) -> Result<(Pipe, Bytes), Trouble> {
    let open = Open::of(ExchangeKind::Watch).encode_to_vec();
    pipe.write(FrameKind::Open, &open).await?;
    pipe.write(FrameKind::Body, hello).await?;
    let head = pipe.head().await?;
    match head.kind {
        FrameKind::Body => {
            let answer = pipe.body(head).await?;
            Ok((pipe, answer))
        }
        FrameKind::Goodbye => Err(Trouble::Goodbye),
        FrameKind::Open => Err(FrameError::Kind(FrameKind::Open as u8).into()),
    }
}

#[cfg(test)]
mod tests;
