//! Makes HTTP/2 accept the `:authority` of every gRPC client on a unix socket.
//!
//! C-core (Python, C++, Ruby, PHP) sends the percent-encoded path of the socket,
//! Java and older grpcurl the bare path. Neither is an authority by RFC 3986, and
//! h2 resets the stream before any service sees it. The filter sits between the
//! socket and h2 and replaces the octets that offend. Whatever it cannot follow
//! passes untouched, so that h2 answers as it would have without it.

mod frames;
mod hpack;
mod huffman;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frames::{Frames, Step};
use super::transport_metrics::TransportMetrics;

/// Octets read at once while a frame of headers is held back. Outside of that
/// the filter reads straight into the buffer of its reader.
const READ: usize = 4096;

/// Octets that wait for the reader before no further block is rewritten. One
/// block may come on top.
const READY: usize = 16 * 1024;

/// The stream of one client, with legal authorities in what is read from it.
#[derive(Debug)]
pub struct AuthorityFilter<T> {
    inner: T,
    frames: Frames,
    /// Read, and not judged yet. Bounded by the header block that is held back.
    held: BytesMut,
    /// Judged, and not yet taken.
    ready: BytesMut,
    metrics: TransportMetrics,
}

impl<T> AuthorityFilter<T> {
    /// Filters what `inner`, a fresh connection, reads.
    #[must_use]
    pub fn new(inner: T, metrics: TransportMetrics) -> Self {
        let (held, ready) = (BytesMut::new(), BytesMut::new());
        Self {
            inner,
            frames: Frames::default(),
            held,
            ready,
            metrics,
        }
    }

    fn step(&mut self, data: &[u8]) -> Step {
        let was_off = self.frames.is_off();
        let step = self.frames.step(data);
        if self.frames.is_off() {
            self.metrics
                .authority_filters_off
                .inc_by(u64::from(!was_off));
        } else if matches!(step, Step::Replace(..)) {
            self.metrics.authorities_rewritten.inc();
        }
        step
    }

    /// Judges octets that lie in the reader's buffer. Answers how many of them
    /// may stay there; the others were copied.
    fn judge_in_place(&mut self, data: &[u8]) -> usize {
        let mut at = 0;
        while at < data.len() {
            match self.step(&data[at..]) {
                Step::Pass(taken) => at += taken,
                Step::Replace(taken, with) => {
                    self.ready.extend_from_slice(&with);
                    self.held.extend_from_slice(&data[at + taken..]);
                    return at;
                }
                Step::More => {
                    self.held.extend_from_slice(&data[at..]);
                    return at;
                }
            }
        }
        at
    }

    fn judge_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        while !held.is_empty() && self.ready.len() < READY {
            match self.step(&held) {
                Step::Pass(taken) => self.ready.extend_from_slice(&held.split_to(taken)),
                Step::Replace(taken, with) => {
                    held.advance(taken);
                    self.ready.extend_from_slice(&with);
                }
                Step::More => break,
            }
        }
        if !held.is_empty() {
            self.held = held;
        }
    }

    fn take_ready(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..taken]);
        self.ready.advance(taken);
        if self.ready.is_empty() {
            // Give the memory back: most connections need it once.
            self.ready = BytesMut::new();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AuthorityFilter<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.ready.is_empty() {
                this.take_ready(buf);
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let start = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let fresh = &buf.filled()[start..];
                let stays = this.judge_in_place(fresh);
                if stays > 0 || fresh.is_empty() {
                    buf.set_filled(start + stays);
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(start);
                continue;
            }
            this.judge_held();
            if !this.ready.is_empty() || this.held.is_empty() {
                continue;
            }
            let mut space = [0; READ];
            let mut fresh = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut fresh))?;
            if fresh.filled().is_empty() {
                // The end, inside a frame: h2 sees it as it is.
                this.ready = std::mem::take(&mut this.held);
            } else {
                this.held.extend_from_slice(fresh.filled());
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AuthorityFilter<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
