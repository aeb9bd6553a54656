//! Whole-system tests of Muster: the harness that runs real daemons, agents of serf
//! beside them, and the simulator that runs hundreds of engines in virtual time.

pub mod check;
pub mod harness;
pub mod serf;
pub mod sim;
