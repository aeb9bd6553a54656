//! Reads one FIFO.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use muster_engine::{Accepted, EventDraft, EventError};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::allow::Allow;
use super::bucket::Bucket;
use super::complaint::Complaints;
use super::lines::{LINE_SLACK_BYTES_MAX, Line, Lines};
use super::metrics::Metrics;
use super::sending::{Sender, Sending};
use super::{Config, message, pipe};
use crate::gossip::{CommandError, Handle};

/// Bytes read at once: what a pipe holds. There is room for them only while there are
/// some.
const CHUNK_BYTES: usize = 64 << 10;

/// How long writers wait while there is no room for events. After that their lines are
/// refused and counted until there is: the pipe goes on being emptied.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);

/// A wait for room longer than this is counted.
const WAIT_COUNTED: Duration = Duration::from_millis(100);

/// A line that begins and goes on no further for this long is taken as it is: who forgot
/// its end, or died within it, takes no line of others along.
pub(super) const LINE_IDLE_MAX: Duration = Duration::from_secs(5);

/// What the keeper tells a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// Which events may be sent.
    pub(super) allow: Allow,
    /// There is another FIFO in its place, or none is wanted: read what is left, until
    /// the last writer is gone.
    pub(super) retired: bool,
}

/// What a reader needs.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) child: Option<String>,
    pub(super) config: Config,
    pub(super) handle: Handle,
    pub(super) metrics: Metrics,
    pub(super) control: watch::Receiver<Control>,
    pub(super) stop: CancellationToken,
}

/// One FIFO, and where its reader stands.
pub(super) struct Reader {
    pipe: Receiver,
    lines: Lines,
    /// When a line that has begun is over.
    idle: Instant,
    bucket: Bucket,
    state: State,
    complaints: Complaints,
    label: Arc<str>,
    retired: bool,
    parts: Parts,
}

/// Whether there is room for events.
enum State {
    /// As far as is known.
    Ready(Box<Sender>),
    /// This one waited for [`WAIT_MAX`], and goes on waiting.
    Stuck(Sending),
    /// Never while anything looks.
    Between,
}

enum Wake {
    Stop,
    Retire,
    Readable(io::Result<()>),
    LineIdle,
    Room(Box<(Sender, Result<Accepted, CommandError>)>),
    Settled,
}

impl Reader {
    /// Reads `pipe`, which is open to read and write.
    pub(super) fn new(pipe: Receiver, parts: Parts) -> Self {
        let label = parts.child.as_deref().unwrap_or("(any)");
        let sender = Sender::new(parts.handle.clone(), parts.metrics.clone());
        Self {
            pipe,
            lines: Lines::new(parts.config.payload_bytes_max + LINE_SLACK_BYTES_MAX),
            idle: Instant::now(),
            bucket: Bucket::new(parts.config.rate),
            state: State::Ready(Box::new(sender)),
            complaints: Complaints::default(),
            label: Arc::from(label),
            retired: false,
            parts,
        }
    }

    /// Reads until the daemon stops, or the last writer of a retired FIFO is gone.
    pub(super) async fn run(mut self) {
        while self.turn().await.is_continue() {}
        if matches!(self.state, State::Stuck(_)) {
            self.parts.metrics.refuse("window_full");
        }
    }

