//! A child process whose output goes to files and which dies with its handle.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// Environment that children inherit; all else is left out, so that settings of
/// the person who runs the tests change nothing.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// A running or ended child. Killed and reaped on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; its output is appended to `<dir>/<what>.out` and `.err`.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    #[must_use]
    pub fn start(
        what: &str,
        program: &OsStr,
        args: &[OsString],
        env: &[(String, String)],
        dir: &Path,
        stdin: Stdio,
    ) -> Self {
        let stdout = dir.join(format!("{what}.out"));
        let stderr = dir.join(format!("{what}.err"));
        let mut command = clean_command(program);
        command
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .current_dir(dir)
            .stdin(stdin)
            .stdout(append(&stdout))
            .stderr(append(&stderr));
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{what}: {} does not start: {error}", program.display())
        });
        Self {
            child,
            what: what.to_owned(),
            stdout,
            stderr,
            status: None,
        }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; an ended process is left alone.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal)
                .unwrap_or_else(|error| panic!("{}: no {signal:?}: {error}", self.what));
        }
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    ///
    /// When the process cannot be waited for.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .unwrap_or_else(|error| panic!("{}: no wait: {error}", self.what));
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait::until(&what, limit, async || {
            self.exited()
                .ok_or_else(|| format!("it runs; {}", tail(&self.stderr_text())))
        })
        .await
    }

    /// All that it wrote to standard output so far.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        read(&self.stdout)
    }

    /// All that it wrote to standard error so far.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        read(&self.stderr)
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "the log of a child explains a failed test"
    )]
    fn drop(&mut self) {
        if self.exited().is_none() {
            // A stopped process dies of SIGKILL as well. Errors: it just ended.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!(
                "---- {} (pid {})\n{}",
                self.what,
                self.pid(),
                tail(&self.stderr_text())
            );
        }
    }
}

/// A command with next to no environment.
#[must_use]
pub fn clean_command(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(no output: {error})"),
    }
}

/// The last lines of a log.
fn tail(text: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Process {
        let args = ["-c".into(), script.into()];
        Process::start("shell", OsStr::new("sh"), &args, &[], dir, Stdio::null())
    }

    #[tokio::test]
    async fn output_and_exit_code_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("echo out; echo err >&2; exit 3", dir.path());
        assert_eq!(process.wait_exit(wait::SOON).await.code(), Some(3));
        assert_eq!(process.stdout_text(), "out\n");
        assert_eq!(process.stderr_text(), "err\n");
    }

    #[tokio::test]
    async fn a_stopped_process_dies_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("exec tail -f /dev/null", dir.path());
        process.signal(Signal::STOP);
        let proc_entry = format!("/proc/{}", process.pid());
        assert!(Path::new(&proc_entry).exists());
        drop(process);
        assert!(!Path::new(&proc_entry).exists());
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert!(tail(&log).starts_with("line 40\n"));
        assert!(tail(&log).ends_with("line 99"));
    }
}
