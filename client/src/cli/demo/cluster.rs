//! The daemons of the demo.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval};

use crate::cli::failure::Failure;
use crate::cli::keygen;
use crate::socket::SOCKET_PATH_BYTES_MAX;

/// Most daemons: one digit key selects one.
pub(super) const NODES_MAX: usize = 9;

/// How long a daemon may take until its socket answers.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a starting daemon is looked at.
const START_POLL: Duration = Duration::from_millis(20);

/// Tries with another port when a daemon ends at once: somebody else took the port
/// between our look and its bind.
const START_TRIES: usize = 3;

/// Bytes of a daemon's log that are shown when it fails.
const LOG_TAIL_BYTES: u64 = 2048;

/// Addresses that a new daemon is told to join.
const SEEDS_MAX: usize = 3;

pub(super) struct Cluster {
    // Dropped before the directory: daemons are killed first.
    nodes: Vec<Node>,
    musterd: PathBuf,
    directory: TempDir,
}

pub(super) struct Node {
    number: u8,
    name: String,
    port: u16,
    socket: PathBuf,
    state: State,
    child: Option<Child>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Paused,
    Killed,
    Exited,
}

impl Node {
    pub(super) const fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let id = self.child.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| Failure::refused(format!("{} does not run", self.name)))?;
        kill_process(pid, signal).map_err(|error| Failure::from(io::Error::from(error)))
    }
}

impl Cluster {
    /// An empty cluster with a new key, in a directory that only this user can enter.
    pub(super) fn new(musterd: PathBuf) -> Result<Self, Failure> {
        let make = |parent: &Path| {
            tempfile::Builder::new()
                .prefix("muster-demo-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)
                .map_err(|error| Failure::file("create a directory in", parent, &error))
        };
        let mut directory = make(&std::env::temp_dir())?;
        // A socket's path must be short; TMPDIR may be anything.
        if directory.path().as_os_str().len() + "/n1.sock".len() > SOCKET_PATH_BYTES_MAX {
            directory = make(Path::new("/tmp"))?;
        }
        keygen::write(&directory.path().join("key"), &keygen::generate()?)?;
        Ok(Self {
            nodes: Vec::new(),
            musterd,
            directory,
        })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Starts one more daemon, joined to those before; answers when its socket does.
    pub(super) async fn add(&mut self) -> Result<&Node, Failure> {
        if self.nodes.len() == NODES_MAX {
            return Err(Failure::refused(format!(
                "{NODES_MAX} daemons are the limit"
            )));
        }
        let number = u8::try_from(self.nodes.len() + 1).unwrap_or(u8::MAX);
        let name = format!("n{number}");
        let socket = self.directory.path().join(format!("{name}.sock"));
        let node = Node {
            number,
            name,
            port: 0,
            socket,
            state: State::Exited,
            child: None,
        };
        self.nodes.push(node);
        if let Err(failure) = self.start(self.nodes.len() - 1).await {
            self.nodes.pop();
            return Err(failure);
        }
        Ok(&self.nodes[self.nodes.len() - 1])
    }

    /// kill -9.
    pub(super) async fn kill(&mut self, number: u8) -> Result<String, Failure> {
        let node = self.get(number)?;
        let Some(mut child) = node.child.take() else {
            return Ok(format!("{} is dead already", node.name));
        };
        child.kill().await?;
        node.state = State::Killed;
        Ok(format!("killed {} with SIGKILL", node.name))
    }

    /// Stops a daemon with SIGSTOP, or lets it go on.
    pub(super) fn pause(&mut self, number: u8) -> Result<String, Failure> {
        let node = self.get(number)?;
        let (signal, state, what) = match node.state {
            State::Running => (Signal::STOP, State::Paused, "paused"),
            State::Paused => (Signal::CONT, State::Running, "unpaused"),
            State::Killed | State::Exited => return Ok(format!("{} is dead", node.name)),
        };
        node.signal(signal)?;
        node.state = state;
        Ok(format!("{what} {}", node.name))
    }

    /// Starts a dead daemon again, on the port and with the data that it had.
    pub(super) async fn restart(&mut self, number: u8) -> Result<String, Failure> {
        let node = self.get(number)?;
        let name = node.name.clone();
        if node.child.is_some() {
            return Ok(format!("{name} is not dead: k kills it"));
        }
        self.start(usize::from(number) - 1).await?;
        Ok(format!("started {name} again"))
    }

    /// Who sends an event: the selected daemon if it runs, else any that does.
    pub(super) fn speaker(&self, selected: u8) -> Option<&Node> {
        let running = |node: &&Node| node.state == State::Running;
        let mut nodes = self.nodes.iter().filter(running);
        let selected = nodes.clone().find(|node| node.number == selected);
        selected.or_else(|| nodes.next())
    }

    /// Notices daemons that ended by themselves.
    pub(super) fn reap(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child
                && let Ok(Some(status)) = child.try_wait()
            {
                node.child = None;
                node.state = State::Exited;
                news.push(format!("{} ended: {status}", node.name));
            }
        }
        news
    }

    /// Kills all and waits until they are gone.
    pub(super) async fn stop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            // It may have ended by itself: then there is nothing to kill.
            let _ended = child.start_kill();
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _status = child.wait().await;
            }
            node.state = State::Killed;
        }
    }

    fn get(&mut self, number: u8) -> Result<&mut Node, Failure> {
        let node = self.nodes.iter_mut().find(|node| node.number == number);
        node.ok_or_else(|| Failure::refused(format!("there is no n{number}")))
    }

    async fn start(&mut self, index: usize) -> Result<(), Failure> {
        let mut tries = 1;
        loop {
            let port = match self.nodes[index].port {
                0 => free_port()?,
                known => known,
            };
            let mut child = self
                .command(index, port)?
                .spawn()
                .map_err(|error| Failure::file("start", &self.musterd, &error))?;
            let node = &mut self.nodes[index];
            match wait_until_ready(&mut child, &node.socket).await {
                Ok(()) => {
                    node.port = port;
                    node.state = State::Running;
                    node.child = Some(child);
                    return Ok(());
                }
                Err(why) if tries == START_TRIES => {
                    let tail = self.log_tail(index);
                    let name = &self.nodes[index].name;
                    return Err(Failure::refused(format!(
                        "{name} {why}; its log ends: {tail}"
                    )));
                }
                Err(_) => {
                    let _status = child.kill().await;
                    node.port = 0;
                    tries += 1;
                }
            }
        }
    }

    fn command(&self, index: usize, port: u16) -> Result<Command, Failure> {
        let (node, directory) = (&self.nodes[index], self.directory.path());
        let log_path = self.log_path(index);
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(|error| Failure::file("create", &log_path, &error))?;
        let errors = log.try_clone()?;
        let role = if node.number <= 3 { "web" } else { "worker" };
        let mut command = Command::new(&self.musterd);
        command
            .args(["--name", &node.name, "--cluster", "demo"])
            .args(["--bind", &format!("127.0.0.1:{port}")])
            .arg("--socket")
            .arg(&node.socket)
            .arg("--data-dir")
            .arg(directory.join(&node.name))
            .args([
                "--role",
                &format!("{role}=127.0.0.1:{}", 8080 + u16::from(node.number)),
            ])
            .arg("--key-file")
            .arg(directory.join("key"));
        let others = self
            .nodes
            .iter()
            .filter(|other| other.number != node.number);
        for other in others.filter(|other| other.port != 0).take(SEEDS_MAX) {
            command.args(["--join", &format!("127.0.0.1:{}", other.port)]);
        }
        for (name, _) in std::env::vars_os() {
            // What configures the user's own daemon is not for these.
            if name.to_string_lossy().starts_with("MUSTER_") {
                command.env_remove(name);
            }
        }
        command
            // Held for as long as the demo lives: killed itself, it leaves no daemon behind.
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in the terminal is for the demo; it ends the daemons itself.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    fn log_path(&self, index: usize) -> PathBuf {
        let name = &self.nodes[index].name;
        self.directory.path().join(format!("{name}.log"))
    }

    fn log_tail(&self, index: usize) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log_path(index))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("(cannot be read: {error})"))
    }
}

