//! The log of the daemon, for `serf monitor`: what is kept of it, then what comes.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::Shared;
use super::metrics::Metrics;
use super::outbox::{Gone, Outbox};
use super::record::{self, LogRecord};
use crate::telemetry::log::Wanted;
use crate::telemetry::tail::{Line, Read, Reader, TAIL_LINES_MAX};

/// A reader of the log.
#[derive(Debug)]
pub(crate) struct Monitor {
    reader: Reader,
    level: Level,
    /// Keeps lines of the level coming.
    _wanted: Wanted,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    seq: u64,
}

/// The level of a name of serf's.
pub(crate) fn level(name: &str) -> Option<Level> {
    Some(match name {
        "TRACE" => Level::TRACE,
        "DEBUG" => Level::DEBUG,
        "INFO" => Level::INFO,
        "WARN" => Level::WARN,
        "ERR" => Level::ERROR,
        _ => return None,
    })
}

impl Monitor {
    /// Begins with the lines that are kept.
    pub(crate) fn begin(shared: &Shared, outbox: Arc<Outbox>, seq: u64, level: Level) -> Self {
        Self {
            _wanted: shared.log_filter.want(level),
            reader: shared.tail.subscribe(TAIL_LINES_MAX),
            level,
            metrics: shared.metrics.clone(),
            outbox,
            seq,
        }
    }

    /// Sends lines until `stopped`, or until the connection ends.
    pub(crate) async fn run(mut self, stopped: CancellationToken) {
        let mut missed = 0;
        loop {
            let read = tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                () = self.outbox.cut_token().cancelled() => return,
                read = self.reader.next() => read,
            };
            let Some(Read { line, missed: more }) = read else {
                return;
            };
            missed += more;
            if line.level > self.level {
                continue;
            }
            if self.send(&line, std::mem::take(&mut missed)).await.is_err() {
                return;
            }
        }
    }

    async fn send(&self, line: &Line, missed: u64) -> Result<(), Gone> {
        if missed > 0 {
            let note = format!(
                "{} [WARN] {missed} lines of the log were gone before they were read",
                time(line)
            );
            self.record(note).await?;
        }
        self.record(text(line)).await
    }

    async fn record(&self, log: String) -> Result<(), Gone> {
        self.metrics.records.inc();
        let record = record::with_body(self.seq, "", &LogRecord { log });
        self.outbox.send(&record).await
    }
}

/// A line as serf's agent writes one: `2026/11/21 14:52:16 [INFO] where: what`.
fn text(line: &Line) -> String {
    let level = match line.level {
        Level::ERROR => "ERR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    };
    let place = line.target.replace("::", ".");
    let mut text = format!("{} [{level}] {place}: {}", time(line), line.message);
    for (name, value) in &line.fields {
        // Writing to a string cannot fail.
        let _infallible = write!(text, " {name}={value}");
    }
    text
}

/// The time of a line, UTC.
fn time(line: &Line) -> String {
    let millis = i64::try_from(line.unix_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    at.strftime("%Y/%m/%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_serf() {
        let line = Line {
            unix_ms: 1_795_272_736_500,
            level: Level::INFO,
            target: "musterd::daemon".to_owned(),
            message: "musterd is up".to_owned(),
            fields: [("name".to_owned(), "alpha".to_owned())].into(),
        };
        assert_eq!(
            text(&line),
            "2026/11/21 14:52:16 [INFO] musterd.daemon: musterd is up name=alpha"
        );
        assert_eq!(
            time(&Line {
                unix_ms: u64::MAX,
                ..line
            }),
            "9999/12/30 22:00:00"
        );
    }

    #[test]
    fn levels_have_the_names_of_serf() {
        for (name, known) in [
            ("TRACE", true),
            ("ERR", true),
            ("ERROR", false),
            ("info", false),
        ] {
            assert_eq!(level(name).is_some(), known, "{name}");
        }
    }
}
