//! The comparison of two clusters, line by line.

use std::time::Duration;

use super::steps::{Burst, Deaths, Measured};
use crate::machine::Rss;
use crate::stats::{MISSING, ms, ratio};
use crate::table::Table;

/// A figure: as a number to compare, and as it is shown.
type Figure = Option<(f64, String)>;

/// How one figure is read.
struct Line {
    what: &'static str,
    target: &'static str,
    figure: fn(&Measured) -> Figure,
}

/// Adds all lines.
pub(crate) fn fill(table: &mut Table, ours: &Measured, theirs: &Measured) {
    for line in LINES {
        let (a, b) = ((line.figure)(ours), (line.figure)(theirs));
        let compared = match (&a, &b) {
            (Some((a, _)), Some((b, _))) => ratio(*a, *b),
            _ => MISSING.to_owned(),
        };
        let shown = |figure: Figure| figure.map_or(MISSING.to_owned(), |(_, text)| text);
        let (what, target) = (line.what.to_owned(), line.target.to_owned());
        table.row([what, shown(a), target, shown(b), compared]);
    }
}

const LINES: [Line; 10] = [
    Line {
        what: "first started -> last one answers",
        target: MISSING,
        figure: |m| duration(m.up),
    },
    Line {
        what: "last one answers -> all see all",
        target: "1000 ms",
        figure: |m| duration(m.together),
    },
    Line {
        what: "RSS of one after the start, median",
        target: "8 MiB, static build",
        figure: |m| m.rss.as_ref().map(|rss| mib(rss.median)),
    },
    Line {
        what: "RSS of one after the start, largest",
        target: MISSING,
        figure: |m| m.rss.as_ref().map(|rss| mib(rss.largest)),
    },
    Line {
        what: "paced event at the last node, median / p99",
        target: "20 / 40 ms",
        figure: |m| {
            let paced = m.paced.as_ref()?;
            let (median, p99) = (paced.times.median(), paced.times.percentile(99));
            let (count, lost) = (paced.times.len(), paced.lost);
            let text = format!("{} / {} of {count}, {lost} lost", ms(median), ms(p99));
            Some((median.as_secs_f64(), text))
        },
    },
    Line {
        what: "500 events back to back",
        target: "100 % in order in 300 ms",
        figure: |m| m.burst_500.as_ref().map(burst),
    },
    Line {
        what: "3000 events back to back",
        target: "100 % in order in 2000 ms",
        figure: |m| m.burst_3000.as_ref().map(burst),
    },
    Line {
        what: "one event of 64 KiB at all (serf: 9,000 bytes, about its most)",
        target: "100 ms",
        figure: |m| match m.large.as_ref()? {
            Ok(large) => Some(burst(large)),
            Err(error) => Some((0.0, format!("refused: {error}"))),
        },
    },
    Line {
        what: "kill -9 seen by all others, median / worst",
        target: "200 / 500 ms",
        figure: |m| m.kills.as_ref().map(deaths),
    },
    Line {
        what: "the same with every core loaded",
        target: "200 / 500 ms",
        figure: |m| m.busy_kills.as_ref().map(deaths),
    },
];

fn duration(time: Option<Duration>) -> Figure {
    time.map(|time| (time.as_secs_f64(), ms(time)))
}

fn mib(kib: u64) -> (f64, String) {
    (kib as f64, Rss::shown(kib))
}

fn burst(burst: &Burst) -> (f64, String) {
    (burst.all.as_secs_f64(), burst.to_string())
}

fn deaths(deaths: &Deaths) -> (f64, String) {
    (deaths.times.median().as_secs_f64(), deaths.to_string())
}
