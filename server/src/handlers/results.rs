//! What became of the calls of a handler, for people.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::hub::lock;

/// Calls of a handler that are remembered, newest last.
pub const RESULTS_KEPT_MAX: usize = 10;

/// One call that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// What it was for: the name of the event, query or kind of member event.
    pub name: String,
    /// When it ended, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How long it took.
    pub took: Duration,
    /// How it ended, for people.
    pub outcome: String,
    /// Whether that is as it should be.
    pub ok: bool,
}

/// How a handler does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its label in logs and metrics.
    pub label: String,
    /// As it was specified, or the file of the directory.
    pub spec: String,
    /// Events that wait.
    pub queued: usize,
    /// Calls under way.
    pub running: usize,
    /// Calls that ended well.
    pub succeeded: u64,
    /// Calls that ended otherwise.
    pub failed: u64,
    /// Events that it will never get.
    pub missed: u64,
    /// The last calls, newest last.
    pub last: VecDeque<CallResult>,
}

impl Report {
    /// What an operator should look at, if the last call failed.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let last = self.last.back().filter(|last| !last.ok)?;
        let Self {
            label,
            spec,
            failed,
            ..
        } = self;
        let (name, outcome) = (&last.name, &last.outcome);
        Some(format!(
            "handler {label} ({spec}): {failed} calls failed, the last one for {name}: {outcome}"
        ))
    }
}

/// The report of one handler, written by its worker. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<Report>>);

impl Board {
    pub(super) fn new(label: &str, spec: &str) -> Self {
        Self(Arc::new(Mutex::new(Report {
            label: label.to_owned(),
            spec: spec.to_owned(),
            ..Report::default()
        })))
    }

    pub(super) fn read(&self) -> Report {
        lock(&self.0).clone()
    }

    pub(super) fn load(&self, queued: usize, running: usize) {
        let mut report = lock(&self.0);
        (report.queued, report.running) = (queued, running);
    }

    pub(super) fn missed(&self, count: u64) {
        lock(&self.0).missed += count;
    }

    pub(super) fn ended(&self, result: CallResult) {
        let mut report = lock(&self.0);
        if result.ok {
            report.succeeded += 1;
        } else {
            report.failed += 1;
        }
        if report.last.len() == RESULTS_KEPT_MAX {
            report.last.pop_front();
        }
        report.last.push_back(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_results_are_kept() {
        let board = Board::new("0", "user=x");
        for n in 0..RESULTS_KEPT_MAX + 2 {
            board.ended(CallResult {
                name: n.to_string(),
                at_unix_ms: 0,
                took: Duration::ZERO,
                outcome: "exit code 0".to_owned(),
                ok: n > 0,
            });
        }
        let report = board.read();
        assert_eq!((report.succeeded, report.failed), (11, 1));
        assert_eq!(report.warning(), None);
        assert_eq!(
            (report.last.len(), report.last[0].name.as_str()),
            (RESULTS_KEPT_MAX, "2")
        );
        board.ended(CallResult {
            name: "deploy".to_owned(),
            at_unix_ms: 0,
            took: Duration::ZERO,
            outcome: "exit code 3".to_owned(),
            ok: false,
        });
        let warning = board.read().warning().unwrap();
        assert_eq!(
            warning,
            "handler 0 (user=x): 2 calls failed, the last one for deploy: exit code 3"
        );
    }
}
