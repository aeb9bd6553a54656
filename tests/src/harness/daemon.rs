//! One `musterd` process.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Api, Binaries, Muster, Process, address, wait};

/// How a daemon talks to its peers.
#[derive(Debug, Clone)]
pub enum Security {
    /// Under the key in this file.
    KeyFile(PathBuf),
    /// `--insecure-plaintext`.
    Plaintext,
    /// No flag at all: the test gives its own arguments, or wants to see the error.
    Unset,
}

/// What to start. Made by [`Daemon::builder`]; every call returns it changed.
#[derive(Debug, Clone)]
pub struct DaemonBuilder {
    binaries: Binaries,
    name: String,
    cluster: String,
    addr: SocketAddr,
    security: Security,
    joins: Vec<String>,
    under: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    child_socket: bool,
    data_dir: bool,
    dir: Option<Arc<TempDir>>,
}

impl DaemonBuilder {
    /// Name of the cluster; "test" unless set.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        name.clone_into(&mut self.cluster);
        self
    }

    /// Address for peers; a fresh one unless set.
    #[must_use]
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// The address for peers that it will have.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Key file, plaintext or neither; plaintext unless set.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// One more `--join`.
    #[must_use]
    pub fn join(mut self, seed: impl ToString) -> Self {
        self.joins.push(seed.to_string());
        self
    }

    /// One more `--role`.
    #[must_use]
    pub fn role(self, role: &str) -> Self {
        self.arg("--role").arg(role)
    }

    /// One more `--tag`.
    #[must_use]
    pub fn tag(self, key: &str, value: &str) -> Self {
        self.arg("--tag").arg(format!("{key}={value}"))
    }

    /// One more argument, as it is.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Run by another program, which must become it (`exec`): `nsenter`, `prlimit`. The
    /// last one given is the outermost.
    #[must_use]
    pub fn under<A: AsRef<OsStr>>(mut self, program: &[A]) -> Self {
        let program = program.iter().map(|word| word.as_ref().to_owned());
        self.under.splice(0..0, program);
        self
    }

    /// With a child socket.
    #[must_use]
    pub fn child_socket(mut self) -> Self {
        self.child_socket = true;
        self
    }

    /// With a data directory that a restart finds again.
    #[must_use]
    pub fn data_dir(mut self) -> Self {
        self.data_dir = true;
        self
    }

    /// Keeps sockets and files in this directory instead of one of its own.
    #[must_use]
    pub fn dir(mut self, dir: &Arc<TempDir>) -> Self {
        self.dir = Some(Arc::clone(dir));
        self
    }

    /// Starts the daemon and returns at once.
    ///
    /// # Panics
    ///
    /// When the directory or the process cannot be made.
    #[must_use]
    pub fn start(mut self) -> Daemon {
        let dir = self.dir.take().unwrap_or_else(|| Arc::new(temp_dir()));
        let home = dir.path().join(&self.name);
        std::fs::create_dir_all(&home)
            .unwrap_or_else(|error| panic!("{}: {error}", home.display()));
        let process = launch(&self, &home);
        Daemon {
            process,
            spec: self,
            home,
            _dir: dir,
        }
    }

    /// Starts the daemon and waits until its socket answers.
    pub async fn ready(self) -> Daemon {
        let mut daemon = self.start();
        daemon.wait_ready().await;
        daemon
    }

    /// Starts a daemon that is expected to give up, and returns its exit code and
    /// standard error.
    pub async fn refused(self) -> (Option<i32>, String) {
        let mut daemon = self.start();
        let status = daemon.process.wait_exit(wait::SOON).await;
        (status.code(), daemon.log())
    }

    /// The whole command line after the program.
    fn command_line(&self, home: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: &OsStr| line.extend([name.into(), value.to_owned()]);
        flag("--name", self.name.as_ref());
        flag("--cluster", self.cluster.as_ref());
        flag("--bind", self.addr.to_string().as_ref());
        flag("--socket", home.join("api.sock").as_ref());
        if self.child_socket {
            flag("--child-socket", home.join("child.sock").as_ref());
        }
        if self.data_dir {
            flag("--data-dir", home.join("data").as_ref());
        }
        for seed in &self.joins {
            flag("--join", seed.as_ref());
        }
        match &self.security {
            Security::KeyFile(path) => flag("--key-file", path.as_ref()),
            Security::Plaintext => line.push("--insecure-plaintext".into()),
            Security::Unset => {}
        }
        line.extend(self.args.iter().cloned());
        line
    }
}

/// A daemon that was started. Killed and reaped on drop, its directory removed.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    spec: DaemonBuilder,
    home: PathBuf,
    _dir: Arc<TempDir>,
}

