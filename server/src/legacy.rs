//! For programs that speak no gRPC: what serfnode gave to containers.

pub mod answers;
pub mod fifo;
pub mod supervise;
