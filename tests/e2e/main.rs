//! Real daemons and the real command line, together on loopback addresses.
//!
//! One binary; a module per surface. Every test starts what it needs, waits for
//! conditions, and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "in a test binary helpers are tests as well"
)]

mod agent;
mod api;
mod cli;
mod clock;
mod cluster;
mod config;
mod demo;
mod events;
mod fifo;
mod handlers;
mod haproxy;
mod interop;
mod keys;
mod names;
mod network;
mod queries;
mod resolver;
mod restart;
mod rtt;
mod security;
mod sockets;
mod watch;

use muster_tests::harness::{Binaries, Cluster, ClusterBuilder, Daemon, DaemonBuilder};

/// What is under test.
const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// Builder of a cluster of that size.
fn cluster_of(size: usize) -> ClusterBuilder {
    Cluster::builder(BIN, size)
}

/// Builder of a single daemon in plaintext.
fn daemon(name: &str) -> DaemonBuilder {
    Daemon::builder(BIN, name)
}
