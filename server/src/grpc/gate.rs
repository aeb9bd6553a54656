//! What every call passes: capability, number of calls, panics, drain.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::access::{Access, Rule, rule};
use super::frames::trailers;
use super::metrics::Metrics;
use super::peer::Peer;
use super::routes::Routes;
use super::status;

/// The whole API as one service for the accept loop. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gate {
    routes: Routes,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    access: Access,
    calls: Arc<Semaphore>,
    calls_max: usize,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Gate {
    pub(crate) fn new(
        routes: Routes,
        access: Access,
        calls_max: usize,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            access,
            calls: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            metrics,
            stop,
        };
        Self {
            routes,
            shared: Arc::new(shared),
        }
    }
}

impl Shared {
    /// Lets a call in, or says why not. Puts the caller's capabilities beside it.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(Call, bool), Status> {
        let (rule, streams) = rule(request.uri().path());
        let peer = request.extensions().get::<Peer>().copied();
        let granted = peer.map(|peer| self.access.of(&peer)).unwrap_or_default();
        if let Rule::Needs(needs) = rule
            && !granted.contains(&needs)
        {
            self.metrics.refused("capability");
            let (path, uid) = (request.uri().path(), peer.map(|peer| peer.uid));
            return Err(status::not_permitted(path, needs.as_str(), uid));
        }
        if streams && self.stop.is_cancelled() {
            return Err(status::shutting_down());
        }
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            self.metrics.refused("streams");
            return Err(status::too_many_streams(self.calls_max));
        };
        request.extensions_mut().insert(granted);
        Ok((Call::new(permit, &self.metrics), streams))
    }
}

/// A call under way, counted until it is dropped.
#[derive(Debug)]
struct Call {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Call {
    fn new(permit: OwnedSemaphorePermit, metrics: &Metrics) -> Self {
        let open = metrics.calls_open.clone();
        open.inc();
        Self {
            open,
            _permit: permit,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl<B> Service<Request<B>> for Gate
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (call, streams) = match self.shared.admit(&mut request) {
            Ok(admitted) => admitted,
            Err(refusal) => return Box::pin(std::future::ready(Ok(refusal.into_http()))),
        };
        let answering = self.routes.call(request.map(Body::new));
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let answer = match AssertUnwindSafe(answering).catch_unwind().await {
                Ok(Ok(answer)) => answer,
                Err(_panic) => {
                    shared.metrics.panics.inc();
                    tracing::error!("a call panicked");
                    return Ok(status::panicked().into_http());
                }
            };
            let stop = streams.then(|| Box::pin(shared.stop.clone().cancelled_owned()));
            Ok(answer.map(|inner| {
                Body::new(GateBody {
                    inner,
                    stop,
                    shared,
                    done: false,
                    _call: call,
                })
            }))
        })
    }
}

/// The body of an answer: holds the call's place, ends a stream when the daemon
/// drains, and turns a panic into a status.
struct GateBody {
    inner: Body,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    shared: Arc<Shared>,
    done: bool,
    _call: Call,
}

impl GateBody {
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.done = true;
        self.inner = Body::default();
        Poll::Ready(Some(Ok(Frame::trailers(trailers(status)))))
    }
}

impl HttpBody for GateBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let stopping = self
            .stop
            .as_mut()
            .is_some_and(|stop| stop.poll_unpin(cx).is_ready());
        if stopping {
            return self.end(&status::shutting_down());
        }
        let inner = &mut self.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let Ok(polled) = polled else {
            self.shared.metrics.panics.inc();
            tracing::error!("a stream panicked");
            return self.end(&status::panicked());
        };
        self.done = matches!(&polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
