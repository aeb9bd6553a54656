//! What a program prints, bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What is kept of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its first bytes.
    First(usize),
    /// Its last bytes.
    Last(usize),
}

/// A stream as it was kept.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Captured {
    kept: VecDeque<u8>,
    /// Bytes that were printed.
    pub total: u64,
}

impl Captured {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let (one, two) = self.kept.as_slices();
        [one, two].concat().into()
    }

    /// The bytes as text, what is no UTF-8 replaced, without the final line ends.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).trim_end().to_owned()
    }

    /// Whether something was printed that was not kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > self.kept.len() as u64
    }

    fn take(&mut self, bytes: &[u8], keep: Keep) {
        self.total += bytes.len() as u64;
        match keep {
            Keep::First(limit) => {
                let room = limit.saturating_sub(self.kept.len()).min(bytes.len());
                self.kept.extend(&bytes[..room]);
            }
            Keep::Last(limit) => {
                let tail = &bytes[bytes.len().saturating_sub(limit)..];
                let over = (self.kept.len() + tail.len()).saturating_sub(limit);
                self.kept.drain(..over);
                self.kept.extend(tail);
            }
        }
    }
}

/// Reads a stream to its end. Dropping it keeps what was read.
pub(super) async fn read(mut pipe: pipe::Receiver, keep: Keep, into: &mut Captured) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) => return,
            Ok(count) => into.take(&chunk[..count], keep),
            Err(error) => {
                tracing::debug!(%error, "cannot read what a program prints");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(keep: Keep, parts: &[&str]) -> (String, u64, bool) {
        let mut captured = Captured::default();
        for part in parts {
            captured.take(part.as_bytes(), keep);
        }
        let text = String::from_utf8(captured.bytes().to_vec()).unwrap();
        (text, captured.total, captured.is_truncated())
    }

    #[test]
    fn the_first_or_the_last_bytes_are_kept() {
        let whole = ("abc".to_owned(), 3, false);
        assert_eq!(taken(Keep::First(3), &["ab", "c"]), whole);
        assert_eq!(taken(Keep::Last(3), &["ab", "c"]), whole);
        assert_eq!(
            taken(Keep::First(3), &["ab", "cd", "e"]),
            ("abc".to_owned(), 5, true)
        );
        assert_eq!(
            taken(Keep::Last(3), &["ab", "cd", "e"]),
            ("cde".to_owned(), 5, true)
        );
        assert_eq!(
            taken(Keep::Last(3), &["abcdefg"]),
            ("efg".to_owned(), 7, true)
        );
        assert_eq!(taken(Keep::First(0), &["a"]), (String::new(), 1, true));
    }
}
