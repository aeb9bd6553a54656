//! The calls of peers to this node.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;

use super::caller::{Caller, Under};
use super::keys::Keys;
use super::load::{Counted, InFlight, Load};
use super::metrics::{Metrics, Up};
use super::{
    CLOSE_GRACE, CONNECTION_CALLS_MAX, CONNECTION_WINDOW_BYTES, FIRST_CALL, HEADER_LIST_BYTES_MAX,
    IDLE_CLOSE_INCOMING, INCOMING_MAX, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use crate::daemon::supervisor::Tasks;
use crate::gossip::rpc::Arrived;
use crate::routes::Routes;

/// How long a connection over the bound waits for the place of an idle one.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// How long an unused connection gets to say goodbye.
const UNUSED_GRACE: Duration = Duration::from_millis(250);

/// Serves the calls of peers.
#[derive(Debug)]
pub struct Server {
    arrivals: mpsc::Receiver<Arrived>,
    host: Host,
}

/// What every connection needs.
#[derive(Debug, Clone)]
struct Host {
    keys: Keys,
    tasks: Tasks,
    metrics: Metrics,
    places: Arc<Semaphore>,
    /// Somebody waits for a place.
    crowd: Arc<Notify>,
}

/// Runs the calls of a connection as supervised tasks.
#[derive(Debug, Clone)]
pub(super) struct Executor(pub(super) Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        self.0.spawn_guarded("peer call", async move {
            work.await;
        });
    }
}

impl Server {
    pub(super) fn new(
        arrivals: mpsc::Receiver<Arrived>,
        keys: Keys,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Self {
        let host = Host {
            keys,
            tasks,
            metrics,
            places: Arc::new(Semaphore::new(INCOMING_MAX)),
            crowd: Arc::default(),
        };
        Self { arrivals, host }
    }

    /// Serves until the tasks are told to stop.
    ///
    /// # Errors
    /// None at present: whatever goes wrong ends one connection at most.
    pub(crate) async fn run(mut self, routes: Routes) -> anyhow::Result<()> {
        let stop = self.host.tasks.stop_token();
        loop {
            let arrived = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                arrived = self.arrivals.recv() => arrived,
            };
            let Some(arrived) = arrived else {
                // Gossip has ended first.
                stop.cancelled().await;
                return Ok(());
            };
            let Some(place) = self.host.place().await else {
                self.host.metrics.refused.inc();
                let refusing = arrived.refuse();
                self.host.tasks.spawn_guarded("refuse peer", refusing);
                continue;
            };
            let serving = self.host.clone().serve(arrived, routes.clone(), place);
            self.host.tasks.spawn_guarded("peer calls", serving);
        }
    }
}

impl Host {
    /// A place, if need be that of an idle connection.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Some(place);
        }
        self.crowd.notify_one();
        timeout(PLACE_WAIT, places.acquire_owned()).await.ok()?.ok()
    }

    async fn serve(self, arrived: Arrived, routes: Routes, _place: OwnedSemaphorePermit) {
        let (from, under) = (arrived.from(), Under(arrived.key()));
        let close = self.keys.token(under.0);
        let stream = match arrived.accept().await {
            Ok(stream) => TokioIo::new(stream),
            Err(error) => {
                self.metrics.broken.inc();
                return tracing::debug!(%from, %error, "a peer is gone before its first call");
            }
        };
        self.metrics.accepted.inc();
        let _up = Up::new(&self.metrics.incoming);
        let (load, calls) = (Load::new(), self.metrics.clone());
        let entered = load.clone();
        let service = service_fn(move |request| {
            let mut request: Request<hyper::body::Incoming> = request;
            request.extensions_mut().insert(under);
            let answering = answer(routes.clone(), request.map(Body::new), from, calls.clone());
            let call = entered.enter();
            async move { answering.await.map(|response| counted(response, call)) }
        });
        let mut connection = pin!(self.builder().serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => Ok(ended),
            () = load.unused(FIRST_CALL, IDLE_CLOSE_INCOMING, &self.crowd) => Err(UNUSED_GRACE),
            () = close.cancelled() => Err(CLOSE_GRACE),
        };
        let ended = match ended {
            Ok(ended) => Ok(ended),
            Err(grace) => {
                connection.as_mut().graceful_shutdown();
                timeout(grace, connection).await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.metrics.broken.inc();
                let error: &dyn std::error::Error = &error;
                tracing::debug!(%from, error, "a peer's connection broke");
            }
            Err(_) => {
                self.metrics.cut.inc();
                tracing::debug!(%from, "a peer's calls were cut off");
            }
        }
    }

    fn builder(&self) -> http2::Builder<Executor> {
        let mut builder = http2::Builder::new(Executor(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_concurrent_streams(CONNECTION_CALLS_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX);
        builder
    }
}

/// Answers one call. A panic is caught, counted, and answered INTERNAL.
async fn answer(
    routes: Routes,
    mut request: Request<Body>,
    from: SocketAddr,
    metrics: Metrics,
) -> Result<Response<Body>, Infallible> {
    metrics.calls_received.inc();
    let caller = match Caller::read(request.headers(), from) {
        Ok(caller) => caller,
        Err(status) => {
            metrics.callers_unknown.inc();
            return Ok(status.into_http());
        }
    };
    request.extensions_mut().insert(caller);
    let path = request.uri().path().to_owned();
    let answering = async { routes.call(request, missing).await };
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(answered) => answered,
        Err(_) => {
            metrics.call_panics.inc();
            tracing::error!(path, "a peer's call panicked");
            Ok(Status::internal("the call hit a bug").into_http())
        }
    }
}

fn missing(name: &str) -> Status {
    Status::unimplemented(format!("there is no service {name:?}"))
}

fn counted(response: Response<Body>, call: InFlight) -> Response<Body> {
    response.map(|body| Body::new(Counted::new(body, call)))
}
