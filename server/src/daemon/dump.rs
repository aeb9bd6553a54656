//! What SIGUSR1 writes to standard error: members, tasks and metrics, as serf's agent
//! writes its metrics.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::supervisor::Tasks;
use crate::config::LogFormat;
use crate::gossip::Handle;
use crate::hub::Hub;
use crate::telemetry::{LogWriter, Metrics};

/// Members that a dump shows; how many more there are is its last line of members.
/// `muster members` shows all.
const MEMBERS_MAX: usize = 256;

/// Writes dumps.
#[derive(Debug)]
pub(super) struct Dump {
    pub(super) hub: Arc<Hub>,
    pub(super) handle: Handle,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    pub(super) writer: LogWriter,
    pub(super) format: LogFormat,
}

impl Dump {
    /// Writes one whenever a signal asks for it.
    pub(super) async fn follow(
        mut self,
        asked: Arc<Notify>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = asked.notified() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let counters = match self.handle.report().await {
                Ok(report) => report.counters,
                Err(error) => {
                    tracing::warn!(%error, "the engine gives no numbers for the dump");
                    Vec::new()
                }
            };
            let mut text = String::new();
            self.members(&mut text);
            add(&mut text, format_args!("tasks {:?}", self.tasks.live()));
            text.push_str(&self.metrics.encode(counters));
            for line in text.lines() {
                self.write(line);
            }
        }
    }

    fn members(&self, text: &mut String) {
        let Ok(members) = self.hub.members().changes_since(0) else {
            return;
        };
        let mut shown = 0;
        let mut more = 0;
        for item in members.items.iter().filter(|item| !item.removed) {
            if shown == MEMBERS_MAX {
                more += 1;
                continue;
            }
            shown += 1;
            let member = &item.entry.value;
            let (name, status) = (member.display_name(), member.status);
            add(
                text,
                format_args!("member {name} {} {status} {:?}", member.addr, member.tags),
            );
        }
        add(text, format_args!("members {shown} shown, {more} more"));
    }

    /// One line, whatever the filter of the log: somebody asked for it.
    fn write(&mut self, line: &str) {
        let line = match self.format {
            LogFormat::Text => format!("dump: {line}\n"),
            LogFormat::Json => {
                let object =
                    serde_json::json!({"level": "INFO", "target": "dump", "message": line});
                format!("{object}\n")
            }
        };
        // Lines that do not fit are counted by the writer.
        let _counted = self.writer.write_all(line.as_bytes());
    }
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{line}");
}
