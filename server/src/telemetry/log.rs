//! The log on standard error, with a filter that can change while it runs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::writer::LogWriter;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a filter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogFilterError {
    /// It makes no sense.
    #[error("bad log filter: {0}")]
    Bad(String),
    /// There is no log to filter any more.
    #[error("the log is gone")]
    Gone(#[source] reload::Error),
}

/// Changes what is logged. Clones change the same log.
#[derive(Debug, Clone)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl LogFilter {
    /// Logs by this filter from now on; gives back the one before.
    ///
    /// # Errors
    /// [`LogFilterError::Bad`]; the filter before stays.
    pub fn set(&self, text: &str) -> Result<String, LogFilterError> {
        let filter = parse_filter(text).map_err(LogFilterError::Bad)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter).map_err(LogFilterError::Gone)?;
        Ok(std::mem::replace(&mut *current, text.to_owned()))
    }

    /// The filter that holds now.
    #[must_use]
    pub fn current(&self) -> String {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// Reads a filter: directives by comma, `LEVEL` or `TARGET=LEVEL`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    // The filter library takes a lone word for a target, so that a misspelt level
    // would silence the log.
    for directive in &directives {
        let word = directive.rsplit('=').next().unwrap_or_default();
        let level = word.parse::<LevelFilter>();
        if level.is_err() || word.is_empty() || word.parse::<usize>().is_ok() {
            return Err(format!("{word:?} is no level"));
        }
    }
    let parsed = EnvFilter::builder().parse(directives.join(","));
    parsed.map_err(|error| error.to_string())
}

/// The log of the process.
#[derive(Debug, Clone)]
pub struct Log {
    /// What is logged.
    pub filter: LogFilter,
    /// Where to.
    pub writer: LogWriter,
}

/// Makes the log of the process: every thread, until it ends.
///
/// # Errors
/// If the filter makes no sense or the process has a log already.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<Log> {
    let writer = LogWriter::start(io::stderr())?;
    let (subscriber, filter) = build(filter, format, writer.clone())?;
    subscriber
        .try_init()
        .map_err(|error: TryInitError| anyhow::anyhow!(error))?;
    Ok(Log { filter, writer })
}

/// A log to any writer.
///
/// # Errors
/// If the filter makes no sense.
pub fn build<W>(
    filter: &str,
    format: LogFormat,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LogFilter), LogFilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = parse_filter(filter).map_err(LogFilterError::Bad)?;
    let (layer, handle) = reload::Layer::new(parsed);
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = LogFilter {
        handle,
        current: Arc::new(Mutex::new(filter.to_owned())),
    };
    Ok((Registry::default().with(layer).with(lines), filter))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    fn with_log(format: LogFormat, test: impl FnOnce(&LogFilter, &Sink)) {
        let sink = Sink::default();
        let writer = sink.clone();
        let (subscriber, filter) = build("warn", format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || test(&filter, &sink));
    }

    #[test]
    fn the_filter_changes_while_it_runs() {
        with_log(LogFormat::Text, |filter, sink| {
            tracing::info!("hidden");
            assert_eq!(sink.take(), "");
            assert_eq!(filter.set("info").unwrap(), "warn");
            tracing::info!("shown");
            assert!(sink.take().contains("shown"));
            assert!(filter.set("inof").is_err());
            assert_eq!(filter.current(), "info");
            tracing::info!("still shown");
            assert!(sink.take().contains("still shown"));
        });
    }

    #[test]
    fn json_is_one_object_a_line() {
        with_log(LogFormat::Json, |_, sink| {
            tracing::warn!(member = "a\n\"b", "two");
            tracing::error!("three");
            let text = sink.take();
            let lines: Vec<serde_json::Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines.len(), 2);
            assert_eq!(lines[0]["member"], "a\n\"b");
            assert_eq!(lines[0]["message"], "two");
            assert_eq!(lines[1]["level"], "ERROR");
        });
    }

    #[test]
    fn text_cannot_forge_a_line() {
        with_log(LogFormat::Text, |_, sink| {
            tracing::warn!(member = "a\nWARN forged", "refused");
            assert_eq!(sink.take().lines().count(), 1);
        });
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        for text in [
            "",
            " ",
            "inof",
            "musterd=",
            "musterd=loud",
            "=info=",
            "warn,,info",
            "7",
        ] {
            assert!(parse_filter(text).is_err(), "{text:?}");
        }
        for text in [
            "info",
            "off",
            "warn,musterd=debug",
            "musterd::gossip=TRACE",
            "warn, foca=error",
        ] {
            assert!(parse_filter(text).is_ok(), "{text:?}");
        }
    }
}
