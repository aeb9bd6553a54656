//! Runs a program under limits: its time, its input, its output, its user.
//!
//! A program gets a process group of its own. What it may print is bounded, and
//! what it prints beyond the bound is read and thrown away, so that it never
//! blocks. When its time is over the whole group is killed, and after it every
//! process that carries its mark in the environment: children that made a session
//! of their own are found by that. A child that both left the group and cleared
//! its environment, or that runs as another user which this process may not look
//! at, is not found.
//!
//! A program that ends in time is left in peace: children that it put into the
//! background go on. Pipes that they hold open are read for [`PIPE_GRACE`] more.

mod capture;
mod exit;
mod kill;
pub mod orphans;
mod user;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt as _;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

pub use self::capture::{Captured, Keep};
use self::exit::Exit;
use self::kill::Group;
pub use self::user::{User, UserError};

/// How long pipes that a background child holds open are read after the program
/// ended.
pub const PIPE_GRACE: Duration = Duration::from_millis(250);

/// How long a program whose time is over may take to end on SIGTERM before it is
/// killed.
pub const TERM_GRACE: Duration = Duration::from_secs(1);

/// How long a killed program is waited for. One that the kernel cannot end (it
/// hangs in a device) is given up then.
pub const KILL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Variable that marks every process of one run.
pub const MARK: &str = "MUSTER_RUN";

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A script for `/bin/sh -c`.
    Shell(String),
    /// An executable file, without arguments.
    File(PathBuf),
}

