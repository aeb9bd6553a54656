//! A directory with agents of serf and daemons side by side, and logs that their
//! handlers write: the same handler lines serve both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Daemon, DaemonBuilder, wait};
use muster_tests::serf::Agent;
use tempfile::TempDir;

use crate::BIN;

/// How long a log must not have grown before it is taken for complete.
const QUIET: Duration = Duration::from_secs(4);

pub(crate) struct Scene(TempDir);

impl Scene {
    pub(crate) fn new() -> Self {
        Self(temp_dir())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// An agent that answers.
    pub(crate) async fn agent(&self, name: &str, args: &[String]) -> Agent {
        let agent = Agent::start(name, args, self.0.path());
        agent.ready().await;
        agent
    }

    /// An agent that has joined another one.
    pub(crate) async fn joined(&self, name: &str, seed: &Agent, args: &[String]) -> Agent {
        let join = [format!("-join={}", seed.bind)];
        let agent = self.agent(name, &[&join[..], args].concat()).await;
        seed.sees(name, "alive").await;
        agent.sees(&seed.name, "alive").await;
        agent
    }

    /// A handler of `filter` that writes one line for each call: the event, then its input
    /// on the same line.
    pub(crate) fn handler(&self, filter: &str, log: &str) -> String {
        let log = self.text(log);
        format!("{filter}=echo \"$SERF_EVENT $(tr '\\n\\t' '; ')\" >> {log}")
    }

    pub(crate) fn lines(&self, log: &str) -> Vec<String> {
        lines(&self.path(log))
    }

    /// Waits until a log has a line with `part`.
    pub(crate) async fn logged(&self, log: &str, part: &str) {
        let what = format!("{part:?} in {log}");
        wait::until(&what, wait::DETECTION, async || {
            let lines = self.lines(log);
            match lines.iter().any(|line| line.contains(part)) {
                true => Ok(()),
                false => Err(lines.join("\n")),
            }
        })
        .await;
    }

    /// The lines of a log once it no longer grows.
    pub(crate) async fn settled(&self, log: &str) -> Vec<String> {
        loop {
            let before = self.lines(log);
            tokio::time::sleep(QUIET).await;
            if self.lines(log) == before {
                return before;
            }
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A daemon to be.
pub(crate) fn daemon(name: &str) -> DaemonBuilder {
    Daemon::builder(BIN, name)
}
