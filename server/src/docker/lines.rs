//! Lines of a body that comes bit by bit.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio_util::sync::DropGuard;

use super::error::DockerError;
use super::transport::{Answer, broken};

/// Longest line, bytes: an event carries all labels of its container. A longer one is
/// skipped, and the reader is told.
const LINE_BYTES_MAX: usize = 256 << 10;

/// One line of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Text(Bytes),
    /// It was too long.
    TooLong,
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    buffer: BytesMut,
    /// Bytes of the buffer in which no end was found.
    searched: usize,
    /// The line that goes on is too long.
    skipping: bool,
}

impl Cutter {
    /// Takes more bytes: at most [`LINE_BYTES_MAX`] and what is given here are held.
    pub(super) fn put(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole line, empty ones left out.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.searched > LINE_BYTES_MAX {
                    self.buffer.clear();
                    self.searched = 0;
                    self.skipping = true;
                }
                return None;
            };
            let line = self.buffer.split_to(self.searched + at).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            let too_long = std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX;
            if too_long {
                return Some(Line::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Text(line));
            }
        }
    }
}

/// The lines of one answer.
#[derive(Debug)]
pub(super) struct Lines {
    request: String,
    body: Incoming,
    _open: DropGuard,
    cutter: Cutter,
}

impl Lines {
    pub(super) fn new(request: String, answer: Answer) -> Self {
        Self {
            request,
            body: answer.response.into_body(),
            _open: answer.open,
            cutter: Cutter::default(),
        }
    }

    /// The next line; `None` at the end. What comes after the last line is dropped.
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, DockerError> {
        loop {
            if let Some(line) = self.cutter.next() {
                return Ok(Some(line));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| broken(&self.request, error, None))?;
            if let Ok(data) = frame.into_data() {
                self.cutter.put(&data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(cutter: &mut Cutter) -> Vec<Line> {
        std::iter::from_fn(|| cutter.next()).collect()
    }

    fn text(line: &str) -> Line {
        Line::Text(Bytes::copy_from_slice(line.as_bytes()))
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let mut cutter = Cutter::default();
        cutter.put(b"a\n");
        for _ in 0..40 {
            cutter.put(&[b'x'; 16 << 10]);
            assert!(cutter.buffer.len() <= LINE_BYTES_MAX + (16 << 10));
            let _early = cutter.next();
        }
        cutter.put(b"end\nb\n");
        assert_eq!(lines(&mut cutter), [Line::TooLong, text("b")]);
        // Also where its end is there at once.
        cutter.put(&[b'y'; LINE_BYTES_MAX + 1]);
        cutter.put(b"\nc\n");
        assert_eq!(lines(&mut cutter), [Line::TooLong, text("c")]);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(parts in prop::collection::vec("[a-c\n]{0,5}", 0..20)) {
            let whole = parts.concat();
            let mut cutter = Cutter::default();
            let mut found = Vec::new();
            for part in &parts {
                cutter.put(part.as_bytes());
                found.extend(lines(&mut cutter));
            }
            let complete = whole.rsplit_once('\n').map_or("", |(before, _)| before);
            let wanted: Vec<_> = complete.split('\n').filter(|l| !l.is_empty()).map(text).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
