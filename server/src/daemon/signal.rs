//! Signals of the process.

use std::future::{self, Future};
use std::os::fd::AsFd as _;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
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
}

impl Signal {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        }
    }

    /// Exit code of a process that it cut short: 128 and its number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
            Self::Hangup => 129,
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
    /// Closes with whoever started this process.
    lifeline: Option<pipe::Receiver>,
}

/// Bytes of standard input that are taken at once, and dropped.
const LIFELINE_READ: usize = 256;

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
            lifeline: None,
        })
    }

    /// Takes the end of standard input for a SIGTERM. What is written there is dropped.
    ///
    /// # Errors
    /// If standard input is no pipe.
    pub fn watch_stdin(&mut self) -> std::io::Result<()> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        self.lifeline = Some(pipe::Receiver::from_owned_fd(stdin)?);
        Ok(())
    }
}

impl Signals for ProcessSignals {
    async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            Some(()) = self.terminate.recv() => Some(Signal::Terminate),
            Some(()) = self.interrupt.recv() => Some(Signal::Interrupt),
            Some(()) = self.hangup.recv() => Some(Signal::Hangup),
            () = end_of(&mut self.lifeline) => Some(Signal::Terminate),
            else => None,
        }
    }
}

/// Waits until the other end is closed: once, then for ever. Cancel-safe, since what
/// is read means nothing.
async fn end_of(lifeline: &mut Option<pipe::Receiver>) {
    if let Some(pipe) = lifeline {
        let mut dropped = [0; LIFELINE_READ];
        while matches!(pipe.read(&mut dropped).await, Ok(1..)) {}
        *lifeline = None;
    } else {
        future::pending().await
    }
}

impl Signals for mpsc::Receiver<Signal> {
    fn next(&mut self) -> impl Future<Output = Option<Signal>> + Send {
        self.recv()
    }
}
