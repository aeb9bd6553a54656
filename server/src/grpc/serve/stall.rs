//! Clients that stop reading.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::grpc::transport_metrics::TransportMetrics;

/// A stream whose writes fail once its reader has taken nothing for `limit`
/// while something was pending.
#[derive(Debug)]
pub(super) struct StallGuard<T> {
    inner: T,
    limit: Duration,
    /// Runs while a write is pending without progress.
    timer: Option<Pin<Box<Sleep>>>,
    metrics: TransportMetrics,
}

impl<T> StallGuard<T> {
    pub(super) fn new(inner: T, limit: Duration, metrics: TransportMetrics) -> Self {
        Self {
            inner,
            limit,
            timer: None,
            metrics,
        }
    }

    /// What a write came to, unless its reader has stalled.
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer = None;
        self.metrics.consumers_stalled.inc();
        tracing::warn!(limit = ?limit, "CONSUMER_STALLED: client reads nothing, closing it");
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "CONSUMER_STALLED",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StallGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for StallGuard<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.watch(cx, written)
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
    use crate::grpc::limits::STALLED_AFTER;

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_pause_for_the_limit_and_no_longer() {
        let metrics = TransportMetrics::default();
        let (near, mut far) = duplex(4);
        let mut guard = StallGuard::new(near, STALLED_AFTER, metrics.clone());
        guard.write_all(b"full").await.unwrap();
        let second = Duration::from_secs(1);
        let slow = tokio::spawn(async move {
            sleep(STALLED_AFTER - second).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
            far
        });
        // Each byte taken starts the wait anew.
        guard.write_all(b"more").await.unwrap();
        assert_eq!(metrics.consumers_stalled.get(), 0);
        let _far = slow.await.unwrap();
        let start = Instant::now();
        let error = guard.write_all(b"lost").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), STALLED_AFTER.as_secs());
        assert_eq!(metrics.consumers_stalled.get(), 1);
    }
}
