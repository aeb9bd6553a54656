//! Pipes that carry gRPC between peers: opened and taken here, served elsewhere.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;

use muster_engine::ExchangeError;
use muster_engine::crypto::KeyId;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::HANDSHAKE_DEADLINE;
use super::frame::{FrameError, FrameKind, Frames};
use super::handshake::{HandshakeError, Identity, Prefer};
use super::message::{Goodbye, Open, Purpose, Reason};
use super::outgoing;
use super::stream::SealedStream;
use crate::gossip::metrics::Counters;

/// Incoming pipes of gRPC that wait to be taken. At the bound further ones are told
/// that the node is busy, and counted.
pub(crate) const ARRIVED_MAX: usize = 64;

/// The byte stream of such a pipe.
pub(crate) type RpcStream = SealedStream<TcpStream>;

/// Both directions of a node.
#[derive(Debug)]
pub struct Pipes {
    /// Opens pipes to peers.
    pub(crate) dialer: Dialer,
    /// Pipes that peers opened.
    pub(crate) arrivals: mpsc::Receiver<Arrived>,
}

/// Opens pipes to peers. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    identity: Arc<Identity>,
    counters: Arc<Counters>,
}

/// Why there is no pipe to a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The network has no way, or nobody listens.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The peer is none of ours, or takes no more pipes.
    #[error("handshake failed: {}", chain(.0))]
    Handshake(#[from] HandshakeError),
    /// The pipe broke before it was taken.
    #[error("the pipe broke: {}", chain(.0))]
    Frame(#[from] FrameError),
    /// The peer said no.
    #[error("the peer refused: {}", .0.text)]
    Refused(Goodbye),
    /// The peer answered with something else.
    #[error("the peer answered nonsense")]
    Senseless,
}

impl DialError {
    /// Whether it is only load that stands in the way.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Handshake(error) => matches!(error, HandshakeError::Busy),
            Self::Refused(goodbye) => goodbye.reason() == Reason::Busy,
            Self::Connect(_) | Self::Frame(_) | Self::Senseless => false,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Dialer {
    pub(crate) fn new(identity: Arc<Identity>, counters: Arc<Counters>) -> Self {
        Self { identity, counters }
    }

    /// Opens one to the address, within the deadlines of all pipes.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn dial(&self, to: SocketAddr) -> Result<RpcStream, DialError> {
        let counters = &self.counters;
        let stream = match outgoing::dial(to, &self.identity, Prefer::Sealed).await {
            Ok(stream) => stream,
            Err(outgoing::DialError::Connect(error)) => {
                counters.pipes_failed_connect.add(1);
                return Err(DialError::Connect(match error {
                    ExchangeError::Connect(why) => why,
                    error @ (ExchangeError::Handshake(_)
                    | ExchangeError::Timeout
                    | ExchangeError::Broken(_)
                    | ExchangeError::Busy) => error.to_string(),
                }));
            }
            Err(outgoing::DialError::Handshake(error)) => {
                counters.pipes_failed_handshake.add(1);
                return Err(error.into());
            }
        };
        let opened = match timeout(HANDSHAKE_DEADLINE, open(stream)).await {
            Ok(opened) => opened,
            Err(_) => Err(HandshakeError::Slow.into()),
        };
        let counter = match &opened {
            Ok(_) => &counters.pipes_opened,
            Err(_) => &counters.pipes_failed_handshake,
        };
        counter.add(1);
        opened
    }
}

/// Says what the pipe is for, and waits until the peer agrees.
async fn open(stream: RpcStream) -> Result<RpcStream, DialError> {
    let mut frames = Frames::new(stream);
    let open = Open::rpc().encode_to_vec();
    frames.write(FrameKind::Open, &open).await?;
    let head = frames.head().await?;
    let body = frames.body(head).await?;
    match head.kind {
        FrameKind::Open if Open::understand(&body) == Ok(Purpose::Rpc) => Ok(frames.into_inner()),
        FrameKind::Goodbye => match Goodbye::decode(body) {
            Ok(goodbye) => Err(DialError::Refused(goodbye)),
            Err(_) => Err(DialError::Senseless),
        },
        FrameKind::Open | FrameKind::Body => Err(DialError::Senseless),
    }
}

/// A pipe that a peer opened and that waits to be taken. On no runtime.
#[derive(Debug)]
pub(crate) struct Arrived {
    from: SocketAddr,
    stream: SealedStream<StdTcpStream>,
}

impl Arrived {
    pub(super) fn new(from: SocketAddr, stream: SealedStream<StdTcpStream>) -> Self {
        Self { from, stream }
    }

    /// Where the peer's end is.
    pub(crate) fn from(&self) -> SocketAddr {
        self.from
    }

    /// The key that it was opened under; none in clear.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.stream.key()
    }

    /// Takes it, on the current runtime.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) async fn accept(self) -> Result<RpcStream, FrameError> {
        let mut frames = self.frames()?;
        let open = Open::rpc().encode_to_vec();
        frames.write(FrameKind::Open, &open).await?;
        Ok(frames.into_inner())
    }

    /// Tells the peer that there is no place for it.
    pub(crate) async fn refuse(self) {
        match self.frames() {
            Ok(frames) => frames.close(Reason::Busy, "too many gRPC pipes").await,
            Err(error) => tracing::trace!(%error, "a refused peer is gone"),
        }
    }

    fn frames(self) -> io::Result<Frames<RpcStream>> {
        Ok(Frames::new(self.stream.over(TcpStream::from_std)?))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Nodes that talk over real sockets, without an engine.

    use tokio::net::TcpListener;

    use super::*;
    use crate::daemon::supervisor::Tasks;
    use crate::gossip::pipe::incoming::Server;
    use crate::gossip::pipe::testing::identity;

    /// The pipes of a node with the key of that byte, and where it listens.
    pub(crate) async fn node(key: Option<u8>, tasks: &Tasks) -> (Pipes, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (identity, counters) = (identity("c", key), Arc::<Counters>::default());
        let (rpc, arrivals) = mpsc::channel(ARRIVED_MAX);
        let dialer = Dialer::new(Arc::clone(&identity), Arc::clone(&counters));
        let server = Server::new(
            identity,
            mpsc::channel(1).0,
            rpc,
            counters,
            tasks.stop_token(),
        );
        tasks.spawn("accept peers", server.run(listener, tasks.clone()));
        (Pipes { dialer, arrivals }, addr)
    }
}
