//! The log on standard error, with a filter that can change while it runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::journal::{self, Prefixed};
use super::tail::Tail;
use super::writer::LogWriter;

/// What the daemon's own lines are logged under.
const OWN_TARGETS: [&str; 2] = ["musterd", "muster_engine"];

/// What no filter switches on: the client of Docker logs the bodies of its requests, and
/// with them the environments of containers.
const SECRETIVE: [&str; 3] = [
    "bollard=error",
    "bollard::docker=error",
    "bollard::read=error",
];

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
    lines: Handle,
    tail: Handle,
    state: Arc<Mutex<State>>,
}

type Handle = reload::Handle<EnvFilter, Registry>;

#[derive(Debug)]
struct State {
    /// The filter of the log.
    current: String,
    /// Readers of the tail that want more than the log holds, by level.
    wanted: BTreeMap<Level, usize>,
}

/// Keeps lines of a level in the tail while it lives.
#[derive(Debug)]
pub struct Wanted {
    filter: LogFilter,
    level: Level,
}

impl LogFilter {
    /// Logs by this filter from now on; gives back the one before.
    ///
    /// # Errors
    /// [`LogFilterError::Bad`]; the filter before stays.
    pub fn set(&self, text: &str) -> Result<String, LogFilterError> {
        let filter = parse_filter(text).map_err(LogFilterError::Bad)?;
        let mut state = self.state();
        self.lines.reload(filter).map_err(LogFilterError::Gone)?;
        let before = std::mem::replace(&mut state.current, text.to_owned());
        self.refilter_tail(&state);
        Ok(before)
    }

    /// The filter that holds now.
    #[must_use]
    pub fn current(&self) -> String {
        self.state().current.clone()
    }

    /// Keeps lines of the daemon down to `level` in the tail until the result is
    /// dropped, whatever the filter of the log.
    #[must_use]
    pub fn want(&self, level: Level) -> Wanted {
        let mut state = self.state();
        *state.wanted.entry(level).or_default() += 1;
        self.refilter_tail(&state);
        Wanted {
            filter: self.clone(),
            level,
        }
    }

    /// The tail holds what the log does, and what its readers want of the daemon
    /// itself: never of the libraries below it, which would log each line they send.
    fn refilter_tail(&self, state: &State) {
        let mut text = state.current.clone();
        // Levels are ordered from ERROR to TRACE.
        if let Some((level, _)) = state.wanted.last_key_value() {
            for target in OWN_TARGETS {
                let held = level_of(&state.current, target);
                let level = LevelFilter::from_level(*level).max(held);
                text.push_str(&format!(",{target}={level}"));
            }
        }
        if let Ok(filter) = parse_filter(&text)
            && let Err(error) = self.tail.reload(filter)
        {
            tracing::debug!(%error, "the tail of the log is gone");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = self.filter.state();
        if let Some(count) = state.wanted.get_mut(&self.level) {
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(&self.level);
            }
        }
        self.filter.refilter_tail(&state);
    }
}

/// The level that a filter sets for a target itself, or for all.
fn level_of(filter: &str, target: &str) -> LevelFilter {
    let directives = filter.split(',').map(str::trim);
    let level = |wanted: &str| {
        let of_wanted = |directive: &str| match directive.split_once('=') {
            Some((target, level)) if target == wanted => level.parse().ok(),
            None if wanted.is_empty() => directive.parse().ok(),
            _ => None,
        };
        directives.clone().filter_map(of_wanted).next_back()
    };
    level(target)
        .or_else(|| level(""))
        .unwrap_or(LevelFilter::OFF)
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
    // The last word on a target holds.
    let directives = [&directives[..], &SECRETIVE].concat();
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
    /// The last lines.
    pub tail: Tail,
}

/// Where the log goes, which decides how lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A terminal or a file.
    Plain,
    /// The journal of systemd: it has the time already and wants a priority.
    Journal,
}

/// Makes the log of the process: every thread, until it ends.
///
/// # Errors
/// If the filter makes no sense or the process has a log already.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<Log> {
    let writer = LogWriter::start(io::stderr())?;
    let target = journal::target_of_stderr(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let tail = Tail::default();
    let (subscriber, filter) = build(filter, format, target, writer.clone(), tail.clone())?;
    subscriber
        .try_init()
        .map_err(|error: TryInitError| anyhow::anyhow!(error))?;
    Ok(Log {
        filter,
        writer,
        tail,
    })
}

