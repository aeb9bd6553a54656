//! What every call passes: capability, number of calls, deadline, panics, drain.

mod deadline;

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use self::deadline::Deadline;
use super::access::{Access, Rule, rule};
use super::frames::trailers;
use super::limits::STALLED_AFTER;
use super::metrics::Metrics;
use super::peer::Peer;
use super::status;
use crate::routes::{Answering, Routes};

/// The whole API as one service for the accept loop. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    routes: Routes,
    access: Access,
    calls: Arc<Semaphore>,
    bounds: Bounds,
    metrics: Metrics,
    stop: CancellationToken,
}

/// What the gate lets through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls under way.
    pub(crate) calls: usize,
    /// Bytes of a message that the generated servers read.
    pub(crate) message_bytes: usize,
}

impl Gate {
    pub(crate) fn new(
        routes: Routes,
        access: Access,
        bounds: Bounds,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            routes,
            access,
            calls: Arc::new(Semaphore::new(bounds.calls)),
            bounds,
            metrics,
            stop,
        };
        Self {
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
            return Err(status::too_many_streams(self.bounds.calls));
        };
        request.extensions_mut().insert(granted);
        Ok((Call::new(permit, &self.metrics), streams))
    }

    /// The beginning of an answer, unless its time is up or it hits a bug first.
    async fn answer(
        &self,
        answering: Answering,
        deadline: Option<Deadline>,
    ) -> Result<Response<Body>, Status> {
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answer = match deadline {
            None => answering.await,
            Some(deadline) => match timeout_at(deadline.at, answering).await {
                Ok(answer) => answer,
                Err(_elapsed) => {
                    self.metrics.deadlines.inc();
                    return Err(deadline.exceeded());
                }
            },
        };
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Err(_panic) => {
                self.metrics.panics.inc();
                tracing::error!("a call panicked");
                Err(status::panicked())
            }
        }
    }

    /// An error of tonic's with the reason that every error of ours has.
    fn told(&self, error: Status) -> Status {
        status::detailed(status::undecodable(error, self.bounds.message_bytes))
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
        let deadline = match Deadline::of(request.headers()) {
            Ok(deadline) => deadline,
            Err(refusal) => return Box::pin(std::future::ready(Ok(refusal.into_http()))),
        };
        let shared = Arc::clone(&self.shared);
        let answering = shared
            .routes
            .call(request.map(Body::new), status::no_such_service);
        Box::pin(async move {
            let answer = match shared.answer(answering, deadline).await {
                Ok(answer) => answer,
                Err(error) => return Ok(error.into_http()),
            };
            if let Some(error) = undetailed(answer.headers()) {
                return Ok(shared.told(error).into_http());
            }
            let stop = streams.then(|| Box::pin(shared.stop.clone().cancelled_owned()));
            let deadline = deadline.map(|deadline| (deadline, Box::pin(sleep_until(deadline.at))));
            Ok(answer.map(|inner| {
                Body::new(GateBody {
                    inner,
                    stop,
                    deadline,
                    shared,
                    handed: None,
                    done: false,
                    _call: call,
                })
            }))
        })
    }
}

/// The error in headers or trailers that tells no reason: one that tonic made.
fn undetailed(headers: &HeaderMap) -> Option<Status> {
    let error = Status::from_header_map(headers)?;
    (error.code() != Code::Ok && error.details().is_empty()).then_some(error)
}

/// The body of an answer: holds the call's place, ends a stream when the daemon
/// drains or its reader has stalled, and turns a panic into a status.
struct GateBody {
    inner: Body,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    shared: Arc<Shared>,
    /// When a stream handed over data for the last time, until it is asked for more.
    handed: Option<Instant>,
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
        if let Some((deadline, sleep)) = &mut self.deadline
            && sleep.poll_unpin(cx).is_ready()
        {
            let exceeded = deadline.exceeded();
            self.shared.metrics.deadlines.inc();
            return self.end(&exceeded);
        }
        if self
            .handed
            .take()
            .is_some_and(|handed| handed.elapsed() > STALLED_AFTER)
        {
            self.shared.metrics.stalled.inc();
            return self.end(&status::stalled(STALLED_AFTER));
        }
        let inner = &mut self.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let Ok(polled) = polled else {
            self.shared.metrics.panics.inc();
            tracing::error!("a stream panicked");
            return self.end(&status::panicked());
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(error) = frame.trailers_ref().and_then(undetailed)
        {
            let error = self.shared.told(error);
            return self.end(&error);
        }
        self.done = matches!(&polled, Poll::Ready(None));
        if self.stop.is_some() && matches!(&polled, Poll::Ready(Some(_))) {
            self.handed = Some(Instant::now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
