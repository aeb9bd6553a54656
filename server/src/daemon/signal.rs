//! Signals of the process.

use std::future::Future;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

/// A signal that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT, ctrl-C.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
}

impl Signal {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
            Self::User1 => "SIGUSR1",
        }
    }

    /// Exit code of a process that it cut short: 128 and its number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
            Self::Hangup => 129,
            Self::User1 => 138,
        }
    }
}

/// Where signals come from; tests send them by a channel.
pub trait Signals {
    /// The next signal; cancel-safe. `None` when there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Signal>> + Send;
}

/// Signals of this process.
#[derive(Debug)]
pub struct ProcessSignals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
}

impl ProcessSignals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
        })
    }
}

impl Signals for ProcessSignals {
    async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            Some(()) = self.terminate.recv() => Some(Signal::Terminate),
            Some(()) = self.interrupt.recv() => Some(Signal::Interrupt),
            Some(()) = self.hangup.recv() => Some(Signal::Hangup),
            Some(()) = self.user1.recv() => Some(Signal::User1),
            else => None,
        }
    }
}

impl Signals for mpsc::Receiver<Signal> {
    fn next(&mut self) -> impl Future<Output = Option<Signal>> + Send {
        self.recv()
    }
}
