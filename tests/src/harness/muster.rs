//! The `muster` command line.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{Binaries, Process, wait};

/// Longest time a command may take in a test; one that waits by itself has a
/// shorter `--timeout`.
const COMMAND: Duration = Duration::from_secs(60);

static RUNS: AtomicU64 = AtomicU64::new(0);

/// How to call `muster`.
#[derive(Debug, Clone)]
pub struct Muster {
    binaries: Binaries,
    dir: PathBuf,
    env: Vec<(String, String)>,
    stdin: Option<PathBuf>,
}

impl Muster {
    /// Runs in `dir`, with no socket set.
    #[must_use]
    pub fn new(binaries: Binaries, dir: &Path) -> Self {
        Self {
            binaries,
            dir: dir.to_owned(),
            env: Vec::new(),
            stdin: None,
        }
    }

    /// Talks to the daemon at this socket.
    #[must_use]
    pub fn socket(self, path: &Path) -> Self {
        self.env("MUSTER_SOCKET", &path.display().to_string())
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives its commands this text as standard input; nothing unless set.
    ///
    /// # Panics
    ///
    /// When the text cannot be written to a file.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("muster-{number}.in"));
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.stdin = Some(path);
        self
    }

    /// Runs a command to its end, whatever its exit code.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        let mut running = self.start(args);
        let status = running.process.wait_exit(COMMAND).await;
        Ran {
            command: running.command.clone(),
            code: status.code(),
            stdout: running.process.stdout_text(),
            stderr: running.process.stderr_text(),
        }
    }

    /// Runs a command that must succeed, and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn ok<A: AsRef<OsStr>>(&self, args: &[A]) -> String {
        self.run(args).await.expect_code(0).stdout
    }

    /// Runs a command with `--format json` that must succeed.
    ///
    /// # Panics
    ///
    /// When it fails or prints no JSON.
    pub async fn json<A: AsRef<OsStr>>(&self, args: &[A]) -> Value {
        let mut all: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        all.extend([OsStr::new("--format"), OsStr::new("json")]);
        self.run(&all).await.expect_code(0).json()
    }

    /// Starts a command that goes on, such as a watch.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let args: Vec<OsString> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        let command = format!("muster {}", words.join(" "));
        let what = format!("muster-{number}");
        let program = OsStr::new(self.binaries.muster);
        let stdin = self.stdin.as_ref().map_or_else(Stdio::null, |path| {
            let file = File::open(path);
            file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .into()
        });
        let process = Process::start(&what, program, &args, &self.env, &self.dir, stdin);
        Running {
            process,
            command,
            taken: 0,
        }
    }
}

/// A command that ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; none if it died of a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Itself, if the exit code is this.
    ///
    /// # Panics
    ///
    /// If it is another.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as one JSON value.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        parse(&self.command, &self.stdout)
    }
}

/// A command that goes on. Killed on drop.
#[derive(Debug)]
pub struct Running {
    process: Process,
    command: String,
    taken: usize,
}

impl Running {
    /// Waits for its next complete line.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn line(&mut self) -> String {
        let what = format!("line {} of {}", self.taken + 1, self.command);
        let line = wait::until(&what, wait::SOON, async || {
            let text = self.process.stdout_text();
            let mut complete = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            complete
                .nth(self.taken)
                .map(str::to_owned)
                .ok_or_else(|| self.process.stderr_text())
        })
        .await;
        self.taken += 1;
        line.trim_end().to_owned()
    }

    /// Waits for its next line, which must be JSON.
    ///
    /// # Panics
    ///
    /// When none comes or it is no JSON.
    pub async fn json_line(&mut self) -> Value {
        let line = self.line().await;
        parse(&self.command, &line)
    }

    /// Waits for a JSON line that `wanted` likes, and passes over others.
    ///
    /// # Panics
    ///
    /// When the lines end before.
    pub async fn json_line_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.json_line().await;
            if wanted(&value) {
                return value;
            }
        }
    }

    /// SIGINT, as by ctrl-C, and its exit code.
    pub async fn interrupt(&mut self) -> Option<i32> {
        self.process.signal(Signal::INT);
        self.process.wait_exit(wait::SOON).await.code()
    }

    /// SIGKILL, and its end.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait_exit(wait::SOON).await;
    }

    /// Waits for its end by itself; its exit code.
    pub async fn wait_exit(&mut self, limit: Duration) -> Option<i32> {
        self.process.wait_exit(limit).await.code()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All of standard output so far.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        self.process.stdout_text()
    }

    /// All of standard error so far.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        self.process.stderr_text()
    }
}

fn parse(command: &str, text: &str) -> Value {
    serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("{command} printed no JSON ({error}): {text}"))
}

#[cfg(test)]
mod tests {
    use super::super::daemon::temp_dir;
    use super::*;

    const SHELL: Binaries = Binaries {
        musterd: "/bin/false",
        muster: "/bin/sh",
    };

    #[tokio::test]
    async fn codes_and_output_of_a_command_come_back() {
        let dir = temp_dir();
        let muster = Muster::new(SHELL, dir.path()).socket(Path::new("/s"));
        let ran = muster
            .run(&["-c", "echo \"{\\\"at\\\":\\\"$MUSTER_SOCKET\\\"}\"; exit 4"])
            .await;
        assert_eq!(ran.expect_code(4).json()["at"], "/s");
    }

    #[tokio::test]
    async fn lines_of_a_running_command_come_one_by_one() {
        let dir = temp_dir();
        let muster = Muster::new(SHELL, dir.path());
        let script = "trap 'exit 0' INT; echo '{\"n\":1}'; echo '{\"n\":2}'; printf half; \
                      while :; do sleep 0.05; done";
        let mut running = muster.start(&["-c", script]);
        assert_eq!(running.json_line().await["n"], 1);
        assert_eq!(
            running.json_line_where(|value| value["n"] == 2).await["n"],
            2
        );
        assert_eq!(running.interrupt().await, Some(0));
    }

    #[tokio::test]
    async fn standard_input_is_handed_on() {
        let dir = temp_dir();
        let muster = Muster::new(SHELL, dir.path()).stdin("a\nb\n");
        assert_eq!(muster.ok(&["-c", "cat"]).await, "a\nb\n");
    }

    #[tokio::test]
    #[should_panic(expected = "muster -c exit 1")]
    async fn a_wrong_exit_code_names_the_command() {
        let dir = temp_dir();
        let ran = Muster::new(SHELL, dir.path()).run(&["-c", "exit 1"]).await;
        ran.expect_code(0);
    }
}
