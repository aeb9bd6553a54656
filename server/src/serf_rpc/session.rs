//! One connection: reads requests, and answers them or has them answered.

mod open;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::calls;
use super::command::{Command, Need};
use super::frame::{FrameError, Frames};
use super::keys::{self, KeyChange};
use super::limits::{
    BODY_BYTES_MAX, CALLS_MAX, HEADER_BYTES_MAX, QUERIES_MAX, STRANGER_BODY_BYTES_MAX,
};
use super::outbox::{Gone, Outbox};
use super::queries::Pending;
use super::record;
use super::request::{self, Header};

/// Room for bytes that arrive, at least.
const READ_BYTES: usize = 4 << 10;

/// Wrong tokens that one connection may try.
const WRONG_TOKENS_MAX: usize = 3;

/// The only version of the protocol.
const VERSION: i64 = 1;

/// Why no further request is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client has gone, or the daemon ends.
    #[error("the connection was closed")]
    Closed,
    /// It took too long.
    #[error("{0} took too long")]
    Late(&'static str),
    /// Bytes that are no request.
    #[error("cannot read the {what} of a request: {error}")]
    Frame {
        what: &'static str,
        #[source]
        error: FrameError,
    },
    /// A request that is none.
    #[error("cannot read {what:?}: {error}")]
    Decode {
        what: &'static str,
        #[source]
        error: rmp_serde::decode::Error,
    },
    /// The client has broken the protocol and was told so.
    #[error("{0}")]
    Told(&'static str),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

impl Ended {
    /// Its label among the metrics, if the daemon ended the connection.
    const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Late(_) => Some("late"),
            Self::Frame { .. } => Some("bad_frame"),
            Self::Decode { .. } => Some("bad_request"),
            Self::Told(_) => Some("protocol"),
        }
    }
}

/// A connection and what is open on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Arc<Outbox>,
    reader: OwnedReadHalf,
    frames: Frames,
    opened: Instant,
    greeted: bool,
    trusted: bool,
    wrong_tokens: usize,
    streams: BTreeMap<u64, DropGuard>,
    monitor: Option<(u64, DropGuard)>,
    calls: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    pending: Arc<Pending>,
    open: TaskTracker,
    stop: CancellationToken,
}

