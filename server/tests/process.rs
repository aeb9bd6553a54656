//! The program as a process: exit codes, messages, signals.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_musterd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MUSTER_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).env_remove("NOTIFY_SOCKET");
    command
}

/// A daemon of its own: any port, its socket in `dir`.
fn daemon(dir: &Path, name: &str, extra: &[&str]) -> Command {
    let mut command = command(dir);
    command.args([
        "--insecure-plaintext",
        "--bind",
        "127.0.0.1:0",
        "--name",
        name,
    ]);
    command
        .arg("--socket")
        .arg(dir.join(format!("{name}.sock")))
        .args(extra);
    command
}

/// How long a line of the log may take to come; a test that waits in vain fails.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    /// Its lines, as they come; closed when it has ended.
    log: mpsc::Receiver<String>,
    /// All that came so far: lines of different tasks have no order.
    seen: Vec<String>,
    /// The line that says that it is up.
    up: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = follow(child.stderr.take().unwrap());
        let (seen, up) = (Vec::new(), String::new());
        let mut running = Self {
            child,
            log,
            seen,
            up,
        };
        running.up = running.wait_for("musterd is up");
        running
    }

    /// The first line with `part`, whether it has come already or is still to come.
    fn wait_for(&mut self, part: &str) -> String {
        let mut next = 0;
        loop {
            if let Some(line) = self.seen.get(next) {
                if line.contains(part) {
                    return line.clone();
                }
                next += 1;
                continue;
            }
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("{error}: no {part:?} in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Where its peers reach it.
    fn address(&self) -> &str {
        let from = self.up.find("127.0.0.1:").unwrap();
        let text = &self.up[from..];
        let end = text.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
        &text[..end.unwrap_or(text.len())]
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, and every line from its start.
    fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}", self.seen.join("\n"))
                }
            }
        }
        (self.child.wait().unwrap().code(), self.seen.join("\n"))
    }
}

/// Reads lines in a thread, so that waiting for one can end.
fn follow(log: ChildStderr) -> mpsc::Receiver<String> {
    let (lines, log_lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    log_lines
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a test that failed leaves one running.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn three_mistakes_are_three_lines_and_78() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), "reap-left = \"soon\"\n").unwrap();
    let mut command = command(dir.path());
    command.args([
        "--insecure-plaintext",
        "--config",
        "c.toml",
        "--bogus",
        "--bind",
        "here",
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let lines = lines(&output);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.starts_with("musterd: ")),
        "{lines:#?}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn no_key_is_78_and_names_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    let output = command
        .args(["--socket", "s", "--name", "a"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let lines = lines(&output);
    assert!(
        lines[0].contains("muster keygen") && lines[0].contains("muster token"),
        "{lines:?}"
    );
}

#[test]
fn help_version_and_print_go_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["--insecure-plaintext", "--print-config"],
    ] {
        let mut command = command(dir.path());
        let output = command
            .args(args)
            .env("XDG_RUNTIME_DIR", dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{args:?}: {output:?}"
        );
    }
}

#[test]
fn signals_end_it_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Running::start(&mut daemon(dir.path(), "a", &[]));
        running.signal(Signal::HUP);
        running.wait_for("the configuration was reloaded");
        running.signal(signal);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("left the cluster"), "{log}");
    }
}

#[test]
fn a_second_signal_cuts_a_leave_short() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(&mut daemon(dir.path(), "a", &[]));
    let join = ["--join", first.address()];
    let mut second = Running::start(&mut daemon(dir.path(), "b", &join));
    second.wait_for("joined the cluster");
    // A peer that acknowledges nothing makes the leave take its whole time.
    first.signal(Signal::STOP);
    second.signal(Signal::TERM);
    second.wait_for("stopping");
    second.signal(Signal::TERM);
    let (code, log) = second.end();
    assert_eq!(code, Some(143), "{log}");
    assert!(!log.contains("left the cluster"), "{log}");
}

#[test]
fn terminate_without_leave_says_nothing_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--leave-on-terminate", "false", "--log-format", "json"];
    let running = Running::start(&mut daemon(dir.path(), "a", &args));
    running.signal(Signal::TERM);
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("left the cluster"), "{log}");
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

#[test]
fn a_directory_has_one_daemon_and_damage_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let data = ["--data-dir", "data"];
    let running = Running::start(&mut daemon(dir.path(), "a", &data));
    let output = daemon(dir.path(), "b", &data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = lines(&output).join("\n");
    assert!(
        text.contains(&format!("(process {})", running.child.id())),
        "{text}"
    );
    // Killed hard: nothing is tidied up.
    running.signal(Signal::KILL);
    let (code, _) = running.end();
    assert_eq!(code, None);
    std::fs::write(dir.path().join("data/boot"), "garbage").unwrap();
    let running = Running::start(&mut daemon(dir.path(), "a", &data));
    running.signal(Signal::TERM);
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(dir.path().join("data/boot.bad").exists());
}
