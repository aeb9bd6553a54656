//! A small cluster of [`Events`] in virtual time, and what it must keep.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick the outputs that they are about"
)]

mod fixtures;
mod golden;
mod hostile;
mod publishing;
mod pulling;
mod queries;
mod scenarios;
mod sim;
mod taking;

/// Bugs planted to show that the oracle can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// Gap markers are not handed over.
    SilentGap,
    /// REPLICATED is told as soon as anybody holds anything.
    EarlyReceipt,
    /// Holes are not asked for, and claims not followed.
    NoHunt,
    /// Queries are not handed over.
    QueryLost,
    /// Queries are handed over twice.
    QueryTwice,
}
