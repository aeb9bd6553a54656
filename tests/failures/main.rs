//! Twelve ways in which serf lets its users down, each shown on real agents of serf
//! and then on `musterd`, which must not.
//!
//! A test here fails when musterd does what serf does, and also when serf no longer
//! does it: then the comparison in `docs/serf.md` is to be corrected.

mod events;
mod handlers;
mod membership;
mod restarts;
mod scene;

use muster_tests::harness::Binaries;

/// What is under test.
const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};