impl Daemon {
    /// A daemon of that name with an address of its own, in plaintext, alone.
    #[must_use]
    pub fn builder(binaries: Binaries, name: &str) -> DaemonBuilder {
        DaemonBuilder {
            binaries,
            name: name.to_owned(),
            cluster: "test".to_owned(),
            addr: address::fresh(),
            security: Security::Plaintext,
            joins: Vec::new(),
            under: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            child_socket: false,
            data_dir: false,
            dir: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address for peers.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.spec.addr
    }

    /// Its API socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("api.sock")
    }

    /// Its child socket, which exists only if asked for.
    #[must_use]
    pub fn child_socket(&self) -> PathBuf {
        self.home.join("child.sock")
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it logged so far, over restarts.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr_text()
    }

    /// The command line, pointed at this daemon.
    #[must_use]
    pub fn muster(&self) -> Muster {
        Muster::new(self.spec.binaries, &self.home).socket(&self.socket())
    }

    /// A new connection to its API socket.
    ///
    /// # Panics
    ///
    /// When it does not answer in time.
    pub async fn api(&self) -> Api {
        Api::connect(&self.socket()).await
    }

    /// Waits until the socket takes connections.
    ///
    /// # Panics
    ///
    /// When the daemon ends, or takes too long.
    pub async fn wait_ready(&mut self) {
        let socket = self.socket();
        let what = format!("the socket of {}", self.spec.name);
        wait::until(&what, wait::SOON, async || {
            if let Some(status) = self.process.exited() {
                panic!(
                    "{} ended with {status}:\n{}",
                    self.spec.name,
                    self.process.stderr_text()
                );
            }
            UnixStream::connect(&socket).map(drop)
        })
        .await;
    }

    /// Whether the process runs (or is stopped).
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait_exit(wait::SOON).await;
    }

    /// SIGSTOP: the kernel goes on accepting for it, it answers nothing.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Sends any signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the end of the process.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait_exit(limit).await
    }

    /// Starts it again with the same command line, after it ended.
    ///
    /// # Panics
    ///
    /// When it still runs, or does not come up.
    pub async fn restart(&mut self) {
        assert!(!self.is_running(), "{} still runs", self.spec.name);
        self.process = launch(&self.spec, &self.home);
        self.wait_ready().await;
    }

    /// Starts it again with more environment, from now on.
    ///
    /// # Panics
    ///
    /// When it still runs, or does not come up.
    pub async fn restart_with(&mut self, env: &[(&str, &str)]) {
        let more = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        self.spec.env.extend(more);
        self.restart().await;
    }
}

/// A directory for sockets and files: short, because paths of sockets are.
///
/// # Panics
///
/// When it cannot be made.
#[must_use]
pub fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("muster-")
        .tempdir()
        .unwrap_or_else(|error| panic!("no temporary directory: {error}"))
}

/// Writes a key file with 32 bytes that only this call knows.
///
/// # Panics
///
/// When the file cannot be written.
#[must_use]
pub fn write_key(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let key: [u8; 32] = rand::random();
    std::fs::write(&path, STANDARD.encode(key) + "\n")
        .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn launch(spec: &DaemonBuilder, home: &Path) -> Process {
    let mut env = spec.env.clone();
    // Never the sockets of a daemon that runs on this machine for real.
    env.push(("XDG_RUNTIME_DIR".to_owned(), home.display().to_string()));
    let mut line = spec.under.clone();
    line.push(spec.binaries.musterd.into());
    line.extend(spec.command_line(home));
    let (program, args) = (&line[0], &line[1..]);
    Process::start(&spec.name, program, args, &env, home, Stdio::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Binaries = Binaries {
        musterd: "/bin/false",
        muster: "/bin/false",
    };

    #[test]
    fn the_command_line_names_everything_that_was_asked_for() {
        let builder = Daemon::builder(NONE, "one")
            .cluster("c")
            .join("127.0.0.1:1")
            .role("web=10.0.0.1:80")
            .tag("zone", "a")
            .data_dir()
            .child_socket();
        let line = builder.command_line(Path::new("/h"));
        let text: Vec<&str> = line.iter().filter_map(|arg| arg.to_str()).collect();
        let text = text.join(" ");
        for part in [
            "--name one --cluster c",
            "--socket /h/api.sock",
            "--child-socket /h/child.sock",
            "--data-dir /h/data",
            "--join 127.0.0.1:1",
            "--insecure-plaintext",
            "--role web=10.0.0.1:80 --tag zone=a",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_gives_up_yields_its_exit_code() {
        let (code, log) = Daemon::builder(NONE, "one").refused().await;
        assert_eq!((code, log.as_str()), (Some(1), ""));
    }

    #[test]
    fn keys_are_private_and_distinct() {
        let dir = temp_dir();
        let (a, b) = (write_key(dir.path(), "a"), write_key(dir.path(), "b"));
        assert_ne!(std::fs::read(&a).unwrap(), std::fs::read(b).unwrap());
        assert_eq!(
            std::fs::metadata(a).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
