//! Whole-system tests of Muster: the harness that runs real daemons, and the
//! simulator that runs hundreds of engines in virtual time.

pub mod harness;
pub mod sim;
