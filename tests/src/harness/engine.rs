//! A Docker engine of a test's own, in a network of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Process, wait};

/// Address of the host on the default bridge of every engine.
pub const HOST: &str = "172.17.0.1";

/// How long an engine may take to come up or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at an engine that ends.
const POLL: Duration = Duration::from_millis(20);

/// A running engine. Ends with its handle, and all its containers with it.
///
/// It lives in a network namespace (its own bridge and firewall), and in process and
/// mount namespaces, so that even a test that is killed leaves no container behind.
#[derive(Debug)]
pub struct Engine {
    directory: TempDir,
    network: String,
    process: Process,
}

impl Engine {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    ///
    /// When there is no engine to start, or we may not start one: it takes root.
    pub async fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let network = format!("muster-{}-{number}", std::process::id());
        must(Command::new("ip").args(["netns", "add", &network]));
        let inside = ["netns", "exec", &network, "ip", "link", "set", "lo", "up"];
        must(Command::new("ip").args(inside));
        let directory = super::daemon::temp_dir();
        let process = launch(directory.path(), &network);
        let mut engine = Self {
            directory,
            network,
            process,
        };
        engine.answers().await;
        engine
    }

    /// Waits until it answers.
    async fn answers(&mut self) {
        wait::until("the Docker engine", PATIENCE, async || {
            if let Some(status) = self.process.exited() {
                let log = self.process.stderr_text();
                panic!("dockerd ended with {status}:\n{log}");
            }
            let output = self.command(&["version"]).output();
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(text(&output.stderr)),
                Err(error) => Err(format!("docker: {error}")),
            }
        })
        .await;
    }

    /// Kills it with all its containers, as a power cut does; its socket file stays.
    ///
    /// # Panics
    ///
    /// When it does not die.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait_exit(PATIENCE).await;
    }

    /// Starts it again, with the containers that it knows.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.process = launch(self.directory.path(), &self.network);
        self.answers().await;
    }

    /// Stops it in its tracks: it takes connections and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let dockerd = first_child(self.process.pid());
        if let Some(dockerd) = dockerd {
            let _told = kill_process(dockerd, signal);
        }
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Runs the ordinary `docker` command; its standard output without the last newline.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = must(&mut self.command(args));
        text(&output.stdout).trim_end().to_owned()
    }

    /// Makes an image of a directory.
    ///
    /// # Panics
    ///
    /// When `tar` or the engine refuses.
    pub fn import(&self, image: &str, root: &Path) {
        let archive = self.directory.path().join(format!("{image}.tar"));
        let mut tar = Command::new("tar");
        must(tar.arg("-C").arg(root).arg("-cf").arg(&archive).arg("."));
        self.docker(&["import", &archive.display().to_string(), image]);
    }

    /// A command that runs on the host, but in this engine's network.
    #[must_use]
    pub fn on_host(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.enter()).arg(program);
        command
    }

    /// Arguments of `nsenter` before a program that is to run in this engine's network.
    #[must_use]
    pub fn enter(&self) -> [OsString; 1] {
        [format!("--net=/run/netns/{}", self.network).into()]
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let host = format!("unix://{}", self.socket().display());
        command.args(["-H", &host]).args(args);
        command
    }

    /// Kills all containers, so that the engine can tidy up after them, and ends it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a drop cannot wait for a condition in another way"
    )]
    fn stop(&mut self) {
        self.resume();
        let Ok(listed) = self.command(&["ps", "-q"]).output() else {
            return;
        };
        let running = text(&listed.stdout);
        let running: Vec<_> = running.split_whitespace().collect();
        if !running.is_empty() {
            let _killed = self.command(&[&["kill"], &running[..]].concat()).output();
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while self.process.exited().is_none() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        self.process.signal(Signal::KILL);
        let _gone = Command::new("ip")
            .args(["netns", "del", &self.network])
            .status();
    }
}

fn launch(directory: &Path, network: &str) -> Process {
    let at = directory.display();
    // A private /etc/docker: engines would share their identity else. What is left of an
    // engine that was killed names processes that are others by now.
    let script = format!(
        "mount -t proc proc /proc && mkdir -p /etc/docker {at}/etc && \
         rm -rf {at}/pid {at}/exec && mount --bind {at}/etc /etc/docker && \
         exec dockerd --data-root {at}/root --exec-root {at}/exec -H unix://{at}/docker.sock --pidfile {at}/pid"
    );
    let enter = format!("--net=/run/netns/{network}");
    let args = [
        "--pdeathsig",
        "KILL",
        "nsenter",
        &enter,
        "unshare",
        "--uts",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "slave",
        "sh",
        "-c",
        &script,
    ];
    let args = args.map(OsString::from);
    let setpriv = OsStr::new("setpriv");
    Process::start("dockerd", setpriv, &args, &[], directory, Stdio::null())
}

/// `dockerd` itself: the one child of `unshare`.
fn first_child(pid: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let first = children.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(first)
}

fn must(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
