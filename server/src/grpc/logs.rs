//! NodeService.TailLogs.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use muster_proto::v1 as pb;
use tonic::Status;
use tracing::Level;

use super::convert;
use crate::telemetry::tail::{Read, Reader};
use crate::telemetry::{LogFilter, Tail, log::Wanted};

/// The lines of one reader.
pub(crate) type Lines = Pin<Box<dyn Stream<Item = Result<pb::TailLogsResponse, Status>> + Send>>;

struct Follower {
    reader: Reader,
    level: Level,
    follow: bool,
    /// Lines missed since the last one that was sent.
    missed: u64,
    /// Keeps lines of the level coming.
    _wanted: Option<Wanted>,
}

/// The lines that a request asks for.
pub(crate) fn lines(tail: &Tail, filter: &LogFilter, request: &pb::TailLogsRequest) -> Lines {
    let level = level(request.level());
    let backlog = usize::try_from(request.backlog).unwrap_or(usize::MAX);
    let follower = Follower {
        reader: tail.subscribe(backlog),
        level,
        follow: request.follow,
        missed: 0,
        _wanted: request.follow.then(|| filter.want(level)),
    };
    Box::pin(unfold(follower, |mut follower| async move {
        let line = follower.next().await?;
        Some((Ok(line), follower))
    }))
}

impl Follower {
    async fn next(&mut self) -> Option<pb::TailLogsResponse> {
        loop {
            let read = match self.follow {
                true => self.reader.next().await?,
                false => self.reader.try_next()?,
            };
            self.missed += read.missed;
            if read.line.level <= self.level {
                let dropped = std::mem::take(&mut self.missed);
                return Some(response(&read, dropped));
            }
        }
    }
}

fn response(read: &Read, dropped_before: u64) -> pb::TailLogsResponse {
    let line = &read.line;
    pb::TailLogsResponse {
        time: Some(convert::timestamp(line.unix_ms)),
        level: match line.level {
            Level::ERROR => pb::LogLevel::Error,
            Level::WARN => pb::LogLevel::Warn,
            Level::INFO => pb::LogLevel::Info,
            Level::DEBUG => pb::LogLevel::Debug,
            Level::TRACE => pb::LogLevel::Trace,
        }
        .into(),
        target: line.target.clone(),
        message: line.message.clone(),
        fields: line.fields.clone(),
        dropped_before,
    }
}

fn level(level: pb::LogLevel) -> Level {
    match level {
        pb::LogLevel::Error => Level::ERROR,
        pb::LogLevel::Warn => Level::WARN,
        pb::LogLevel::Unspecified | pb::LogLevel::Info => Level::INFO,
        pb::LogLevel::Debug => Level::DEBUG,
        pb::LogLevel::Trace => Level::TRACE,
    }
}
