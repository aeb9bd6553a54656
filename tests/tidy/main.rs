//! Rules of the repository, as tests: what a reviewer would otherwise have to look
//! for in every change.

#![expect(
    clippy::unwrap_used,
    reason = "in a test binary helpers are tests as well"
)]

mod dependencies;
mod documents;
mod layers;
mod limits;
mod protos;
mod size;
mod tree;
mod tuning;
mod words;
