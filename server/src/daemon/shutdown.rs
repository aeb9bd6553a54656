//! The phases of the daemon: Running, Leaving, Draining, Stopped.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::notify::Notifier;
use super::signal::{Signal, Signals};
use super::supervisor::{Failure, Tasks};

/// Where the daemon is in its life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It tells the cluster that it leaves; it still serves.
    Leaving,
    /// Streams end, nothing new is accepted.
    Draining,
    /// All has ended, or was aborted.
    Stopped,
}

/// How a life is to end.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Whether SIGTERM leaves the cluster.
    pub leave_on_terminate: bool,
    /// Deadline of [`Phase::Leaving`].
    pub leave: Duration,
    /// Deadline of [`Phase::Draining`].
    pub drain: Duration,
}

/// How a life ended.
#[derive(Debug)]
pub enum Ending {
    /// As it was asked to.
    Asked,
    /// By the failure of a task.
    Failed(Failure),
    /// By a second signal, before all had ended.
    Cut(Signal),
}

/// What can end a life, and what is told of it.
#[derive(Debug)]
pub struct Lifecycle<S> {
    /// Tasks to watch and to stop.
    pub tasks: Tasks,
    /// Signals of the process.
    pub signals: S,
    /// Cancelled when a client made this node leave and the daemon is to end.
    pub left: CancellationToken,
    /// Who wants to know the phase.
    pub phase: watch::Sender<Phase>,
    /// The service manager.
    pub notifier: Notifier,
    /// Deadlines.
    pub timing: Timing,
}

enum Why {
    Signal(Signal),
    Left,
    Failed,
}

impl<S: Signals> Lifecycle<S> {
    /// Runs until something ends it, then leaves by `leave` and drains, each within
    /// its deadline.
    pub async fn run<F, L>(mut self, leave: F) -> Ending
    where
        F: FnOnce() -> L,
        L: Future<Output = anyhow::Result<()>>,
    {
        let why = self.running().await;
        self.notifier.stopping();
        let leaves = match why {
            Why::Signal(Signal::Terminate) => self.timing.leave_on_terminate,
            Why::Signal(Signal::Interrupt | Signal::Hangup) => true,
            // It left already, or its state cannot be trusted.
            Why::Left | Why::Failed => false,
        };
        if leaves {
            self.enter(Phase::Leaving);
            if let Some(signal) = self.leaving(leave()).await {
                return self.cut(signal);
            }
        }
        self.enter(Phase::Draining);
        if let Some(signal) = self.draining().await {
            return self.cut(signal);
        }
        self.enter(Phase::Stopped);
        self.tasks
            .take_failure()
            .map_or(Ending::Asked, Ending::Failed)
    }

    async fn running(&mut self) -> Why {
        let failed = self.tasks.failed_token();
        loop {
            let signal = tokio::select! {
                biased;
                () = failed.cancelled() => return Why::Failed,
                () = self.left.cancelled() => return Why::Left,
                Some(signal) = self.signals.next() => signal,
            };
            match signal {
                Signal::Terminate | Signal::Interrupt => {
                    tracing::info!(signal = signal.name(), "stopping");
                    return Why::Signal(signal);
                }
                Signal::Hangup => ignore_hangup(),
            }
        }
    }

    /// The signal that cut it short, if one did.
    async fn leaving(&mut self, leave: impl Future<Output = anyhow::Result<()>>) -> Option<Signal> {
        let leave = tokio::time::timeout(self.timing.leave, leave);
        let mut leave = std::pin::pin!(leave);
        let failed = self.tasks.failed_token();
        loop {
            tokio::select! {
                biased;
                Some(signal) = self.signals.next() => match signal {
                    Signal::Terminate | Signal::Interrupt => return Some(signal),
                    Signal::Hangup => ignore_hangup(),
                },
                () = failed.cancelled() => return None,
                outcome = leave.as_mut() => {
                    match outcome {
                        Ok(Ok(())) => tracing::info!("left the cluster"),
                        Ok(Err(error)) => {
                            tracing::warn!(error = format!("{error:#}"), "cannot leave the cluster");
                        }
                        Err(_elapsed) => tracing::warn!(
                            timeout = ?self.timing.leave,
                            "the leave took too long: peers will see a failed member"
                        ),
                    }
                    return None;
                }
            }
        }
    }

    async fn draining(&mut self) -> Option<Signal> {
        let tasks = self.tasks.clone();
        let stop = tasks.stop_within(self.timing.drain);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                overran = stop.as_mut() => {
                    if !overran.is_empty() {
                        tracing::warn!(tasks = ?overran, timeout = ?self.timing.drain, "tasks overran and were aborted");
                    }
                    return None;
                }
                Some(signal) = self.signals.next() => match signal {
                    Signal::Terminate | Signal::Interrupt => return Some(signal),
                    Signal::Hangup => ignore_hangup(),
                },
            }
        }
    }

    fn cut(&self, signal: Signal) -> Ending {
        tracing::warn!(signal = signal.name(), tasks = ?self.tasks.live(), "second signal: ending at once");
        self.enter(Phase::Stopped);
        Ending::Cut(signal)
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        match phase {
            Phase::Running | Phase::Leaving => {}
            Phase::Draining => self.notifier.status("draining"),
            Phase::Stopped => self.notifier.status("stopped"),
        }
    }
}

fn ignore_hangup() {
    tracing::info!("SIGHUP is ignored: settings are read at start only");
}

#[cfg(test)]
mod tests;
