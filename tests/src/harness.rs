//! Runs real daemons and the real command line on loopback addresses.
//!
//! A test starts a [`Cluster`] or single [`Daemon`]s, looks at them through
//! [`Api`] (gRPC on the unix socket) and [`Muster`] (the command line), and waits
//! for conditions with [`wait::until`]. Everything lives in temporary directories
//! and dies with its handle, also when the test fails; then the logs of the
//! daemons are printed.

pub mod address;
pub mod api;
pub mod cluster;
pub mod daemon;
pub mod engine;
pub mod events;
pub mod members;
pub mod muster;
pub mod netns;
pub mod process;
pub mod recorder;
pub mod relay;
pub mod tap;
pub mod wait;

pub use api::Api;
pub use cluster::{Cluster, ClusterBuilder};
pub use daemon::{Daemon, DaemonBuilder, Security};
pub use engine::Engine;
pub use events::EventLog;
pub use members::MemberView;
pub use muster::{Muster, Ran, Running};
pub use netns::Lan;
pub use process::Process;
pub use recorder::Recorder;
pub use tap::Tap;

/// The binaries under test, as cargo tells them to an integration test.
#[derive(Debug, Clone, Copy)]
pub struct Binaries {
    /// Path of the daemon.
    pub musterd: &'static str,
    /// Path of the command line.
    pub muster: &'static str,
}
