//! The Muster daemon as a library; `main` is one call.
//!
//! Data flows one way: peers -> [`gossip`] (owns the engine) -> [`hub`] (one
//! writer, many readers) -> surfaces such as `grpc`. Commands go back by one way
//! only, [`gossip::Handle`].

pub mod children;
pub mod coalesce;
pub mod config;
pub mod containers;
pub mod daemon;
pub mod deliver;
pub mod docker;
pub mod filter;
pub mod gossip;
pub mod grpc;
pub mod handlers;
pub mod hub;
pub mod keys;
pub mod legacy;
#[cfg(test)]
mod mutate;
pub mod peers;
pub mod process;
pub mod queries;
mod routes;
pub mod serf_rpc;
pub mod storage;
pub mod tags;
pub mod telemetry;

mod program;

pub use program::main;
