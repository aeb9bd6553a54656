//! Clients that connect and say nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::grpc::transport_metrics::TransportMetrics;

/// Bytes with which an HTTP/2 client begins (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// A stream whose reads fail unless a whole preface came within `limit`. Later it
/// may be silent for as long as it likes.
#[derive(Debug)]
pub(super) struct PrefaceGuard<T> {
    inner: T,
    /// `None` once the preface is there.
    waiting: Option<Waiting>,
    metrics: TransportMetrics,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    timer: Pin<Box<Sleep>>,
}

impl<T> PrefaceGuard<T> {
    pub(super) fn new(inner: T, limit: Duration, metrics: TransportMetrics) -> Self {
        let timer = Box::pin(sleep(limit));
        let waiting = Some(Waiting { bytes: 0, timer });
        Self {
            inner,
            waiting,
            metrics,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PrefaceGuard<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        let Some(waiting) = &mut this.waiting else {
            return read;
        };
        waiting.bytes += buf.filled().len() - before;
        if waiting.bytes >= PREFACE_BYTES {
            this.waiting = None;
        } else if read.is_pending() && waiting.timer.as_mut().poll(cx).is_ready() {
            this.metrics.connections_silent.inc();
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client said nothing",
            )));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PrefaceGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_not_waited_for_any_longer() {
        let metrics = TransportMetrics::default();
        let (near, mut far) = duplex(64);
        let mut guard = PrefaceGuard::new(near, LIMIT, metrics.clone());
        far.write_all(b"PRI * HTTP").await.unwrap();
        let start = Instant::now();
        let mut bytes = [0; PREFACE_BYTES];
        let error = guard.read_exact(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
        assert_eq!(metrics.connections_silent.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_preface_silence_is_fine() {
        let metrics = TransportMetrics::default();
        let (near, mut far) = duplex(64);
        let mut guard = PrefaceGuard::new(near, LIMIT, metrics.clone());
        far.write_all(&[0; PREFACE_BYTES]).await.unwrap();
        guard.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let later = tokio::time::timeout(100 * LIMIT, guard.read_u8()).await;
        assert!(later.is_err(), "{later:?}");
        far.write_u8(7).await.unwrap();
        assert_eq!(guard.read_u8().await.unwrap(), 7);
        assert_eq!(metrics.connections_silent.get(), 0);
    }
}
