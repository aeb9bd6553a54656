//! Frames in a pipe's byte stream: u32 length, u8 kind, body.

use std::io;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use muster_engine::api::EXCHANGE_BYTES_MAX;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Goodbye, Reason};
use super::{FRAME_DEADLINE, GOODBYE_DEADLINE};

/// Largest `Open` or `Goodbye` body, bytes.
const CONTROL_BYTES_MAX: usize = 1 << 10;

/// A body is read in steps of at most this before its buffer grows.
const READ_STEP: usize = 16 << 10;

/// Body bytes that travel in one write with their header.
const FIRST_WRITE: usize = 60 << 10;

const HEADER: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The first of a pipe.
    Open = 0,
    /// A request or an answer.
    Body = 1,
    /// The last of a pipe.
    Goodbye = 2,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Open, Self::Body, Self::Goodbye]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Open | Self::Goodbye => CONTROL_BYTES_MAX,
            Self::Body => EXCHANGE_BYTES_MAX,
        }
    }
}

/// Why a frame could not be read or written. The pipe is of no use then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The connection broke, or a seal in it.
    #[error("the pipe broke")]
    Io(#[from] io::Error),
    /// The peer ended the stream.
    #[error("the peer ended the pipe")]
    Ended,
    /// No such frame.
    #[error("frames of kind {0} are not known")]
    Kind(u8),
    /// Longer than allowed.
    #[error("a frame claims {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Claimed.
        bytes: usize,
        /// Allowed.
        limit: usize,
    },
    /// Nothing came, or not all.
    #[error("a frame took too long")]
    Slow,
}

/// Head of a frame that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: FrameKind,
    pub(crate) bytes: usize,
}

/// Reads and writes frames on `T`.
#[derive(Debug)]
pub(crate) struct Frames<T> {
    io: T,
    header: [u8; HEADER],
    header_got: usize,
    body: Vec<u8>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Frames<T> {
    /// On a stream at the start of a frame.
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            header: [0; HEADER],
            header_got: 0,
            body: Vec::new(),
        }
    }

    /// The stream.
    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    /// The stream after the last frame that was read or written whole: nothing beyond
    /// it was taken from the stream.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    /// Waits for the first byte of a frame, without end, then for its head.
    /// Cancel-safe: bytes that came are kept for the next call.
    pub(crate) async fn head(&mut self) -> Result<Head, FrameError> {
        if self.header_got == 0 {
            self.read_header().await?;
        }
        within(FRAME_DEADLINE, async {
            while self.header_got < HEADER {
                self.read_header().await?;
            }
            Ok(())
        })
        .await?;
        let [a, b, c, d, kind] = self.header;
        let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let limit = kind.bytes_max();
        if bytes > limit {
            return Err(FrameError::TooLong { bytes, limit });
        }
        Ok(Head { kind, bytes })
    }

    /// Reads the body that `head` announced.
    pub(crate) async fn body(&mut self, head: Head) -> Result<Bytes, FrameError> {
        within(FRAME_DEADLINE, async {
            while self.body.len() < head.bytes {
                let missing = head.bytes - self.body.len();
                let step = missing.min(READ_STEP.max(self.body.len()));
                self.body.reserve_exact(step);
                let got = self.io.read_buf(&mut (&mut self.body).limit(step)).await?;
                if got == 0 {
                    return Err(FrameError::Ended);
                }
            }
            Ok(())
        })
        .await?;
        self.header_got = 0;
        Ok(Bytes::from(std::mem::take(&mut self.body)))
    }

    /// Writes one frame whole. Not cancel-safe: drop the pipe after a cancelled one.
    pub(crate) async fn write(&mut self, kind: FrameKind, body: &[u8]) -> Result<(), FrameError> {
        let limit = kind.bytes_max();
        let bytes = body.len();
        if bytes > limit {
            return Err(FrameError::TooLong { bytes, limit });
        }
        let length =
            u32::try_from(bytes).map_err(|_beyond| FrameError::TooLong { bytes, limit })?;
        let (first, rest) = body.split_at(bytes.min(FIRST_WRITE));
        let mut start = Vec::with_capacity(HEADER + first.len());
        start.put_u32(length);
        start.put_u8(kind as u8);
        start.put_slice(first);
        within(FRAME_DEADLINE, async {
            self.io.write_all(&start).await?;
            self.io.write_all(rest).await?;
            Ok(self.io.flush().await?)
        })
        .await
    }

    /// Says goodbye and closes, as far as the peer listens.
    pub(crate) async fn close(mut self, reason: Reason, text: &str) {
        let body = Goodbye::new(reason, text).encode_to_vec();
        let said = timeout(GOODBYE_DEADLINE, async {
            self.write(FrameKind::Goodbye, &body).await?;
            Ok::<_, FrameError>(self.io.shutdown().await?)
        });
        if !matches!(said.await, Ok(Ok(()))) {
            tracing::trace!("the goodbye of a pipe was not heard");
        }
    }

    async fn read_header(&mut self) -> Result<(), FrameError> {
        let got = self.io.read(&mut self.header[self.header_got..]).await?;
        if got == 0 {
            return Err(FrameError::Ended);
        }
        self.header_got += got;
        Ok(())
    }
}

async fn within<O>(
    limit: Duration,
    work: impl Future<Output = Result<O, FrameError>>,
) -> Result<O, FrameError> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(FrameError::Slow),
    }
}

#[cfg(test)]
mod tests;
