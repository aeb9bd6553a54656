//! Ending a program with all its children.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use super::orphans::Own;
use super::{MARK, Outcome};

/// Rounds of looking for marked processes; more are needed only while they fork.
const ROUNDS_MAX: usize = 5;

/// A child that leads a process group. Killed with its group on drop.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    mark: String,
    status: Option<ExitStatus>,
    reaped: bool,
    /// It is waited for here, and nowhere else.
    _own: Own,
}

impl Group {
    pub(super) fn new(child: Child, own: Own, mark: String) -> Self {
        Self {
            child,
            mark,
            status: None,
            reaped: false,
            _own: own,
        }
    }

    /// Its standard streams, once, as far as they are pipes.
    pub(super) fn pipes(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>) {
        (
            self.child.stdin.take().map(OwnedFd::from),
            self.child.stdout.take().map(OwnedFd::from),
            self.child.stderr.take().map(OwnedFd::from),
        )
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child has ended. Does not reap it: its number must not be used
    /// again while the group may still be signalled.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let found = waitid(WaitId::Pid(Pid::from_child(&self.child)), options);
        self.reaped || !matches!(found, Ok(None))
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills the group, then every process that carries the mark.
    pub(super) async fn kill_all(&self) {
        self.signal(Signal::KILL);
        let mark = self.mark.clone();
        let search = tokio::task::spawn_blocking(move || kill_marked(&mark));
        if let Err(error) = search.await {
            tracing::warn!(%error, "cannot look for the children of a killed program");
        }
    }

    /// Takes the status of a child that has ended.
    pub(super) fn reap(&mut self) -> Outcome {
        if !self.reaped {
            match self.child.try_wait() {
                Ok(status) => {
                    self.status = status;
                    self.reaped = status.is_some();
                }
                Err(error) => return Outcome::NotStarted(error.to_string()),
            }
        }
        let code = self.status.and_then(|status| status.code());
        let signal = self.status.and_then(|status| status.signal());
        match (code, signal) {
            (Some(code), _) => Outcome::Exited(code),
            (None, signal) => Outcome::Signaled(signal.unwrap_or_default()),
        }
    }

    fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        let pid = Pid::from_child(&self.child);
        if let Err(error) = kill_process_group(pid, signal) {
            tracing::debug!(pid = self.pid(), %error, "cannot signal a process group");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            // If it has not ended yet it stays a zombie until this process ends, but for
            // the first process, which looks for orphans.
            let _outcome = self.reap();
        }
    }
}

/// Kills the processes whose environment has the mark.
fn kill_marked(mark: &str) {
    let wanted = format!("{MARK}={mark}").into_bytes();
    for _round in 0..ROUNDS_MAX {
        let Ok(processes) = fs::read_dir("/proc") else {
            return;
        };
        let numbers = processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut killed = false;
        for pid in numbers.filter_map(Pid::from_raw) {
            killed |= pid != getpid() && kill_if_marked(pid, &wanted);
        }
        if !killed {
            return;
        }
    }
    tracing::warn!("children of a killed program go on making new ones");
}

fn kill_if_marked(pid: Pid, wanted: &[u8]) -> bool {
    let is_marked = || {
        let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
        let environment = environment.unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted)
    };
    if !is_marked() {
        return false;
    }
    match pidfd_open(pid, PidfdFlags::empty()) {
        // Looked at again: the number may belong to another process by now.
        Ok(fd) if is_marked() => pidfd_send_signal(&fd, Signal::KILL).is_ok(),
        Ok(_) => false,
        Err(_) => rustix::process::kill_process(pid, Signal::KILL).is_ok(),
    }
}
