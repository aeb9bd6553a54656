//! One connection to a peer.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

use super::Pool;
use crate::gossip::rpc::RpcStream;
use crate::peers::incoming::Executor;
use crate::peers::load::{InFlight, Load};
use crate::peers::metrics::Up;
use crate::peers::{
    CLOSE_GRACE, CONNECTION_WINDOW_BYTES, FIRST_CALL, HEADER_LIST_BYTES_MAX, IDLE_CLOSE,
    KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES,
};

/// Sends calls.
pub(super) type Sender = http2::SendRequest<Body>;

/// A connection that was open when last looked at.
#[derive(Debug)]
pub(super) struct Link {
    sender: Sender,
    load: Load,
    sealed: bool,
}

/// A stream that fails once it is cut: what hyper does with it elsewhere ends.
#[derive(Debug)]
struct Severable {
    inner: RpcStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

type Connection = http2::Connection<TokioIo<Severable>, Body, Executor>;

/// The life of a connection.
struct Life {
    pool: Arc<Pool>,
    to: SocketAddr,
    load: Load,
    cut: CancellationToken,
    close: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Link {
    /// Opens one; it has a task of its own from then on.
    pub(super) async fn open(
        pool: &Arc<Pool>,
        to: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let stream = pool.dialer.dial(to).await.map_err(|error| {
            pool.metrics.open_errors.inc();
            tracing::debug!(%to, %error, busy = error.is_busy(), "no gRPC to a peer");
            Status::unavailable(format!("no way to the peer at {to}: {error}"))
        })?;
        let sealed = stream.key().is_some();
        let close = pool.keys.token(stream.key());
        let cut = CancellationToken::new();
        let stream = TokioIo::new(Severable {
            inner: stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
        });
        let mut builder = http2::Builder::new(Executor(pool.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX);
        let (sender, connection) = builder.handshake(stream).await.map_err(|error| {
            pool.metrics.open_errors.inc();
            Status::unavailable(format!("no HTTP/2 with the peer at {to}: {error}"))
        })?;
        pool.metrics.opened.inc();
        let load = Load::new();
        let life = Life {
            pool: Arc::clone(pool),
            to,
            load: load.clone(),
            cut,
            close,
            _place: place,
        };
        pool.tasks
            .spawn_guarded("calls to peer", life.run(connection));
        Ok(Self {
            sender,
            load,
            sealed,
        })
    }

    /// Whether calls can still be sent, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether it is under a key.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// For one call.
    pub(super) fn enter(&self) -> (Sender, InFlight) {
        (self.sender.clone(), self.load.enter())
    }

    /// Whether its calls are counted there.
    pub(super) fn carries(&self, load: &Load) -> bool {
        self.load.is(load)
    }
}

impl Life {
    async fn run(self, connection: Connection) {
        let _up = Up::new(&self.pool.metrics.outgoing);
        // Also when a panic ends it.
        let _cut = self.cut.clone().drop_guard();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.load.unused(FIRST_CALL, IDLE_CLOSE, &self.pool.crowd) => None,
            () = self.close.cancelled() => None,
        };
        self.pool.forget(self.to, &self.load).await;
        let ended = match ended {
            Some(ended) => Some(ended),
            // Without senders it says goodbye once its calls are done.
            None => tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = self.close.cancelled() => {
                    timeout(CLOSE_GRACE, connection).await.ok()
                }
            },
        };
        let (metrics, to) = (&self.pool.metrics, self.to);
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                metrics.broken.inc();
                let error: &dyn std::error::Error = &error;
                tracing::debug!(%to, error, "the connection to a peer broke");
            }
            None => {
                metrics.cut.inc();
                tracing::debug!(%to, "calls to a peer were cut off");
            }
        }
    }
}

impl Severable {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
