//! Daemons beside as many agents of serf, one cluster after the other through the same
//! steps.

pub(crate) mod gone;
pub(crate) mod idle;
pub(crate) mod muster;
pub(crate) mod peer;
mod rows;
mod serf_peer;
pub(crate) mod steps;

use std::time::Duration;

use muster_tests::harness::Binaries;
use tokio::time::timeout;

use self::steps::{Measured, Plan};
use crate::table::Table;
use crate::{progress, sized};

/// How long serf may take over all steps.
const BESIDE_LIMIT: Duration = Duration::from_secs(420);

/// Steps of ours.
const OURS: Plan = Plan {
    paced: 100,
    kills: 10,
    large: 64 << 10,
};

/// Nearly the most that serf takes in one event.
const SERF_LARGE: usize = 9_000;

/// The same with serf, which takes a second an event and ten a death.
const THEIRS: Plan = Plan {
    paced: 30,
    kills: 3,
    large: SERF_LARGE,
};

/// A plan for a quick run.
const fn few(plan: Plan) -> Plan {
    Plan {
        paced: 3,
        kills: 1,
        ..plan
    }
}

/// Measures both on loopback and compares.
pub(crate) async fn run(binaries: Binaries, size: usize) -> anyhow::Result<String> {
    progress(&format!("cluster: {size} musterd"))?;
    let mut ours = Measured::default();
    let sites = peer::on_loopback(size);
    steps::measure(
        muster::Cluster::start(binaries, sites).await,
        sized(OURS, few(OURS)),
        &mut ours,
    )
    .await?;
    progress(&format!("cluster: {size} serf"))?;
    let mut theirs = Measured::default();
    let beside = match timeout(BESIDE_LIMIT, beside(size, &mut theirs)).await {
        Ok(ended) => ended,
        Err(elapsed) => Err(elapsed.into()),
    };
    let columns = ["what", "musterd", "target", "serf", "musterd / serf"];
    let title = format!("{size} daemons on loopback, both sealed");
    let mut table = Table::new(title, &columns);
    rows::fill(&mut table, &ours, &theirs);
    // What was measured is shown even if serf fails on the way.
    Ok(match beside {
        Ok(()) => table.to_string(),
        Err(error) => format!("{table}\nserf did not come to the end: {error:#}\n"),
    })
}

async fn beside(size: usize, measured: &mut Measured) -> anyhow::Result<()> {
    let cluster = serf_peer::Cluster::start(peer::on_loopback(size), true).await?;
    steps::measure(cluster, sized(THEIRS, few(THEIRS)), measured).await
}
