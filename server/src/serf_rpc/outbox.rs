//! The way back to one client: whole messages, one after the other.
//!
//! Nothing is queued. Who has something to say waits for its turn and for the client,
//! so a client that does not read costs one message per stream and call, and only its
//! own streams fall behind.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Writes messages of several tasks.
#[derive(Debug)]
pub(crate) struct Outbox {
    writer: Mutex<OwnedWriteHalf>,
    stall: Duration,
    cut: CancellationToken,
    metrics: Metrics,
}

impl Outbox {
    /// Ends the connection by `cut` when the client takes nothing for `stall`.
    pub(crate) fn new(
        writer: OwnedWriteHalf,
        stall: Duration,
        cut: CancellationToken,
        metrics: Metrics,
    ) -> Self {
        Self {
            writer: Mutex::new(writer),
            stall,
            cut,
            metrics,
        }
    }

    /// Ends the connection for a reason that is counted.
    pub(crate) fn cut(&self, reason: &'static str) {
        if !self.cut.is_cancelled() {
            self.metrics.cut(reason);
            self.cut.cancel();
        }
    }

    /// The token that ends the connection.
    pub(crate) fn cut_token(&self) -> &CancellationToken {
        &self.cut
    }

    /// Writes one message. Not to be dropped half-way unless the connection is: part of
    /// a message would be left behind.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn send(&self, message: &[u8]) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(Gone),
            sent = self.write(message) => sent,
        }
    }

    async fn write(&self, mut rest: &[u8]) -> Result<(), Gone> {
        let mut writer = self.writer.lock().await;
        while !rest.is_empty() {
            match timeout(self.stall, writer.write(rest)).await {
                Ok(Ok(written)) if written > 0 => rest = &rest[written..],
                Ok(_) => {
                    self.cut.cancel();
                    return Err(Gone);
                }
                Err(_elapsed) => {
                    tracing::warn!(
                        seconds = self.stall.as_secs(),
                        "a client of serf's RPC took nothing, cutting it off"
                    );
                    self.cut("stalled");
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }
}