    async fn turn(&mut self) -> ControlFlow<()> {
        match self.wake().await {
            Wake::Stop => return ControlFlow::Break(()),
            Wake::Retire => return self.retire(),
            Wake::Readable(ready) => {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = ready.and_then(|()| self.pipe.try_read(&mut chunk));
                return match read {
                    Ok(0) => self.end().await,
                    Ok(bytes) => self.cut(chunk.get(..bytes).unwrap_or_default()).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ControlFlow::Continue(())
                    }
                    Err(error) => {
                        tracing::warn!(child = &*self.label, %error, "cannot read a FIFO");
                        ControlFlow::Break(())
                    }
                };
            }
            Wake::LineIdle => {
                if let Some(line) = self.lines.finish() {
                    return self.line(line).await;
                }
            }
            Wake::Room(sent) => return self.sent(*sent),
            Wake::Settled => {}
        }
        ControlFlow::Continue(())
    }

    async fn wake(&mut self) -> Wake {
        let (retired, begun) = (self.retired, self.lines.has_begun());
        let control = &mut self.parts.control;
        let (room, settled) = match &mut self.state {
            State::Ready(sender) => (None, Some(sender)),
            State::Stuck(sending) => (Some(sending), None),
            State::Between => (None, None),
        };
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => Wake::Stop,
            sent = async { match room {
                Some(sending) => sending.await,
                None => std::future::pending().await,
            } } => Wake::Room(Box::new(sent)),
            () = async { match settled {
                Some(sender) => sender.settled().await,
                None => std::future::pending().await,
            } } => Wake::Settled,
            // Whoever stops caring wants the rest read as well.
            _gone = control.wait_for(|control| control.retired), if !retired => Wake::Retire,
            ready = self.pipe.readable() => Wake::Readable(ready),
            () = sleep_until(self.idle), if begun => Wake::LineIdle,
        }
    }

    /// Lets go of the writing end, so that the end can be seen.
    fn retire(&mut self) -> ControlFlow<()> {
        self.retired = true;
        let end = pipe::reading_end(self.pipe.as_fd()).map_err(io::Error::from);
        match end.and_then(Receiver::from_file) {
            Ok(end) => {
                self.pipe = end;
                ControlFlow::Continue(())
            }
            Err(error) => {
                tracing::warn!(child = &*self.label, %error, "cannot read the rest of a FIFO");
                ControlFlow::Break(())
            }
        }
    }

    async fn end(&mut self) -> ControlFlow<()> {
        if let Some(line) = self.lines.finish() {
            let _over = self.line(line).await;
        }
        ControlFlow::Break(())
    }

    async fn cut(&mut self, mut chunk: &[u8]) -> ControlFlow<()> {
        let mut found = false;
        while let Some(line) = self.lines.take(&mut chunk) {
            found = true;
            self.line(line).await?;
        }
        if !found {
            // Bytes without an end cost as well.
            self.pay().await?;
        }
        self.idle = Instant::now() + LINE_IDLE_MAX;
        ControlFlow::Continue(())
    }

    /// Waits for a token.
    async fn pay(&mut self) -> ControlFlow<()> {
        let wait = self.bucket.take(Instant::now());
        if wait.is_zero() {
            return ControlFlow::Continue(());
        }
        self.parts.metrics.delays.inc();
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => ControlFlow::Break(()),
            () = sleep(wait) => ControlFlow::Continue(()),
        }
    }

    async fn line(&mut self, line: Line) -> ControlFlow<()> {
        self.parts.metrics.lines.inc();
        self.pay().await?;
        if let State::Stuck(sending) = &mut self.state {
            match sending.now_or_never() {
                Some(sent) => self.sent(sent)?,
                None => {
                    self.refuse("window_full", || "there is no room for events".to_owned());
                    return ControlFlow::Continue(());
                }
            }
        }
        match self.draft(line) {
            Some(draft) => self.send(draft).await,
            None => ControlFlow::Continue(()),
        }
    }

    /// The event that a line asks for.
    fn draft(&mut self, line: Line) -> Option<EventDraft> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong { bytes } => {
                let limit = self.parts.config.payload_bytes_max + LINE_SLACK_BYTES_MAX;
                self.refuse("too_long", || {
                    format!("it has {bytes} bytes, at most {limit} are allowed")
                });
                return None;
            }
        };
        let message = match message::parse(&line) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(error.reason(), || error.to_string());
                return None;
            }
        };
        let allowed = self.parts.control.borrow().allow.check(&message.name);
        if let Err(why) = allowed {
            self.refuse("not_allowed", || why);
            return None;
        }
        let mut draft = EventDraft::new(message.name, message.payload);
        draft.child = self.parts.child.clone().unwrap_or_default();
        Some(draft)
    }

    /// Sends an event. While there is no room nothing is read, so that writers wait.
    async fn send(&mut self, draft: EventDraft) -> ControlFlow<()> {
        let State::Ready(sender) = std::mem::replace(&mut self.state, State::Between) else {
            return ControlFlow::Break(());
        };
        let mut sending = sender.send(draft);
        let stop = self.parts.stop.clone();
        let waits = self.parts.metrics.waits.clone();
        let sent = async {
            if let Ok(sent) = timeout(WAIT_COUNTED, &mut sending).await {
                return Some(sent);
            }
            waits.inc();
            timeout(WAIT_MAX - WAIT_COUNTED, &mut sending).await.ok()
        };
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => return ControlFlow::Break(()),
            sent = sent => sent,
        };
        match sent {
            Some(sent) => self.sent(sent),
            None => {
                self.state = State::Stuck(sending);
                tracing::warn!(
                    child = &*self.label,
                    waited_s = WAIT_MAX.as_secs(),
                    "no room for events: lines are refused until there is"
                );
                ControlFlow::Continue(())
            }
        }
    }

    fn sent(&mut self, sent: (Sender, Result<Accepted, CommandError>)) -> ControlFlow<()> {
        let (sender, result) = sent;
        self.state = State::Ready(Box::new(sender));
        match result {
            Ok(_) => {}
            Err(CommandError::Stopped) => return ControlFlow::Break(()),
            Err(error) => {
                let reason = match &error {
                    CommandError::Event(EventError::TooLarge { .. }) => "too_large",
                    CommandError::Event(EventError::Leaving) => "leaving",
                    CommandError::Event(_)
                    | CommandError::Engine(_)
                    | CommandError::Stopped
                    | CommandError::Busy => "refused",
                };
                self.refuse(reason, || error.to_string());
            }
        }
        ControlFlow::Continue(())
    }

    fn refuse(&mut self, reason: &'static str, why: impl FnOnce() -> String) {
        self.parts.metrics.refuse(reason);
        if let Some(kept_back) = self.complaints.tell(Instant::now()) {
            tracing::warn!(
                child = &*self.label,
                why = why(),
                more_untold = kept_back,
                "a line of a FIFO was refused"
            );
        }
    }
}

#[cfg(test)]
mod tests;
