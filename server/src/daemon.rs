//! Composition root: builds every part, runs the phases of the daemon.

pub mod supervisor;
