//! What the whole-system tests share, and the simulator.

pub mod sim;
