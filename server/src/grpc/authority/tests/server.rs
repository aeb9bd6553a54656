//! h2's own server, fed with recorded bytes in chunks of chosen sizes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Response};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::AuthorityFilter;
use crate::grpc::transport_metrics::TransportMetrics;

/// How many polls without an end count as a hang.
const PATIENCE: usize = 1_000_000;

/// A request as h2 has understood it.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) stream: u32,
    pub(super) method: String,
    pub(super) authority: Option<String>,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<HeaderMap>,
}

/// What h2 has made of a connection.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) requests: Vec<Seen>,
    /// Why h2 has ended the connection, if it has.
    pub(super) error: Option<String>,
    pub(super) metrics: TransportMetrics,
}

/// How many bytes a read gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunks {
    Whole,
    Bytes,
    /// Of random sizes up to a bound that is random as well.
    Seeded(u64),
}

/// Plays the bytes to h2, through the filter or not.
pub(super) fn play(bytes: &[u8], chunks: Chunks, filtered: bool) -> Outcome {
    let metrics = TransportMetrics::default();
    let tape = Tape::new(bytes, chunks);
    let over = Rc::clone(&tape.over);
    if filtered {
        run(AuthorityFilter::new(tape, metrics.clone()), &over, metrics)
    } else {
        run(tape, &over, metrics)
    }
}

/// What comes out of the filter.
pub(super) fn filtered(bytes: &[u8], chunks: Chunks) -> Vec<u8> {
    let tape = Tape::new(bytes, chunks);
    let over = Rc::clone(&tape.over);
    let mut filter = AuthorityFilter::new(tape, TransportMetrics::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    for _ in 0..PATIENCE {
        let mut space = [0; 1000];
        let mut buf = ReadBuf::new(&mut space);
        let polled = Pin::new(&mut filter).poll_read(&mut cx, &mut buf);
        assert!(!matches!(polled, Poll::Ready(Err(_))));
        out.extend_from_slice(buf.filled());
        if polled.is_ready() && buf.filled().is_empty() {
            return out;
        }
        if polled.is_pending() {
            show_end(&over);
        }
    }
    panic!("the filter hangs");
}

fn run<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    over: &Cell<End>,
    metrics: TransportMetrics,
) -> Outcome {
    let mut cx = Context::from_waker(Waker::noop());
    let mut outcome = Outcome {
        requests: Vec::new(),
        error: None,
        metrics,
    };
    let mut handshake = pin!(h2::server::handshake(io));
    let mut connection = loop {
        match handshake.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(connection)) => break connection,
            Poll::Ready(Err(error)) => {
                outcome.error = Some(error.to_string());
                return outcome;
            }
            Poll::Pending => show_end(over),
        }
    };
    let mut bodies = Vec::new();
    for _ in 0..PATIENCE {
        match connection.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok((request, mut respond)))) => {
                let (head, body) = request.into_parts();
                outcome.requests.push(Seen {
                    stream: body.stream_id().into(),
                    method: head.method.to_string(),
                    authority: head.uri.authority().map(ToString::to_string),
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    trailers: None,
                });
                respond
                    .send_response(Response::new(()), true)
                    .map(drop)
                    .unwrap_or_default();
                bodies.push((outcome.requests.len() - 1, body));
            }
            Poll::Ready(Some(Err(error))) => {
                outcome.error = Some(error.to_string());
                return outcome;
            }
            Poll::Ready(None) => return outcome,
            Poll::Pending if over.get() == End::Reached => {
                // Before the end comes, which drops what was not fetched.
                for (place, body) in &mut bodies {
                    outcome.requests[*place].trailers = trailers(body, &mut cx);
                }
                over.set(End::Shown);
            }
            Poll::Pending => {}
        }
    }
    panic!("h2 hangs");
}

fn trailers(body: &mut h2::RecvStream, cx: &mut Context<'_>) -> Option<HeaderMap> {
    while let Poll::Ready(Some(Ok(_))) = body.poll_data(cx) {}
    match body.poll_trailers(cx) {
        Poll::Ready(Ok(trailers)) => trailers,
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

/// Where the end of a tape is, seen from its reader.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum End {
    #[default]
    Ahead,
    /// The reader has all bytes, and waits for more.
    Reached,
    /// The reader shall see the end.
    Shown,
}

fn show_end(over: &Cell<End>) {
    if over.get() == End::Reached {
        over.set(End::Shown);
    }
}

/// Recorded bytes to read; takes what is written and forgets it.
struct Tape {
    bytes: Bytes,
    chunks: Chunks,
    rng: RefCell<StdRng>,
    most: usize,
    /// Where its end is.
    over: Rc<Cell<End>>,
}

impl Tape {
    fn new(bytes: &[u8], chunks: Chunks) -> Self {
        let mut rng = StdRng::seed_from_u64(match chunks {
            Chunks::Seeded(seed) => seed,
            Chunks::Whole | Chunks::Bytes => 0,
        });
        let most = 1 << rng.random_range(0..14);
        let bytes = Bytes::copy_from_slice(bytes);
        Self {
            bytes,
            chunks,
            rng: RefCell::new(rng),
            most,
            over: Rc::default(),
        }
    }
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = match self.chunks {
            Chunks::Whole => usize::MAX,
            Chunks::Bytes => 1,
            Chunks::Seeded(_) if self.rng.borrow_mut().random_ratio(1, 8) => return Poll::Pending,
            Chunks::Seeded(_) => self.rng.borrow_mut().random_range(1..=self.most),
        };
        if self.bytes.is_empty() {
            if self.over.get() == End::Shown {
                return Poll::Ready(Ok(()));
            }
            self.over.set(End::Reached);
            return Poll::Pending;
        }
        let taken = wanted.min(self.bytes.len()).min(buf.remaining());
        buf.put_slice(&self.bytes.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
