//! For programs that speak no gRPC: what serfnode gave to containers.

pub mod fifo;
