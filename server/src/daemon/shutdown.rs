//! The phases of the daemon: Running, Leaving, Draining, Stopped.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
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
    /// Whether SIGINT does.
    pub leave_on_interrupt: bool,
    /// Deadline of [`Phase::Leaving`].
    pub leave: Duration,
    /// Deadline of [`Phase::Draining`].
    pub drain: Duration,
}

/// What signals ask of a daemon that goes on. Asked twice before it is done is once.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// To read the configuration again.
    pub reload: Arc<Notify>,
    /// To write its state to standard error.
    pub dump: Arc<Notify>,
}

/// How a life ended.
#[derive(Debug)]
pub enum Ending {
    /// As it was asked to.
    Asked {
        /// Whether the cluster was left first, and in time.
        left: bool,
    },
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
    /// How to end; read when it begins to.
    pub timing: watch::Receiver<Timing>,
    /// Where signals that do not end it go.
    pub wishes: Wishes,
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
        let timing = *self.timing.borrow();
        let leaves = match why {
            Why::Signal(Signal::Terminate) => timing.leave_on_terminate,
            Why::Signal(Signal::Interrupt) => timing.leave_on_interrupt,
            Why::Signal(Signal::Hangup | Signal::User1) => true,
            // It left already, or its state cannot be trusted.
            Why::Left | Why::Failed => false,
        };
        let mut left = matches!(why, Why::Left);
        if leaves {
            self.enter(Phase::Leaving);
            match self.leaving(leave(), timing.leave).await {
                Ok(in_time) => left = in_time,
                Err(signal) => return self.cut(signal),
            }
        }
        self.enter(Phase::Draining);
        if let Some(signal) = self.draining(timing.drain).await {
            return self.cut(signal);
        }
        self.enter(Phase::Stopped);
        self.tasks
            .take_failure()
            .map_or(Ending::Asked { left }, Ending::Failed)
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
                Signal::Hangup => self.wishes.reload.notify_one(),
                Signal::User1 => self.wishes.dump.notify_one(),
            }
        }
    }

    /// Whether the leave was spread in time, or the signal that cut it short.
    async fn leaving(
        &mut self,
        leave: impl Future<Output = anyhow::Result<()>>,
        timeout: Duration,
    ) -> Result<bool, Signal> {
        let leave = tokio::time::timeout(timeout, leave);
        let mut leave = std::pin::pin!(leave);
        let failed = self.tasks.failed_token();
        loop {
            tokio::select! {
                biased;
                Some(signal) = self.signals.next() => match signal {
                    Signal::Terminate | Signal::Interrupt => return Err(signal),
                    Signal::Hangup | Signal::User1 => ignored(signal),
                },
                () = failed.cancelled() => return Ok(false),
                outcome = leave.as_mut() => {
                    let in_time = matches!(outcome, Ok(Ok(())));
                    match outcome {
                        Ok(Ok(())) => tracing::info!("left the cluster"),
                        Ok(Err(error)) => {
                            tracing::warn!(error = format!("{error:#}"), "cannot leave the cluster");
                        }
                        Err(_elapsed) => tracing::warn!(
                            ?timeout,
                            "the leave took too long: peers will see a failed member"
                        ),
                    }
                    return Ok(in_time);
                }
            }
        }
    }

    async fn draining(&mut self, timeout: Duration) -> Option<Signal> {
        let tasks = self.tasks.clone();
        let stop = tasks.stop_within(timeout);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                overran = stop.as_mut() => {
                    if !overran.is_empty() {
                        tracing::warn!(tasks = ?overran, ?timeout, "tasks overran and were aborted");
                    }
                    return None;
                }
                Some(signal) = self.signals.next() => match signal {
                    Signal::Terminate | Signal::Interrupt => return Some(signal),
                    Signal::Hangup | Signal::User1 => ignored(signal),
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

fn ignored(signal: Signal) {
    tracing::info!(signal = signal.name(), "ignored: the daemon is ending");
}

#[cfg(test)]
mod tests;
