//! One server stream that is opened again whenever it breaks. All watches stand on it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Response, Status, Streaming};

use crate::backoff::Backoff;
use crate::error::Error;

/// Silence after which the daemon is asked to send a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(30);

/// Silence after which a stream counts as dead: two heartbeats were missed, with some
/// room for a loaded machine.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// A stream that lived this long was a success: the next wait is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// A watch lost its daemon and will try again by itself.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub error: Error,
    /// When it tries again.
    pub retry_in: Duration,
    /// Tries that failed in a row, from 1.
    pub failures: u32,
}

/// A call that answers with a stream.
pub(crate) type Opening<M> =
    Pin<Box<dyn Future<Output = Result<Response<Streaming<M>>, Status>> + Send>>;

/// What happened to the stream.
pub(crate) enum LinkEvent<M> {
    /// The first message of a new stream, or a later one.
    Message { first: bool, message: M },
    /// It broke; the next call of `next` waits and opens it again.
    Lost(Lost),
}

pub(crate) struct Link<M> {
    call: &'static str,
    state: State<M>,
    backoff: Backoff,
}

enum State<M> {
    Waiting(Pin<Box<Sleep>>),
    Opening(Opening<M>),
    Open {
        stream: Box<Streaming<M>>,
        since: Instant,
        heard: Instant,
        first: bool,
    },
}

impl<M> Link<M> {
    pub(crate) fn new(call: &'static str) -> Self {
        Self {
            call,
            state: State::Waiting(Box::pin(sleep(Duration::ZERO))),
            backoff: Backoff::new(),
        }
    }

    /// The next message or loss. `open` is called to start each stream, with what is
    /// then to be asked for. Cancel-safe: all progress is kept in `self`.
    ///
    /// # Errors
    /// When the daemon refuses in a way that no later try can change.
    pub(crate) async fn next(
        &mut self,
        mut open: impl FnMut() -> Opening<M>,
    ) -> Result<LinkEvent<M>, Error> {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    until.await;
                    self.state = State::Opening(open());
                }
                State::Opening(opening) => match opening.await {
                    Ok(response) => {
                        let now = Instant::now();
                        self.state = State::Open {
                            stream: Box::new(response.into_inner()),
                            since: now,
                            heard: now,
                            first: true,
                        };
                    }
                    Err(status) => return self.fail(Error::of_call(self.call, status)),
                },
                State::Open {
                    stream,
                    heard,
                    first,
                    ..
                } => {
                    let result = tokio::select! {
                        result = stream.message() => result,
                        () = sleep_until(*heard + SILENCE_MAX) => {
                            let error = Error::Silent { call: self.call, silence: SILENCE_MAX };
                            return self.fail(error);
                        }
                    };
                    match result {
                        Ok(Some(message)) => {
                            *heard = Instant::now();
                            let first = std::mem::take(first);
                            return Ok(LinkEvent::Message { first, message });
                        }
                        Ok(None) => return self.fail(Error::Ended { call: self.call }),
                        Err(status) => return self.fail(Error::of_call(self.call, status)),
                    }
                }
            }
        }
    }

    /// Drops the stream because its content is wrong.
    pub(crate) fn violated(&mut self, what: &str) -> LinkEvent<M> {
        self.lose(Error::protocol(self.call, what))
    }

    /// Forgets that the last try was refused: the caller changed the request.
    pub(crate) fn retry(&mut self, error: Error) -> LinkEvent<M> {
        self.lose(error)
    }

    fn fail(&mut self, error: Error) -> Result<LinkEvent<M>, Error> {
        let lost = self.lose(error);
        match lost {
            LinkEvent::Lost(lost) if lost.error.is_final() => Err(lost.error),
            other => Ok(other),
        }
    }

    fn lose(&mut self, error: Error) -> LinkEvent<M> {
        if let State::Open { since, .. } = &self.state
            && since.elapsed() >= HEALTHY_AFTER
        {
            self.backoff.reset();
        }
        let retry_in = self.backoff.fail();
        self.state = State::Waiting(Box::pin(sleep(retry_in)));
        LinkEvent::Lost(Lost {
            error,
            retry_in,
            failures: self.backoff.failures(),
        })
    }
}

impl<M> fmt::Debug for Link<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_) => "waiting",
            State::Opening(_) => "opening",
            State::Open { .. } => "open",
        };
        f.debug_struct("Link")
            .field("call", &self.call)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
