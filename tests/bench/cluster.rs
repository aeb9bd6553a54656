//! 64 daemons on loopback beside 64 agents of serf: the same steps for both.

mod muster;
mod peer;
mod serf_peer;
mod steps;

use self::steps::Measured;
use crate::stats::ms;
use crate::table::Table;
use crate::{machine, progress};

/// Daemons.
pub(crate) const SIZE: usize = 64;

/// Measures both and compares.
pub(crate) async fn run() -> anyhow::Result<String> {
    let before = machine::load()?;
    progress("cluster: 64 musterd")?;
    let ours = steps::measure(muster::Cluster::start().await?).await?;
    progress("cluster: 64 serf")?;
    // What was measured of musterd is shown even if serf fails on the way.
    let serf = match beside().await {
        Ok(measured) => Some(measured),
        Err(error) => {
            progress(&format!("cluster: no serf beside it: {error:#}"))?;
            None
        }
    };
    let title = format!("{SIZE} daemons on loopback, sealed (load {before})");
    let columns = ["what", "musterd", "target", "serf", "musterd / serf"];
    let mut table = Table::new(title, &columns);
    rows(&mut table, &ours, serf.as_ref());
    Ok(table.to_string())
}

/// The same steps with serf.
async fn beside() -> anyhow::Result<Measured> {
    steps::measure(serf_peer::Cluster::start().await?).await
}

/// One line of the comparison: how a figure is read and shown.
struct Line {
    what: &'static str,
    target: &'static str,
    value: fn(&Measured) -> f64,
    show: fn(&Measured) -> String,
}

fn rows(table: &mut Table, ours: &Measured, serf: Option<&Measured>) {
    for line in LINES {
        let theirs = serf.map_or_else(|| "-".to_owned(), line.show);
        let ratio = serf.map_or_else(
            || "-".to_owned(),
            |serf| crate::stats::ratio((line.value)(ours), (line.value)(serf)),
        );
        let (what, target) = (line.what.to_owned(), line.target.to_owned());
        table.row([what, (line.show)(ours), target, theirs, ratio]);
    }
}

const LINES: [Line; 12] = [
    Line {
        what: "first started -> last one answers",
        target: "-",
        value: |m| m.up.as_secs_f64(),
        show: |m| ms(m.up),
    },
    Line {
        what: "last one answers -> all see all",
        target: "1000 ms",
        value: |m| m.together.as_secs_f64(),
        show: |m| ms(m.together),
    },
    Line {
        what: "idle: RSS of one, median",
        target: "10 MB",
        value: |m| m.rss_median as f64,
        show: |m| mib(m.rss_median),
    },
    Line {
        what: "idle: RSS of one, largest",
        target: "-",
        value: |m| m.rss_largest as f64,
        show: |m| mib(m.rss_largest),
    },
    Line {
        what: "idle: packets/s per node, all of loopback",
        target: "-",
        value: |m| m.idle.packets,
        show: |m| format!("{:.1}", m.idle.packets),
    },
    Line {
        what: "idle: bytes/s per node, all of loopback",
        target: "-",
        value: |m| m.idle.bytes,
        show: |m| format!("{:.0}", m.idle.bytes),
    },
    Line {
        what: "idle: CPU of one",
        target: "-",
        value: |m| m.idle.cpu,
        show: |m| format!("{:.2} %", m.idle.cpu * 100.0),
    },
    Line {
        what: "paced event at the last node, median of 20",
        target: "60 ms",
        value: |m| m.paced.median().as_secs_f64(),
        show: |m| {
            let (median, longest) = (m.paced.median(), m.paced.longest());
            let lost = m.paced_lost;
            format!("{}, slowest {}, {lost} lost", ms(median), ms(longest))
        },
    },
    Line {
        what: "500 events back to back",
        target: "100 % in order in 1 s",
        value: |m| m.burst_500.all.as_secs_f64(),
        show: |m| m.burst_500.to_string(),
    },
    Line {
        what: "3000 events back to back",
        target: "100 % in order in 4 s",
        value: |m| m.burst_3000.all.as_secs_f64(),
        show: |m| m.burst_3000.to_string(),
    },
    Line {
        what: "one event of 64 KiB at all",
        target: "500 ms",
        value: |m| m.large.as_ref().map_or(0.0, |l| l.all.as_secs_f64()),
        show: |m| match &m.large {
            Ok(large) => large.to_string(),
            Err(error) => format!("refused: {error}"),
        },
    },
    Line {
        what: "kill -9 of one -> all others show it failed",
        target: "-",
        value: |m| m.killed.map_or(0.0, |t| t.as_secs_f64()),
        show: |m| m.killed.map_or_else(|| "not in 60 s".to_owned(), ms),
    },
];

fn mib(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}
