//! A host that is gone without a word: every node on a host of its own, whose cable is
//! pulled. Takes root.

use std::time::Duration;

use muster_tests::harness::{Binaries, Lan};
use tokio::time::sleep;

use super::peer::{Peer, on_hosts};
use super::steps::Deaths;
use super::{muster, serf_peer};
use crate::stats::{MISSING, ratio};
use crate::table::Table;
use crate::{progress, sized};

/// Rest after the start, and between two.
const SETTLE: Duration = Duration::from_secs(5);

/// How long it may take to be noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// Hosts that go, one after the other; none comes back.
const HOSTS: usize = 3;

/// Measures both and compares.
pub(crate) async fn run(binaries: Binaries, size: usize) -> anyhow::Result<String> {
    progress(&format!("gone: {size} musterd"))?;
    let lan = Lan::new(u8::try_from(size)?);
    lan.introduce();
    let ours = muster::Cluster::start(binaries, on_hosts(&lan)).await;
    let ours = measure(ours, &lan).await?;
    drop(lan);
    progress(&format!("gone: {size} serf"))?;
    let theirs = beside(size).await;
    let title =
        format!("{size} daemons on hosts of their own, both sealed: a host is gone silently");
    let columns = ["what", "musterd", "target", "serf", "musterd / serf"];
    let mut table = Table::new(title, &columns);
    let times = |deaths: &Deaths| deaths.times.median().as_secs_f64();
    let (shown, compared, note) = match &theirs {
        Ok(theirs) => (
            theirs.to_string(),
            ratio(times(&ours), times(theirs)),
            String::new(),
        ),
        Err(error) => (
            MISSING.to_owned(),
            MISSING.to_owned(),
            format!("\nserf did not come to the end: {error:#}\n"),
        ),
    };
    table.row([
        "cable pulled, seen by all others, median / worst".to_owned(),
        ours.to_string(),
        "6000 ms, never a live one".to_owned(),
        shown,
        compared,
    ]);
    Ok(format!("{table}{note}"))
}

async fn beside(size: usize) -> anyhow::Result<Deaths> {
    let lan = Lan::new(u8::try_from(size)?);
    lan.introduce();
    // Its RPC is TCP.
    let _visit = lan.visit();
    let cluster = serf_peer::Cluster::start(on_hosts(&lan), true).await?;
    measure(cluster, &lan).await
}

async fn measure(mut peer: impl Peer, lan: &Lan) -> anyhow::Result<Deaths> {
    peer.together().await?;
    let size = peer.pids().len();
    let mut deaths = Deaths::default();
    let mut gone = Vec::new();
    for victim in (size - sized(HOSTS, 1)..size).rev() {
        sleep(SETTLE).await;
        let pull = |_: &mut _| lan.cable(victim, false);
        let death = peer.death(victim, &gone, LIMIT, pull).await?;
        match death.took {
            Some(took) => deaths.times.push(took),
            None => deaths.missed += 1,
        }
        deaths.wrong += death.wrong.len();
        gone.push(victim);
    }
    Ok(deaths)
}
