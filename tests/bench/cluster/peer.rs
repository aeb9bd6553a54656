//! What the steps need of a cluster, whoever made it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use muster_tests::harness::netns::Host;
use muster_tests::harness::{Lan, address};
use tokio::sync::mpsc;

/// An event came to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) node: usize,
    /// Number that the sender gave it: the first 8 bytes of the payload.
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

/// Arrivals that wait for the steps: more than come in a whole burst.
pub(crate) const ARRIVALS_MAX: usize = 1 << 18;

/// Where a node runs.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Its address for others.
    pub(crate) bind: SocketAddr,
    /// Words before the program.
    pub(crate) under: Vec<OsString>,
}

/// An address of loopback for each.
pub(crate) fn on_loopback(size: usize) -> Vec<Site> {
    let site = |_| Site {
        bind: address::fresh(),
        under: Vec::new(),
    };
    (0..size).map(site).collect()
}

/// The same on the loopback of a host.
pub(crate) fn on_loopback_of(host: &Host, size: usize) -> Vec<Site> {
    let mut sites = on_loopback(size);
    for site in &mut sites {
        site.under = host.enter();
    }
    sites
}

/// A host for each.
pub(crate) fn on_hosts(lan: &Lan) -> Vec<Site> {
    let site = |host: &Host| Site {
        bind: host.addr(),
        under: host.enter(),
    };
    lan.hosts().iter().map(site).collect()
}

/// What one node showed of a death.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// When it showed the victim failed.
    pub(crate) at: Option<Instant>,
    /// Nodes that it showed failed and that live.
    pub(crate) wrong: BTreeSet<String>,
}

/// What others saw when a node was gone.
#[derive(Debug)]
pub(crate) struct Death {
    /// Until the last one of them showed it failed; none if one did not in time.
    pub(crate) took: Option<Duration>,
    /// Live nodes that somebody showed failed meanwhile.
    pub(crate) wrong: BTreeSet<String>,
}

impl Death {
    /// Seen by nobody yet.
    pub(crate) const fn new() -> Self {
        Self {
            took: Some(Duration::ZERO),
            wrong: BTreeSet::new(),
        }
    }

    /// Adds what one of the others saw.
    pub(crate) fn add(&mut self, began: Instant, seen: Seen) {
        let took = seen.at.map(|at| at.saturating_duration_since(began));
        self.took = self.took.zip(took).map(|(a, b)| a.max(b));
        self.wrong.extend(seen.wrong);
    }
}

/// A cluster whose nodes are starting or up. Nodes are called `node-0` and on.
pub(crate) trait Peer {
    /// Waits until every node answers and sees all alive: when the last one
    /// answered, and when the last one saw all.
    async fn together(&mut self) -> anyhow::Result<(Instant, Instant)>;

    /// When the first process was started.
    fn began(&self) -> Instant;

    /// Follows user events on every node from here on.
    async fn follow(&mut self) -> anyhow::Result<mpsc::Receiver<Arrival>>;

    /// Sends events of `bytes` with these numbers from the first node, back to back on
    /// one stream.
    async fn send(&mut self, numbers: std::ops::Range<u64>, bytes: usize) -> anyhow::Result<()>;

    /// The processes.
    fn pids(&self) -> Vec<u32>;

    /// SIGKILL for a node.
    fn kill(&mut self, node: usize);

    /// Starts a killed node again and waits until all see all alive.
    async fn revive(&mut self, node: usize) -> anyhow::Result<()>;

    /// Does something that ends a node, and waits until all others show it failed. Nodes
    /// in `gone` are not asked: they ended before.
    async fn death(
        &mut self,
        victim: usize,
        gone: &[usize],
        limit: Duration,
        strike: impl FnOnce(&mut Self),
    ) -> anyhow::Result<Death>;
}

/// Name of a node.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// A payload of `bytes` that begins with `number`.
pub(crate) fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes.max(8), b'.');
    payload
}

/// The number that a payload begins with.
pub(crate) fn number(payload: &[u8]) -> Option<u64> {
    let first = payload.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*first))
}