/// A log to any writer.
///
/// # Errors
/// If the filter makes no sense.
pub fn build<W>(
    filter: &str,
    format: LogFormat,
    target: Target,
    writer: W,
    tail: Tail,
) -> Result<(impl Subscriber + Send + Sync, LogFilter), LogFilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parse = || parse_filter(filter).map_err(LogFilterError::Bad);
    let (for_lines, lines_handle) = reload::Layer::new(parse()?);
    let (for_tail, tail_handle) = reload::Layer::new(parse()?);
    let writer = Prefixed::new(writer, target);
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match (format, target) {
        (LogFormat::Text, Target::Plain) => lines.boxed(),
        (LogFormat::Text, Target::Journal) => lines.without_time().with_level(false).boxed(),
        (LogFormat::Json, _) => lines.json().flatten_event(true).boxed(),
    };
    let state = State {
        current: filter.to_owned(),
        wanted: BTreeMap::new(),
    };
    let filter = LogFilter {
        lines: lines_handle,
        tail: tail_handle,
        state: Arc::new(Mutex::new(state)),
    };
    // Both filters are of their layer alone, so that the tail can hold more.
    let both = vec![
        lines.with_filter(for_lines).boxed(),
        tail.with_filter(for_tail).boxed(),
    ];
    Ok((Registry::default().with(both), filter))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::telemetry::tail::Reader;

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

    fn with_tail(format: LogFormat, target: Target, test: impl FnOnce(&LogFilter, &Sink, &Tail)) {
        let sink = Sink::default();
        let writer = sink.clone();
        let tail = Tail::default();
        let built = build("warn", format, target, move || writer.clone(), tail.clone());
        let (subscriber, filter) = built.unwrap();
        tracing::subscriber::with_default(subscriber, || test(&filter, &sink, &tail));
    }

    fn with_log(format: LogFormat, test: impl FnOnce(&LogFilter, &Sink)) {
        with_tail(format, Target::Plain, |filter, sink, _| test(filter, sink));
    }

    fn taken(reader: &mut Reader) -> Vec<String> {
        let next = || reader.try_next();
        std::iter::from_fn(next)
            .map(|read| read.line.message.clone())
            .collect()
    }

    #[test]
    fn the_tail_holds_more_while_somebody_wants_it() {
        with_tail(LogFormat::Text, Target::Plain, |filter, sink, tail| {
            let mut reader = tail.subscribe(0);
            tracing::info!(target: "musterd::x", "not kept");
            tracing::warn!(target: "musterd::x", "kept");
            let debug = filter.want(Level::DEBUG);
            let info = filter.want(Level::INFO);
            tracing::debug!(target: "musterd::x", "wanted");
            tracing::debug!(target: "h2", "of a library");
            assert_eq!(taken(&mut reader), ["kept", "wanted"]);
            drop(debug);
            tracing::debug!(target: "musterd::x", "wanted no more");
            tracing::info!(target: "muster_engine", "still");
            assert_eq!(taken(&mut reader), ["still"]);
            assert!(filter.set("trace").is_ok());
            tracing::trace!(target: "musterd::x", "finer than wanted");
            assert_eq!(taken(&mut reader), ["finer than wanted"]);
            assert!(filter.set("error").is_ok());
            drop(info);
            tracing::warn!(target: "musterd::x", "filtered");
            assert_eq!(taken(&mut reader), Vec::<String>::new());
            let text = sink.take();
            assert_eq!(text.lines().count(), 2, "{text}");
        });
    }

    #[test]
    fn lines_for_the_journal_have_a_priority_and_no_time() {
        with_tail(LogFormat::Text, Target::Journal, |_, sink, _| {
            tracing::error!(member = "b", "it broke");
            tracing::warn!("it bent");
            assert_eq!(
                sink.take(),
                "<3>musterd::telemetry::log::tests: it broke member=\"b\"\n\
                 <4>musterd::telemetry::log::tests: it bent\n"
            );
        });
        with_tail(LogFormat::Json, Target::Journal, |_, sink, _| {
            tracing::warn!("it bent");
            let text = sink.take();
            let object: serde_json::Value =
                serde_json::from_str(text.strip_prefix("<4>").unwrap()).unwrap();
            assert_eq!(object["message"], "it bent");
        });
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
    fn bodies_of_requests_to_docker_are_never_logged() {
        let filter = parse_filter("trace,bollard=trace,bollard::docker=debug").unwrap();
        let text = filter.to_string();
        assert!(text.contains("bollard::docker=error"), "{text}");
        assert!(text.contains("bollard=error"), "{text}");
        assert!(
            !text.contains("debug") && text.matches("trace").count() == 1,
            "{text}"
        );
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
