//! The API on unix sockets, from the listening socket to the gRPC services.

pub mod authority;
pub mod serve;
pub mod socket;
pub mod transport_metrics;