/// Waits until the socket takes connections. `Err` says what happened instead.
async fn wait_until_ready(child: &mut Child, socket: &Path) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut poll = interval(START_POLL);
    loop {
        poll.tick().await;
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Err(format!("ended at once ({status})")),
            Err(error) => return Err(format!("is out of sight: {error}")),
        }
        if UnixStream::connect(socket).await.is_ok() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("did not open its socket within {START_TIMEOUT:?}"));
        }
    }
}

/// A port that is free for TCP and for UDP on loopback right now.
fn free_port() -> Result<u16, Failure> {
    let mut tries = 0..16;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if tries.next().is_none() => return Err(error.into()),
            Err(_taken) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the daemon that makes its socket and sleeps.
    fn script(directory: &Path, body: &str) -> PathBuf {
        let path = directory.join("musterd");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_free_port_is_free_for_both() {
        let port = free_port().unwrap();
        assert_ne!(port, 0);
    }

    #[tokio::test]
    async fn a_daemon_that_ends_at_once_is_tried_again_and_then_told_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let counter = directory.path().join("tries");
        let body = format!("echo x >> {}; echo port in use; exit 78", counter.display());
        let mut cluster = Cluster::new(script(directory.path(), &body)).unwrap();
        let place = cluster.directory.path().to_path_buf();
        let mode = place.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let key = place.join("key").metadata().unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let failure = cluster.add().await.err().unwrap();
        assert!(failure.text.contains("port in use"), "{failure:?}");
        assert!(failure.text.contains("exit status: 78"), "{failure:?}");
        let tries = std::fs::read_to_string(counter).unwrap();
        assert_eq!(tries.lines().count(), START_TRIES);
        assert!(cluster.nodes().is_empty());
        drop(cluster);
        assert!(!place.exists());
    }

    #[tokio::test]
    async fn what_does_not_exist_cannot_be_killed() {
        let mut cluster = Cluster::new("/nonexistent/musterd".into()).unwrap();
        assert!(cluster.kill(3).await.is_err());
        assert!(cluster.pause(1).is_err());
        assert!(cluster.restart(9).await.is_err());
        assert!(cluster.speaker(1).is_none());
        let failure = cluster.add().await.err().unwrap();
        assert!(failure.text.contains("/nonexistent/musterd"), "{failure:?}");
    }
}
