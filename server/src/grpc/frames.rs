//! Streams of messages that were encoded and framed once and are shared by many
//! calls: they go into the HTTP body as they are, without tonic's own buffer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::status;

/// Bytes before each message: a compression flag and the length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// Bytes of a message with its frame.
pub(crate) fn framed_len(message: &impl Message) -> usize {
    PREFIX_BYTES + message.encoded_len()
}

/// Appends one framed message.
pub(crate) fn put_framed(message: &impl Message, buffer: &mut BytesMut) {
    let length = message.encoded_len();
    buffer.reserve(PREFIX_BYTES + length);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(buffer);
}

/// One framed message.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    put_framed(message, &mut buffer);
    buffer.freeze()
}

/// An answer whose body is made of framed messages: each item holds one or more
/// whole ones.
pub(crate) fn answer<S>(stream: S) -> Response<Body>
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
{
    let body = FramedBody {
        stream,
        done: false,
    };
    let mut response = Response::new(Body::new(body));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// The trailers that end a stream.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only a text that is no header value gets here; the code is what counts.
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}

struct FramedBody<S> {
    stream: S,
    done: bool,
}

impl<S> http_body::Body for FramedBody<S>
where
    S: Stream<Item = Result<Bytes, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let end = match Pin::new(&mut self.stream).poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::new(Code::Ok, ""),
        };
        self.done = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}

/// Reads the one message of a call that is answered by a stream.
///
/// # Errors
/// Too large, not decodable, or missing.
pub(crate) async fn request<M>(body: Body, limit: usize) -> Result<M, Status>
where
    M: Message + Default + 'static,
{
    let decoder = ProstCodec::<M, M>::default().decoder();
    let mut messages = Streaming::new_request(decoder, body, None, Some(limit));
    let message = messages.message().await;
    message
        .map_err(|error| status::undecodable(error, limit))?
        .ok_or_else(status::no_message)
}

/// What answers the methods that send framed streams.
pub(crate) trait Streams: Send + Sync + 'static {
    /// Answers `method` (its name without the service), or gives the body back to
    /// the generated server.
    fn open(self: &Arc<Self>, method: &str, body: Body) -> Opened;
}

/// The answer under way.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

/// Whether a method is one of the framed streams.
pub(crate) enum Opened {
    Mine(Opening),
    Other(Body),
}

impl Opened {
    /// Answers one request by the stream that `open` makes of it.
    pub(crate) fn stream<H, M, S>(
        service: &Arc<H>,
        body: Body,
        limit: usize,
        open: impl FnOnce(&H, M) -> Result<S, Status> + Send + 'static,
    ) -> Self
    where
        H: Send + Sync + 'static,
        M: Message + Default + 'static,
        S: Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
    {
        let service = Arc::clone(service);
        Self::Mine(Box::pin(async move {
            let request = request(body, limit).await?;
            Ok(answer(open(&service, request)?))
        }))
    }
}

/// A generated server whose framed streams are answered by `streams`.
#[derive(Debug)]
pub(crate) struct WithStreams<S, H> {
    inner: S,
    streams: Arc<H>,
}

impl<S, H> WithStreams<S, H> {
    pub(crate) fn new(inner: S, streams: Arc<H>) -> Self {
        Self { inner, streams }
    }
}

impl<S: Clone, H> Clone for WithStreams<S, H> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.streams))
    }
}

impl<S: NamedService, H> NamedService for WithStreams<S, H> {
    const NAME: &'static str = S::NAME;
}

impl<S, H> Service<Request<Body>> for WithStreams<S, H>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    H: Streams,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let method = parts.uri.path().rsplit('/').next().unwrap_or_default();
        match self.streams.open(method, body) {
            Opened::Mine(opening) => Box::pin(async move {
                let answer = opening.await;
                Ok(answer.unwrap_or_else(Status::into_http))
            }),
            Opened::Other(body) => Box::pin(self.inner.call(Request::from_parts(parts, body))),
        }
    }
}
