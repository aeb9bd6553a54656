//! The sealed byte stream inside a pipe.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use muster_engine::crypto::KeyId;
use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest message on the wire: Noise's own bound.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// Noise's tag.
const TAG: usize = 16;

/// Most bytes that one message carries.
pub(crate) const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - TAG;

/// A message is read in steps of at most this before its buffer grows: memory
/// follows the bytes that came, not the length that was claimed.
const READ_STEP: usize = 4 << 10;

/// How messages are sealed.
#[derive(Debug)]
pub(crate) enum Codec {
    /// Suite 0: in clear.
    Plain,
    /// Suite 1.
    Noise(Box<TransportState>),
}

/// A byte stream over `T` whose every message is authenticated. Its end is
/// authenticated too: a cut connection reads as an error, never as an end. Holds
/// no buffers while nothing is under way.
#[derive(Debug)]
pub(crate) struct SealedStream<T> {
    io: T,
    codec: Codec,
    key: Option<KeyId>,
    reading: Reading,
    writing: Writing,
}

#[derive(Debug, Default)]
struct Reading {
    length: [u8; 2],
    length_got: usize,
    message: Vec<u8>,
    payload: Vec<u8>,
    payload_taken: usize,
    ended: bool,
}

#[derive(Debug, Default)]
struct Writing {
    sealed: Vec<u8>,
    written: usize,
    ended: bool,
}

impl<T> SealedStream<T> {
    /// After a handshake that ended in `codec`, under `key` unless it is plain.
    pub(crate) fn new(io: T, codec: Codec, key: Option<KeyId>) -> Self {
        Self {
            io,
            codec,
            key,
            reading: Reading::default(),
            writing: Writing::default(),
        }
    }

    /// The cluster's key that it was opened under; none in clear.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// The same stream over the connection in another form, such as one that is
    /// registered elsewhere.
    pub(crate) fn over<U>(
        self,
        change: impl FnOnce(T) -> io::Result<U>,
    ) -> io::Result<SealedStream<U>> {
        Ok(SealedStream {
            io: change(self.io)?,
            codec: self.codec,
            key: self.key,
            reading: self.reading,
            writing: self.writing,
        })
    }
}

impl Codec {
    fn seal(&mut self, payload: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok([&length_of(payload.len())?, payload].concat()),
            Self::Noise(state) => {
                let mut sealed = vec![0; 2 + payload.len() + TAG];
                let length = state
                    .write_message(payload, &mut sealed[2..])
                    .map_err(io::Error::other)?;
                sealed[..2].copy_from_slice(&length_of(length)?);
                Ok(sealed)
            }
        }
    }

    fn open(&mut self, message: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(message),
            Self::Noise(state) => {
                let mut payload = vec![0; message.len().saturating_sub(TAG)];
                let length = state
                    .read_message(&message, &mut payload)
                    .map_err(|_opaque| invalid("a message's seal is broken"))?;
                payload.truncate(length);
                Ok(payload)
            }
        }
    }
}

impl Reading {
    /// Hands over payload that is there; false if there is none.
    fn hand_over(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let rest = &self.payload[self.payload_taken..];
        if rest.is_empty() {
            return false;
        }
        let taken = rest.len().min(out.remaining());
        out.put_slice(&rest[..taken]);
        self.payload_taken += taken;
        if self.payload_taken == self.payload.len() {
            self.payload = Vec::new();
            self.payload_taken = 0;
        }
        true
    }

    /// Reads until a whole message is there and takes it.
    fn poll_message<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Vec<u8>>> {
        while self.length_got < 2 {
            let mut buf = ReadBuf::new(&mut self.length[self.length_got..]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buf))?;
            let got = buf.filled().len();
            if got == 0 {
                return Poll::Ready(Err(cut()));
            }
            self.length_got += got;
        }
        let length = usize::from(u16::from_be_bytes(self.length));
        while self.message.len() < length {
            let had = self.message.len();
            self.message.resize(length.min(had + READ_STEP.max(had)), 0);
            let mut buf = ReadBuf::new(&mut self.message[had..]);
            let polled = Pin::new(&mut *io).poll_read(cx, &mut buf);
            let got = buf.filled().len();
            self.message.truncate(had + got);
            ready!(polled)?;
            if got == 0 {
                return Poll::Ready(Err(cut()));
            }
        }
        self.length_got = 0;
        Poll::Ready(Ok(std::mem::take(&mut self.message)))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for SealedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.reading.ended && out.remaining() > 0 && !this.reading.hand_over(out) {
            let message = ready!(this.reading.poll_message(&mut this.io, cx))?;
            this.reading.payload = this.codec.open(message)?;
            this.reading.ended = this.reading.payload.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> SealedStream<T> {
    /// Writes out what is sealed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writing = &mut self.writing;
        while writing.written < writing.sealed.len() {
            let rest = &writing.sealed[writing.written..];
            let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            writing.written += wrote;
        }
        writing.sealed = Vec::new();
        writing.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for SealedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        if self.writing.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = bytes.len().min(PAYLOAD_BYTES_MAX);
        self.writing.sealed = self.codec.seal(&bytes[..taken])?;
        // The bytes are taken, whether or not the socket takes them now.
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if !self.writing.ended {
            self.writing.ended = true;
            self.writing.sealed = self.codec.seal(&[])?;
            ready!(self.poll_drain(cx))?;
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn length_of(bytes: usize) -> io::Result<[u8; 2]> {
    match u16::try_from(bytes) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(invalid("a message is too long")),
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut")
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
