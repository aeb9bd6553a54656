//! Standard error that never holds up whoever logs.
//!
//! A terminal that is stopped or a pipe that nobody reads blocks a plain write for
//! ever, and with it the engine. Here one thread writes and all others hand over.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written; further ones are dropped and counted, and a later
/// line says how many.
pub const LINES_MAX: usize = 1_024;

/// Longest line, bytes; what is longer is cut.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Hands lines to the thread that writes. Clones share it.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Counter,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread; it ends with the last clone.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let dropped = Counter::default();
        let seen = dropped.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        // It holds nothing that must be tidied up: it may die with the process.
        thread.spawn(move || write_lines(out, &lines, &seen))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until all lines so far are written, `timeout` at most.
    pub fn flush(&self, timeout: Duration) {
        let (done, flushed) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Too late or gone: nothing more can be done for these lines.
            let _in_time = flushed.recv_timeout(timeout);
        }
    }

    /// Registers the counter of dropped lines.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Log lines dropped while standard error was blocked";
        registry.register("muster_log_lines_dropped", help, self.dropped.clone());
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut line = bytes.to_vec();
        if line.len() > LINE_BYTES_MAX {
            line.truncate(LINE_BYTES_MAX - 1);
            line.push(b'\n');
        }
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.inc();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn write_lines(mut out: impl Write, lines: &Receiver<Message>, dropped: &Counter) {
    let mut told = 0;
    for message in lines {
        match message {
            // A closed standard error is no reason to stop the daemon.
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(done) => drop(done.try_send(())),
        }
        let now = dropped.get();
        if now > told {
            tracing::warn!(
                lines = now - told,
                "log lines were dropped: standard error was blocked"
            );
            told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Tells of each write, then blocks until the other end of `open` is dropped.
    struct Gate {
        entered: Sender<()>,
        open: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).map_err(io::Error::other)?;
            let _closed = self.open.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_terminal_holds_up_nobody() {
        let (entered, entries) = channel();
        let (hold, open) = channel();
        let written = Arc::default();
        let gate = Gate {
            entered,
            open,
            written: Arc::clone(&written),
        };
        let mut writer = LogWriter::start(gate).unwrap();
        writer.write_all(b"first\n").unwrap();
        entries.recv_timeout(SOON).unwrap();
        // The thread hangs in the first line; the queue fills, the rest is counted.
        for _ in 0..LINES_MAX + 5 {
            writer.write_all(b"more\n").unwrap();
        }
        assert_eq!(writer.dropped.get(), 5);
        writer.flush(Duration::ZERO);
        drop(hold);
        for _ in 0..LINES_MAX {
            entries.recv_timeout(SOON).unwrap();
        }
        writer.write_all(b"last\n").unwrap();
        writer.flush(SOON);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1 + LINES_MAX + 1);
        assert!(text.starts_with("first\n") && text.ends_with("last\n"));
    }

    #[test]
    fn endless_lines_are_cut() {
        let (entered, _entries) = channel();
        let written = Arc::default();
        let gate = Gate {
            entered,
            open: channel().1,
            written: Arc::clone(&written),
        };
        let mut writer = LogWriter::start(gate).unwrap();
        writer.write_all(&vec![b'x'; LINE_BYTES_MAX * 3]).unwrap();
        writer.flush(SOON);
        let text = written.lock().unwrap().clone();
        assert_eq!(text.len(), LINE_BYTES_MAX);
        assert!(text.ends_with(b"x\n"));
    }
}
