//! What a simulated cluster is made of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use muster_engine::Limits;

use crate::sim::network::Weather;

/// Everything that a run depends on, besides its script.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Hosts; none of them runs a node before the script says so.
    pub nodes: usize,
    /// Decides every random choice.
    pub seed: u64,
    /// How the network treats everybody.
    pub weather: Weather,
    /// Hosts whose addresses are everybody's seeds.
    pub seeds: Vec<usize>,
    /// Name lookups that bring nothing, per million.
    pub dns_loss_ppm: u32,
    /// Boot numbers survive restarts.
    pub disk: bool,
    /// Snapshots survive restarts: written every so many seconds, and at a leave; 0
    /// for never.
    pub snapshot_secs: u64,
    /// A node that left comes back with all that it knew.
    pub rejoin: bool,
    /// Wall clocks stand off by up to this much either way, milliseconds.
    pub wall_skew_ms: u64,
    /// Wake-ups come late by up to this much, microseconds: tokio's timers have
    /// a grain of one millisecond.
    pub timer_slack_us: u64,
    /// What a paused node's kernel keeps, bytes; datagrams beyond it are dropped.
    pub socket_buffer_bytes: usize,
    /// Bandwidth of each node, each way, bytes per second.
    pub bandwidth: u64,
    /// Keep every member change of every node.
    pub keep_history: bool,
    /// A cluster key is used; without one, everything is sent in the clear.
    pub sealed: bool,
    /// Bounds of the engines.
    pub limits: Limits,
    /// How long left members are shown.
    pub reap_left: Duration,
    /// How long failed members are shown.
    pub reap_failed: Duration,
    /// Longest pause between tries to join.
    pub retry_interval: Duration,
    /// What is demanded.
    pub demands: Demands,
}

/// What the invariants demand, where it depends on the scenario.
#[derive(Debug, Clone)]
pub struct Demands {
    /// No calm member is ever declared failed by another calm one. To be turned
    /// off above 10 % loss, where only convergence is promised.
    pub no_false_failures: bool,
    /// How long after a disturbance its consequences excuse a false failure,
    /// microseconds.
    pub grace_us: u64,
    /// Datagrams and exchanges that one input may bring about.
    pub sends_per_input: usize,
    /// A leave is done within this, microseconds.
    pub leave_us: u64,
    /// Gauges of the engine and what they may at most show.
    pub gauges: Vec<(&'static str, u64)>,
    /// Two nodes have one name on purpose.
    pub shared_names: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 5,
            seed: 1,
            weather: Weather::default(),
            seeds: vec![0],
            dns_loss_ppm: 0,
            disk: true,
            snapshot_secs: 0,
            rejoin: false,
            wall_skew_ms: 0,
            timer_slack_us: 1_000,
            socket_buffer_bytes: 2 << 20,
            bandwidth: 100_000_000 / 8,
            keep_history: true,
            sealed: false,
            limits: Limits::default(),
            reap_left: Duration::from_secs(600),
            reap_failed: Duration::from_secs(86_400),
            retry_interval: Duration::from_secs(5),
            demands: Demands::default(),
        }
    }
}

/// The bounds of the engine's queues and stores, as its constants and the default
/// [`Limits`] have them.
const GAUGES: [(&str, u64); 6] = [
    ("broadcast_backlog", 4_096),
    ("events_bytes_held", 64 << 20),
    ("events_logs", 4_096),
    ("exchanges_pending", 512),
    ("parked", 2_048),
    ("replay_senders", 8_192),
];

impl Default for Demands {
    fn default() -> Self {
        Self {
            no_false_failures: true,
            grace_us: 20_000_000,
            sends_per_input: 512,
            leave_us: 1_550_000,
            gauges: GAUGES.to_vec(),
            shared_names: false,
        }
    }
}

/// Port of every simulated node.
pub const PORT: u16 = 7_946;

/// The address with number `index`: 10.x.y.z:7946.
#[must_use]
pub fn address(index: u32) -> SocketAddr {
    let [_, b, c, d] = (index + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), PORT)
}

/// The number of an address, if it is one of ours.
pub(crate) fn address_index(addr: SocketAddr) -> Option<u32> {
    match addr.ip() {
        IpAddr::V4(ip) if ip.octets()[0] == 10 => {
            let [_, b, c, d] = ip.octets();
            u32::from_be_bytes([0, b, c, d]).checked_sub(1)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_numbers() {
        assert_eq!(address(0).to_string(), "10.0.0.1:7946");
        for index in [0, 254, 255, 65_535, 1_000_000] {
            assert_eq!(address_index(address(index)), Some(index));
        }
        assert_eq!(address_index("127.0.0.1:1".parse().unwrap()), None);
    }
}
