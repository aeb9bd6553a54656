//! What the steps need of a cluster, whoever made it.

use std::time::{Duration, Instant};

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

/// A cluster whose nodes are starting or up.
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

    /// Kills the last node: how long until all others show it failed.
    async fn kill_last(&mut self, limit: Duration) -> anyhow::Result<Option<Duration>>;
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
