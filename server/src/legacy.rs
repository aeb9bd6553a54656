//! For programs that speak no gRPC: the files, the pipe and the lines of `/etc/hosts` that
//! serfnode gave to a parent container and its children.
//!
//! Everything below `--legacy-root` may belong to containers, and they may be hostile:
//! [`tree`] is the only way to write there.

pub mod answers;
pub mod children;
pub mod delivery;
pub mod fifo;
pub mod files;
pub mod hosts;
pub mod json;
mod lookup;
pub mod metrics;
mod parcel;
mod post;
mod render;
pub mod supervise;
#[cfg(test)]
mod testing;
pub mod tree;
mod ways;
mod worker;
