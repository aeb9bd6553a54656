//! Serves HTTP/2 on a unix socket: accepts, limits, guards and drains.
//!
//! hyper is used directly, because tonic's own server hides the limit on what a
//! stream may have in its send buffer.

mod calls;
mod guard;
mod preface;
mod stall;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use self::calls::{Calls, Executor};
use self::guard::guarded;
use self::preface::PrefaceGuard;
use self::stall::StallGuard;
use super::authority::AuthorityFilter;
use super::limits;
use super::peer::{Peer, SocketKind};
use super::socket::Listener;
use super::transport_metrics::TransportMetrics;
use crate::daemon::supervisor::Tasks;

/// Connections open at once on one socket; one more is closed at once and counted.
pub const CONNECTIONS_MAX: usize = 4096;

/// Streams open at once on one connection; clients queue one more themselves.
pub const CONNECTION_STREAMS_MAX: u32 = 1024;

/// Bytes that may wait in the send buffer of one stream. 1,000 watchers that stop
/// reading cost 168 MB with it, and 740 MB with hyper's 400 KiB.
pub const SEND_BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Streams that a client may open and reset before we have looked at them. With
/// h2's 20 a client that cancels a few thousand watches loses its connection.
pub const RESET_STREAMS_MAX: usize = 4096;

/// Bytes of all header fields of a request, as RFC 9113 counts them.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// How long a client may leave what we have for it unread before its connection
/// is closed as CONSUMER_STALLED.
pub const STALL_LIMIT: Duration = limits::STALLED_AFTER;

/// How long a new connection may take to send the HTTP/2 preface before it is
/// closed and counted.
pub const PREFACE_LIMIT: Duration = Duration::from_secs(10);

/// Wait after a failed `accept`: the cause, mostly too many open files, does not
/// go away by asking again at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How often the file of the socket is looked after.
const FILE_CHECK: Duration = Duration::from_secs(2);

/// How long connections that are cut off may take to notice.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// What bounds the serving of one socket.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once.
    pub connections: usize,
    /// How long a client may leave pending bytes unread.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            stall: STALL_LIMIT,
        }
    }
}

/// Serves the socket until the tasks are told to stop. Then open calls have
/// `drain` to end; what is still open is cut off, and the socket's file removed.
///
/// # Errors
/// None at present: whatever goes wrong ends one connection at most.
pub async fn serve<S>(
    mut listener: Listener,
    service: S,
    limits: Limits,
    tasks: Tasks,
    metrics: TransportMetrics,
    drain: Duration,
) -> anyhow::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let stop = tasks.stop_token();
    let open = TaskTracker::new();
    let server = Server {
        service,
        limits,
        tasks,
        metrics,
        cut: CancellationToken::new(),
    };
    let mut file_check = interval(FILE_CHECK);
    file_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper::default();
    let mut accepting = true;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    accepting = true;
                    server.admit(stream, listener.config().kind, &open);
                }
                Err(error) => {
                    server.metrics.accept_errors.inc();
                    if accepting {
                        tracing::warn!(%error, "cannot accept connections, trying on");
                    }
                    accepting = false;
                    tokio::select! {
                        () = sleep(ACCEPT_BACKOFF) => {}
                        () = stop.cancelled() => break,
                    }
                }
            },
            _ = file_check.tick() => keeper.look_after(&mut listener, &server.metrics),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    open.close();
    if timeout(drain, open.wait()).await.is_err() {
        tracing::warn!(
            connections = open.len(),
            "connections outlive the drain, cutting them off"
        );
        server.cut.cancel();
        if timeout(CUT_LIMIT, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "connections do not end");
        }
    }
    Ok(())
}

/// Puts the file of a socket back in place, and says so once per trouble.
#[derive(Debug, Default)]
struct Keeper {
    failing: bool,
}

impl Keeper {
    fn look_after(&mut self, listener: &mut Listener, metrics: &TransportMetrics) {
        let restored = listener.restore();
        let path = listener.config().path.display();
        match restored {
            Ok(false) => self.failing = false,
            Ok(true) => {
                self.failing = false;
                metrics.sockets_recreated.inc();
                tracing::warn!(%path, "socket was deleted or replaced, created it again");
            }
            Err(error) => {
                metrics.socket_recreation_errors.inc();
                if !self.failing {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(%path, error, "socket is gone and cannot be created again");
                }
                self.failing = true;
            }
        }
    }
}

/// What every connection needs.
#[derive(Debug, Clone)]
struct Server<S> {
    service: S,
    limits: Limits,
    tasks: Tasks,
    metrics: TransportMetrics,
    /// Ends connections that do not drain.
    cut: CancellationToken,
}

impl<S> Server<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    fn admit(&self, stream: UnixStream, socket: SocketKind, open: &TaskTracker) {
        if open.len() >= self.limits.connections {
            self.metrics.connections_refused.inc();
            tracing::debug!(%socket, "too many connections, closed one");
            return;
        }
        let peer = match stream.peer_cred() {
            Ok(peer) => Peer {
                uid: peer.uid(),
                gid: peer.gid(),
                socket,
            },
            Err(error) => {
                self.metrics.accept_errors.inc();
                tracing::debug!(%error, "client is gone before it was known");
                return;
            }
        };
        self.metrics.connections_accepted.inc();
        let connection = self.clone().connection(stream, peer);
        self.tasks
            .spawn_guarded("grpc connection", open.track_future(connection));
    }

    async fn connection(self, stream: UnixStream, peer: Peer) {
        let _open = OpenConnection::new(self.metrics.clone());
        let Self {
            service,
            limits,
            tasks,
            metrics,
            cut,
        } = self;
        let stop = tasks.stop_token();
        let panics = metrics.call_panics.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            guarded(service.clone(), request, panics.clone())
        });
        let stream = PrefaceGuard::new(stream, PREFACE_LIMIT, metrics.clone());
        let stream = StallGuard::new(stream, limits.stall, metrics.clone());
        let stream = TokioIo::new(AuthorityFilter::new(stream, metrics.clone()));
        let mut calls = Calls::new();
        let ended = {
            let builder = builder(calls.executor());
            let mut connection = pin!(builder.serve_connection(stream, service));
            tokio::select! {
                ended = calls.drive(connection.as_mut()) => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = calls.drive(connection) => ended,
                        () = cut.cancelled() => {
                            metrics.connections_cut.inc();
                            return;
                        }
                    }
                }
            }
        };
        if let Err(error) = ended {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, uid = peer.uid, socket = %peer.socket, "connection failed");
        }
        calls.finish().await;
    }
}

fn builder(executor: Executor) -> http2::Builder<Executor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX);
    builder
}

/// Counts a connection as open while it lives, also if it ends by a panic.
struct OpenConnection(TransportMetrics);

impl OpenConnection {
    fn new(metrics: TransportMetrics) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

#[cfg(test)]
mod tests;
