//! The two servers under load, each a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Binaries, Daemon, DaemonBuilder, Process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::{known, plain, publish};

/// Name of the member that unary calls ask for.
pub(crate) const MEMBER: &str = "one";

/// Between two looks whether a server answers.
const LOOK: Duration = Duration::from_millis(10);

/// Looks before one is given up.
const LOOKS_MAX: usize = 1_000;

/// A running server. Killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    socket: PathBuf,
    process: Running,
}

#[derive(Debug)]
enum Running {
    Musterd(Box<Daemon>),
    Plain(Process, TempDir),
}

impl Server {
    /// A daemon alone in its cluster.
    pub(crate) async fn musterd(binaries: Binaries) -> anyhow::Result<Self> {
        Self::of(Daemon::builder(binaries, MEMBER)).await
    }

    /// A daemon that shows so many others, who were members in the run before.
    pub(crate) async fn musterd_knowing(binaries: Binaries, others: usize) -> anyhow::Result<Self> {
        let dir = Arc::new(temp_dir());
        let file = dir.path().join("snapshot");
        known::write(&file, others)?;
        let builder = Daemon::builder(binaries, MEMBER).cluster(known::CLUSTER);
        Self::of(builder.dir(&dir).arg("--snapshot").arg(file)).await
    }

    async fn of(builder: DaemonBuilder) -> anyhow::Result<Self> {
        let daemon = builder.start();
        let server = Self {
            socket: daemon.socket(),
            process: Running::Musterd(Box::new(daemon)),
        };
        server.answers().await
    }

    /// Plain tonic.
    pub(crate) async fn plain() -> anyhow::Result<Self> {
        let dir = temp_dir();
        let socket = dir.path().join("plain.sock");
        let program = std::env::current_exe()?;
        let args: [OsString; 2] = [plain::ROLE.into(), socket.clone().into()];
        let process = Process::start(
            "plain",
            program.as_os_str(),
            &args,
            &[],
            dir.path(),
            Stdio::null(),
        );
        let server = Self {
            socket,
            process: Running::Plain(process, dir),
        };
        server.answers().await
    }

    async fn answers(self) -> anyhow::Result<Self> {
        for _ in 0..LOOKS_MAX {
            if UnixStream::connect(&self.socket).await.is_ok() {
                return Ok(self);
            }
            sleep(LOOK).await;
        }
        anyhow::bail!("{} does not answer", self.socket.display())
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.process {
            Running::Musterd(daemon) => daemon.pid(),
            Running::Plain(process, _dir) => process.pid(),
        }
    }

    /// Whether it has members to watch.
    pub(crate) const fn has_members(&self) -> bool {
        matches!(self.process, Running::Musterd(_))
    }

    pub(crate) fn client(&self) -> anyhow::Result<muster::Client> {
        publish::client(&self.socket)
    }
}
