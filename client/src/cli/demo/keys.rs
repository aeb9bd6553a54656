//! Keys of the terminal, one at a time and without echo.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossterm::event::{Event, KeyEvent, KeyEventKind, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use tokio::sync::mpsc;

/// Keys that wait to be handled; more are read when these are.
const QUEUE_KEYS: usize = 16;

/// How soon the reading thread notices that it is to end.
const STOP_POLL: Duration = Duration::from_millis(50);

/// The terminal in raw mode; back in its usual mode on drop.
pub(super) struct Keys {
    queue: mpsc::Receiver<KeyEvent>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Keys {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, queue) = mpsc::channel(QUEUE_KEYS);
        let stop = Arc::new(AtomicBool::new(false));
        enable_raw_mode()?;
        let mut keys = Self {
            queue,
            stop: Arc::clone(&stop),
            reader: None,
        };
        let reader = thread::Builder::new().name("keys".into());
        keys.reader = Some(reader.spawn(move || read_keys(&sender, &stop))?);
        Ok(keys)
    }

    /// The next key; `None` when the terminal is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<KeyEvent> {
        self.queue.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A reader that waits for room in the queue must see that nobody will make any.
        self.queue.close();
        if let Some(reader) = self.reader.take() {
            let _panicked = reader.join();
        }
        // The terminal is gone: nothing to restore.
        let _gone = disable_raw_mode();
    }
}

fn read_keys(sender: &mpsc::Sender<KeyEvent>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let event = match poll(STOP_POLL) {
            Ok(false) => continue,
            Ok(true) => read(),
            Err(_) => return,
        };
        match event {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