/// How it is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What.
    pub program: Program,
    /// Its whole environment; [`MARK`] is added.
    pub environment: BTreeMap<OsString, OsString>,
    /// Its standard input. It ends after these bytes.
    pub stdin: Bytes,
    /// As whom; `None`: as this process.
    pub user: Option<User>,
    /// When its time is over.
    pub timeout: Duration,
    /// What is kept of its standard output.
    pub stdout: Keep,
    /// What is kept of its standard error.
    pub stderr: Keep,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Signaled(i32),
    /// Its time was over, and it was killed.
    TimedOut(Duration),
    /// It was killed because the daemon ends.
    Stopped,
    /// It never ran.
    NotStarted(String),
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As the shell says it of a command.
            Self::Exited(126) => f.write_str("exit code 126 (it cannot be executed)"),
            Self::Exited(127) => f.write_str("exit code 127 (there is no such command)"),
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "killed by {}", signal_name(*signal)),
            Self::TimedOut(after) => write!(f, "killed after {after:?}: it took too long"),
            Self::Stopped => f.write_str("killed because the daemon ends"),
            Self::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
    ];
    let found = names.iter().find(|(known, _)| known.as_raw() == signal);
    found.map_or_else(
        || format!("signal {signal}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// Runs a program to its end. Once `stop` is cancelled it is killed as if its time
/// were over. Dropping the future kills it as well.
pub async fn run(run: Run, stop: &CancellationToken) -> Ran {
    let began = Instant::now();
    let timeout = run.timeout;
    let keep = (run.stdout, run.stderr);
    let stdin = run.stdin.clone();
    let mark = format!("{:032x}", rand::rng().random::<u128>());
    let spawned = {
        // A fork of a big process takes its time. A child that nobody waits for any
        // more is killed by its group's end.
        let start = move || {
            let (child, own) = orphans::start(|| spawn(&run, &mark))?;
            Ok(Group::new(child, own, mark))
        };
        tokio::task::spawn_blocking(start).await
    };
    let started = match spawned {
        Ok(Ok(group)) => Started::new(group),
        Ok(Err(error)) => Err(error),
        Err(join) => Err(io::Error::other(join)),
    };
    match started {
        Ok(started) => started.attend(stdin, keep, timeout, began, stop).await,
        Err(error) => Ran {
            outcome: Outcome::NotStarted(error.to_string()),
            stdout: Captured::default(),
            stderr: Captured::default(),
            took: began.elapsed(),
        },
    }
}

fn spawn(run: &Run, mark: &str) -> io::Result<Child> {
    let mut command = match &run.program {
        Program::Shell(script) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script);
            command
        }
        Program::File(path) => Command::new(path),
    };
    command.env_clear().envs(&run.environment).env(MARK, mark);
    if let Some(user) = &run.user {
        user.apply(&mut command);
    }
    let stdin = if run.stdin.is_empty() {
        Stdio::from(File::open("/dev/null")?)
    } else {
        Stdio::piped()
    };
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// A program that runs.
#[derive(Debug)]
struct Started {
    group: Group,
    exit: Exit,
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Started {
    fn new(mut group: Group) -> io::Result<Self> {
        let (stdin, stdout, stderr) = group.pipes();
        let missing = || io::Error::other("a pipe is missing");
        Ok(Self {
            group,
            exit: Exit::listen()?,
            stdin: stdin.map(pipe::Sender::from_owned_fd).transpose()?,
            stdout: pipe::Receiver::from_owned_fd(stdout.ok_or_else(missing)?)?,
            stderr: pipe::Receiver::from_owned_fd(stderr.ok_or_else(missing)?)?,
        })
    }

    async fn attend(
        self,
        stdin: Bytes,
        keep: (Keep, Keep),
        timeout: Duration,
        began: Instant,
        stop: &CancellationToken,
    ) -> Ran {
        let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
        let pump = async {
            let write = feed(self.stdin, stdin);
            let read = capture::read(self.stdout, keep.0, &mut stdout);
            let read_errors = capture::read(self.stderr, keep.1, &mut stderr);
            tokio::join!(write, read, read_errors);
        };
        let over = over(began, timeout, stop);
        let outcome = watch(self.group, self.exit, pump, over).await;
        Ran {
            outcome,
            stdout,
            stderr,
            took: began.elapsed(),
        }
    }
}

/// Resolves when a program has to end, to what is said of it.
async fn over(began: Instant, timeout: Duration, stop: &CancellationToken) -> Outcome {
    let deadline = tokio::time::Instant::from_std(began) + timeout;
    tokio::select! {
        biased;
        () = stop.cancelled() => Outcome::Stopped,
        () = tokio::time::sleep_until(deadline) => Outcome::TimedOut(timeout),
    }
}

/// Waits for the end of a program, or brings it about, while its pipes are served.
async fn watch(
    mut group: Group,
    mut exit: Exit,
    pump: impl Future<Output = ()>,
    over: impl Future<Output = Outcome>,
) -> Outcome {
    let end = async {
        tokio::select! {
            biased;
            () = exit.wait(&group) => group.reap(),
            outcome = over => {
                kill(&mut group, &mut exit).await;
                outcome
            }
        }
    };
    let (mut end, mut pump) = (std::pin::pin!(end), std::pin::pin!(pump));
    tokio::select! {
        biased;
        outcome = end.as_mut() => {
            let _rest = tokio::time::timeout(PIPE_GRACE, pump).await;
            outcome
        }
        () = pump.as_mut() => end.await,
    }
}

async fn kill(group: &mut Group, exit: &mut Exit) {
    group.terminate();
    let _grace = tokio::time::timeout(TERM_GRACE, exit.wait(group)).await;
    group.kill_all().await;
    let ends = exit.wait(group);
    if tokio::time::timeout(KILL_WAIT_MAX, ends).await.is_err() {
        tracing::warn!(pid = group.pid(), "a killed program does not end");
    }
    let _status = group.reap();
}

/// Writes the input. A program that does not want it may close its end.
async fn feed(pipe: Option<pipe::Sender>, bytes: Bytes) {
    let Some(mut pipe) = pipe else { return };
    if let Err(error) = pipe.write_all(&bytes).await {
        tracing::trace!(%error, "a program did not read all of its input");
    }
}

#[cfg(test)]
mod tests;
