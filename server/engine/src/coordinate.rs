//! Network coordinates: every node finds a place in a space where distances are round
//! trip times, so that the time between any two members can be told without measuring.
//!
//! Vivaldi (Dabek et al., "Vivaldi: a decentralized network coordinate system",
//! SIGCOMM 2004) with height vectors, the adjustment term and the gravity of Ledlie,
//! Gardner and Seltzer, "Network coordinates in the wild" (NSDI 2007), with serf's
//! values of every parameter.

mod place;
mod vivaldi;
mod wire;

pub use place::{Coordinate, DIMENSIONS};
pub(crate) use vivaldi::Vivaldi;
pub(crate) use wire::{decode, encode};

#[cfg(test)]
mod tests;
