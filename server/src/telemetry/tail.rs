//! The last lines of the log, kept for whoever wants to look, and live readers.
//!
//! Readers pull: each keeps the number of the line that it wants next, so a slow one
//! costs nobody anything and is told how many lines it missed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines kept, as of serf's agent. The oldest one goes for a new one; a reader that
/// had not taken it is told that it missed it.
pub const TAIL_LINES_MAX: usize = 512;

/// Bytes of lines kept: the oldest go as well when these are passed.
pub const TAIL_BYTES_MAX: usize = 1 << 20;

/// Longest text of a kept line, the message and each field alike, bytes; what is
/// longer is cut.
pub const TAIL_TEXT_BYTES_MAX: usize = 4 << 10;

/// Fields kept of a line; further ones are left out.
pub const TAIL_FIELDS_MAX: usize = 32;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// How bad.
    pub level: Level,
    /// Which part of the daemon.
    pub target: String,
    /// The sentence.
    pub message: String,
    /// What belongs to it, by name.
    pub fields: BTreeMap<String, String>,
}

/// The last lines. Clones share them.
#[derive(Debug, Clone)]
pub struct Tail {
    ring: Arc<Mutex<Ring>>,
    /// Number of the next line, for those who wait for it.
    next: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// Number of the next line; the first is 0.
    next: u64,
}

/// Takes lines one by one.
#[derive(Debug)]
pub struct Reader {
    tail: Tail,
    changes: watch::Receiver<u64>,
    next: u64,
}

/// What a reader got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The line.
    pub line: Arc<Line>,
    /// Lines just before it that were gone before they were taken.
    pub missed: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            ring: Arc::default(),
            next: Arc::new(watch::channel(0).0),
        }
    }
}

impl Tail {
    /// A reader that begins with the last `backlog` lines, or all that are kept.
    #[must_use]
    pub fn subscribe(&self, backlog: usize) -> Reader {
        let changes = self.next.subscribe();
        let ring = self.ring();
        let backlog = backlog.min(ring.lines.len());
        Reader {
            next: ring.next - u64::try_from(backlog).unwrap_or(0),
            tail: self.clone(),
            changes,
        }
    }

    fn push(&self, line: Line) {
        let mut ring = self.ring();
        ring.bytes += line.bytes();
        ring.lines.push_back(Arc::new(line));
        ring.next += 1;
        while ring.lines.len() > TAIL_LINES_MAX || ring.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = ring.lines.pop_front() else {
                break;
            };
            ring.bytes -= oldest.bytes();
        }
        let next = ring.next;
        drop(ring);
        self.next.send_if_modified(|known| {
            let newer = next > *known;
            *known = next.max(*known);
            newer
        });
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The next line that is there already.
    pub fn try_next(&mut self) -> Option<Read> {
        let ring = self.tail.ring();
        let first = ring.next - u64::try_from(ring.lines.len()).unwrap_or(0);
        let at = self.next.max(first);
        let index = usize::try_from(at - first).ok()?;
        let line = Arc::clone(ring.lines.get(index)?);
        drop(ring);
        let missed = at - self.next;
        self.next = at + 1;
        Some(Read { line, missed })
    }

    /// The next line, waiting for it. Cancel-safe. `None` once the log is gone.
    pub async fn next(&mut self) -> Option<Read> {
        loop {
            self.changes.mark_unchanged();
            if let Some(read) = self.try_next() {
                return Some(read);
            }
            self.changes.changed().await.ok()?;
        }
    }
}

impl Line {
    fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        let fields: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
        self.target.len() + self.message.len() + fields
    }
}

impl<S: Subscriber> Layer<S> for Tail {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        let metadata = event.metadata();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.push(Line {
            unix_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: texts.message,
            fields: texts.fields,
        });
    }
}

/// Collects what an event says.
#[derive(Default)]
struct Texts {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

impl Texts {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Cut::default();
        // It ends early with an error once it is full: the text so far is what stays.
        let _full = text.write_fmt(value);
        if field.name() == "message" {
            self.message = text.0;
        } else if self.fields.len() < TAIL_FIELDS_MAX {
            self.fields.insert(field.name().to_owned(), text.0);
        }
    }
}

/// A text that stops growing at [`TAIL_TEXT_BYTES_MAX`].
#[derive(Default)]
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TAIL_TEXT_BYTES_MAX - self.0.len();
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
