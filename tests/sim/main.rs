//! Whole clusters of engines in virtual time: scenarios, random seeds, and bugs
//! planted to show that the checks find them.
//!
//! `SIM_SEEDS=N` plays N random seeds instead of 1,000. A seed that fails is printed
//! and belongs into `regressions.txt`, which is played first.

#![expect(clippy::print_stdout, reason = "what a scenario took is worth reading")]

mod blocked;
mod bursts;
mod command;
mod containers;
mod coordinates;
mod detection;
mod faults;
mod keys;
mod matrix;
mod planted;
mod restart;
mod seeds;
mod start;
mod support;