impl Session {
    /// A connection that `cut` ends at once.
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, cut: CancellationToken) -> Self {
        let (reader, writer) = stream.into_split();
        let metrics = shared.metrics.clone();
        let outbox = Outbox::new(writer, shared.timing.stall, cut, metrics);
        let stop = shared.tasks.stop_token();
        Self {
            shared,
            outbox: Arc::new(outbox),
            reader,
            frames: Frames::default(),
            opened: Instant::now(),
            greeted: false,
            trusted: false,
            wrong_tokens: 0,
            streams: BTreeMap::new(),
            monitor: None,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            pending: Arc::default(),
            open: TaskTracker::new(),
            stop,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        // Also if this panics: nothing that was opened outlives the connection.
        let cut = self.outbox.cut_token().clone().drop_guard();
        let ended = loop {
            match self.request().await {
                Ok(()) => {}
                Err(ended) => break ended,
            }
        };
        if let Some(reason) = ended.reason() {
            tracing::warn!(cause = %ended, "ended a connection of serf's RPC");
            self.shared.metrics.cut(reason);
        }
        self.streams.clear();
        self.monitor = None;
        self.open.close();
        if self.stop.is_cancelled() {
            // Calls may say their last word; whoever waits for us bounds it.
            tokio::select! {
                () = self.open.wait() => {}
                () = self.outbox.cut_token().cancelled() => {}
            }
        }
        drop(cut);
    }

    async fn request(&mut self) -> Result<(), Ended> {
        let frame = self.frame("header", HEADER_BYTES_MAX).await?;
        let header: Header = decode("header", &frame)?;
        let seq = header.seq;
        let command = Command::parse(&header.command);
        if !self.greeted && command != Some(Command::Handshake) {
            return self.tell(seq, "Handshake required").await;
        }
        // What follows such a header is not known: a body or the next one.
        let Some(command) = command else {
            return self.tell(seq, "Unsupported command").await;
        };
        self.shared.metrics.command(command.as_str());
        let body = if command.has_body() {
            self.body().await?
        } else {
            Bytes::new()
        };
        if let Some(reason) = self.denied(command) {
            self.shared.metrics.denied(reason);
            tracing::debug!(command = command.as_str(), reason, "refused a command");
            // serf's own client expects no body after these words.
            return self.answer(seq, "Authentication required").await;
        }
        self.dispatch(command, seq, &body).await
    }

    /// Why a command is not allowed, if it is not.
    fn denied(&self, command: Command) -> Option<&'static str> {
        match (command.need(), &self.shared.config.auth) {
            (Need::Nothing, _) | (Need::Reading, None) => None,
            (Need::Token, None) => Some("no_auth_file"),
            (Need::Reading | Need::Token, Some(_)) => {
                (!self.trusted).then_some("not_authenticated")
            }
        }
    }

    async fn dispatch(&mut self, command: Command, seq: u64, body: &[u8]) -> Result<(), Ended> {
        let what = command.as_str();
        match command {
            Command::Handshake => self.handshake(seq, &decode(what, body)?).await,
            Command::Auth => self.auth(seq, &decode(what, body)?).await,
            Command::Stream => self.stream(seq, &decode(what, body)?).await,
            Command::Monitor => self.monitor(seq, decode(what, body)?).await,
            Command::Stop => {
                let request: request::Stop = decode(what, body)?;
                drop(self.streams.remove(&request.stop));
                self.monitor.take_if(|(seq, _)| *seq == request.stop);
                self.answer(seq, "").await
            }
            // In order: events of one connection stay in theirs.
            Command::Event => {
                let error = calls::event(&self.shared, decode(what, body)?).await;
                self.answer(seq, &error).await
            }
            Command::Members => {
                let members = calls::members(&self.shared, |_| true);
                self.answer_with(seq, "", &members).await
            }
            Command::MembersFiltered => {
                let answer = calls::members_filtered(&self.shared, seq, &decode(what, body)?);
                Ok(self.outbox.send(&answer).await?)
            }
            Command::GetCoordinate => {
                let located = calls::coordinate(&self.shared, &decode(what, body)?);
                self.answer_with(seq, "", &located).await
            }
            Command::Stats => {
                let answer = calls::stats(&self.shared, seq).await;
                Ok(self.outbox.send(&answer).await?)
            }
            Command::Join => {
                let request = decode(what, body)?;
                self.call(move |shared| async move { calls::join(&shared, seq, request).await })
                    .await
            }
            Command::Tags => {
                let request = decode(what, body)?;
                self.call(move |shared| async move { calls::tags(&shared, seq, request).await })
                    .await
            }
            Command::ForceLeave => {
                let request = decode(what, body)?;
                self.call(
                    move |shared| async move { calls::force_leave(&shared, seq, request).await },
                )
                .await
            }
            Command::Query => self.query(seq, decode(what, body)?).await,
            Command::Respond => {
                let error = self.pending.respond(decode(what, body)?);
                self.answer(seq, error).await
            }
            Command::InstallKey => {
                self.keys(KeyChange::Install, seq, decode(what, body)?)
                    .await
            }
            Command::UseKey => self.keys(KeyChange::Use, seq, decode(what, body)?).await,
            Command::RemoveKey => self.keys(KeyChange::Remove, seq, decode(what, body)?).await,
            Command::ListKeys => {
                self.call(move |shared| async move { keys::list(&shared, seq).await })
                    .await
            }
            Command::Leave => self.leave(seq).await,
        }
    }

    async fn handshake(&mut self, seq: u64, request: &request::Handshake) -> Result<(), Ended> {
        if request.version != VERSION {
            return self.answer(seq, "Unsupported IPC version").await;
        }
        if self.greeted {
            return self.answer(seq, "Handshake already performed").await;
        }
        self.greeted = true;
        self.answer(seq, "").await
    }

    async fn auth(&mut self, seq: u64, request: &request::Auth) -> Result<(), Ended> {
        let token = self.shared.config.auth.as_ref();
        if token.is_some_and(|token| token.is(&request.auth_key.0)) {
            self.trusted = true;
            return self.answer(seq, "").await;
        }
        self.shared.metrics.denied("wrong_token");
        self.wrong_tokens += 1;
        self.answer(seq, "Invalid authentication token").await?;
        if self.wrong_tokens >= WRONG_TOKENS_MAX {
            return Err(Ended::Told("too many wrong tokens"));
        }
        Ok(())
    }

    async fn answer(&self, seq: u64, error: &str) -> Result<(), Ended> {
        Ok(self.outbox.send(&record::head(seq, error)).await?)
    }

    async fn answer_with(
        &self,
        seq: u64,
        error: &str,
        body: &(impl serde::Serialize + Sync),
    ) -> Result<(), Ended> {
        let answer = record::with_body(seq, error, body);
        Ok(self.outbox.send(&answer).await?)
    }

    /// Answers with an error after which the connection is out of step.
    async fn tell(&self, seq: u64, error: &'static str) -> Result<(), Ended> {
        self.answer(seq, error).await?;
        Err(Ended::Told(error))
    }

    async fn body(&mut self) -> Result<Bytes, Ended> {
        let stranger = self.shared.config.auth.is_some() && !self.trusted;
        let limit = if stranger || !self.greeted {
            STRANGER_BODY_BYTES_MAX
        } else {
            BODY_BYTES_MAX
        };
        self.frame("body", limit).await
    }

    /// The next frame. A header may be long in coming, what has begun may not.
    async fn frame(&mut self, what: &'static str, limit: usize) -> Result<Bytes, Ended> {
        let timing = &self.shared.timing;
        let introduced = self.greeted && (self.trusted || self.shared.config.auth.is_none());
        let mut deadline = (!introduced).then(|| self.opened + timing.handshake);
        let request = timing.request;
        let mut begun = what == "body";
        if begun {
            deadline = deadline.or_else(|| Some(Instant::now() + request));
        }
        loop {
            let found = self.frames.next(limit);
            if let Some(frame) = found.map_err(|error| Ended::Frame { what, error })? {
                return Ok(frame);
            }
            if !begun && self.frames.is_begun() {
                begun = true;
                deadline = deadline.or_else(|| Some(Instant::now() + request));
            }
            self.read(deadline, begun || !introduced).await?;
        }
    }

    async fn read(&mut self, deadline: Option<Instant>, bounded: bool) -> Result<(), Ended> {
        self.frames.bytes.reserve(READ_BYTES);
        let late = async {
            match deadline.filter(|_| bounded) {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.reader.read_buf(&mut self.frames.bytes) => match read {
                Ok(0) if self.frames.is_begun() => {
                    self.shared.metrics.cut("half_request");
                    Err(Ended::Closed)
                }
                Ok(0) | Err(_) => Err(Ended::Closed),
                Ok(_) => Ok(()),
            },
            () = late => Err(Ended::Late(if self.greeted { "a request" } else { "the handshake" })),
            () = self.stop.cancelled() => Err(Ended::Closed),
            () = self.outbox.cut_token().cancelled() => Err(Ended::Closed),
        }
    }
}

fn decode<T: DeserializeOwned>(what: &'static str, frame: &[u8]) -> Result<T, Ended> {
    request::read(frame).map_err(|error| Ended::Decode { what, error })
}
