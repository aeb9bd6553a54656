//! Daemons on hosts and networks that break. Every host is a network namespace with a
//! firewall and a cable of its own; takes root.
//!
//! Every test records what all watchers see meanwhile and holds it to the contract of the
//! watches, whatever else it looks at.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod contract;
mod descriptors;
mod disks;
mod losses;
mod partitions;
mod processes;
mod rolling;
mod scene;
mod seeds;
mod soak;
mod weather;

use muster_tests::harness::Binaries;

/// What is under test.
const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};
