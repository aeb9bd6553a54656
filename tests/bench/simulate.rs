//! Clusters in virtual time: what neither the clock nor the load of this machine
//! can change.

use std::time::Duration;

use muster_engine::Engine;
use muster_tests::sim::{Measure, Rate, Setup, measure};

use crate::table::Table;
use crate::{progress, sized};

/// Sizes of the clusters.
const SIZES: [usize; 3] = [64, 256, 1_024];

/// Longest virtual time of a start, and how long traffic at rest is measured.
const LIMIT: Duration = Duration::from_secs(10);

/// Target for the cold start of the largest cluster.
const START_TARGET_S: f64 = 3.0;

/// Cold starts and traffic at rest.
pub(crate) fn run() -> anyhow::Result<String> {
    let mut table = Table::new(
        "Simulated clusters, cold start within one second, then traffic at rest",
        &[
            "nodes",
            "last node knows all",
            "of 3 s",
            "datagrams/s per node",
            "bytes/s per node (UDP + streams)",
            "of 64 nodes",
            "real time",
        ],
    );
    let mut smallest = None;
    for nodes in SIZES.into_iter().take(sized(SIZES.len(), 1)) {
        progress(&format!("simulate: {nodes} nodes"))?;
        let setup = Setup {
            nodes,
            sealed: false,
            ..Setup::default()
        };
        let report = measure::<Engine>(setup, Measure::Rest, LIMIT, 0);
        anyhow::ensure!(report.violations.is_empty(), "{:?}", report.violations);
        let start = report.converge_s.unwrap_or(f64::NAN);
        let rest = report.rest.as_ref();
        let bytes = rest.map_or(f64::NAN, Rate::bytes_per_s);
        let datagrams = rest.map_or(f64::NAN, |r| r.datagrams_per_s);
        let first = *smallest.get_or_insert(bytes);
        table.row([
            nodes.to_string(),
            format!("{start:.2} s"),
            format!("{:.2}", start / START_TARGET_S),
            format!("{datagrams:.1}"),
            format!("{bytes:.0}"),
            format!("{:.2}", bytes / first),
            format!("{:.1} s", report.wall_s),
        ]);
    }
    Ok(table.to_string())
}
