//! Waiting for the end of a child without a thread.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::kill::Group;

/// How often a child is looked at without a signal. The kernel merges signals, it
/// does not lose the last; this is for a process that lives in an odd sandbox.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The end of a child, to be waited for: SIGCHLD says that some child ended.
#[derive(Debug)]
pub(super) struct Exit(Signal);

impl Exit {
    /// To be made before the child is looked at for the first time.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::child())?))
    }

    /// Returns once the child has ended; it is not reaped. Cancel safe.
    pub(super) async fn wait(&mut self, group: &Group) {
        while !group.has_ended() {
            let _signal = tokio::time::timeout(LOOK_EVERY, self.0.recv()).await;
        }
    }
}
