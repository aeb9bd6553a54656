//! Calls that panic: caught, counted, and answered INTERNAL.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::grpc::status;

/// Answers one call.
pub(super) async fn guarded<S>(
    service: S,
    request: Request<Body>,
    panics: Counter,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let path = request.uri().path().to_owned();
    let answer = async move { service.oneshot(request).await };
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => Ok(response.map(|inner| {
            Body::new(GuardedBody {
                inner: Some(inner),
                path,
                panics,
            })
        })),
        Ok(Err(impossible)) => match impossible {},
        Err(_) => Ok(panicked(&path, &panics).into_http()),
    }
}

fn panicked(path: &str, panics: &Counter) -> Status {
    panics.inc();
    tracing::error!(path, "call panicked");
    status::panicked()
}

/// The messages of one answer. A panic while they are made ends it with INTERNAL.
struct GuardedBody {
    /// `None` after a panic.
    inner: Option<Body>,
    path: String,
    panics: Counter,
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        polled.unwrap_or_else(|_| {
            this.inner = None;
            let mut trailers = HeaderMap::new();
            let ended = panicked(&this.path, &this.panics).add_header(&mut trailers);
            Poll::Ready(Some(ended.map(|()| Frame::trailers(trailers))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
