//! Agents of HashiCorp's serf, as Debian packages it: the peer of benches and tests.

mod msgpack;
pub mod rpc;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{Process, address, wait};

/// Port of the RPC, at the address of the agent.
const RPC_PORT: u16 = 7373;

/// How long an agent may take to answer after its start.
const START: Duration = Duration::from_secs(30);

/// A running agent. Killed on drop.
#[derive(Debug)]
pub struct Agent {
    /// Name of the node.
    pub name: String,
    /// Words before its program, and before commands for it.
    under: Vec<OsString>,
    /// Address of its RPC.
    pub rpc: SocketAddr,
    /// The process.
    pub process: Process,
    /// Address for its peers.
    pub bind: SocketAddr,
}

impl Agent {
    /// Starts an agent at an address that nobody else uses. `args` come after those
    /// that say who and where it is; output goes to files in `dir`.
    #[must_use]
    pub fn start(name: &str, args: &[String], dir: &Path) -> Self {
        Self::start_at(address::fresh(), name, args, dir)
    }

    /// As [`Agent::start`], at a given address.
    #[must_use]
    pub fn start_at(bind: SocketAddr, name: &str, args: &[String], dir: &Path) -> Self {
        Self::start_under(&[], bind, name, args, dir)
    }

    /// As [`Agent::start_at`], by another program that becomes it, as `nsenter` does.
    #[must_use]
    pub fn start_under(
        under: &[OsString],
        bind: SocketAddr,
        name: &str,
        args: &[String],
        dir: &Path,
    ) -> Self {
        let rpc = SocketAddr::new(bind.ip(), RPC_PORT);
        let own = [
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={bind}"),
            format!("-rpc-addr={rpc}"),
        ];
        let mut line = under.to_vec();
        line.push("serf".into());
        line.extend(own.iter().chain(args).map(OsString::from));
        let process = Process::start(name, &line[0], &line[1..], &[], dir, Stdio::null());
        Self {
            name: name.to_owned(),
            under: under.to_vec(),
            rpc,
            process,
            bind,
        }
    }

    /// Runs one of serf's commands against it.
    ///
    /// # Panics
    ///
    /// If there is no `serf` to run.
    #[must_use]
    pub fn serf(&self, command: &str, args: &[&str]) -> Output {
        let rpc = format!("-rpc-addr={}", self.rpc);
        let mut line = self.under.clone();
        line.push("serf".into());
        let mut serf = Command::new(&line[0]);
        serf.args(&line[1..]).args([command, &rpc]).args(args);
        serf.output()
            .unwrap_or_else(|error| panic!("serf does not start: {error}"))
    }

    /// Waits until its RPC answers.
    pub async fn ready(&self) {
        wait::until(&self.name, START, async || {
            let output = self.serf("members", &[]);
            match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        })
        .await;
    }

    /// Whether its RPC answers a command.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.serf("members", &[]).status.success()
    }

    /// Members that it shows alive.
    #[must_use]
    pub fn alive(&self) -> usize {
        let output = self.serf("members", &["-status=alive"]);
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    /// Status of a member as it sees it; none if it does not list it.
    #[must_use]
    pub fn status_of(&self, member: &str) -> Option<String> {
        let output = self.serf("members", &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(str::split_whitespace);
        let mut found = lines.filter_map(|mut words| Some((words.next()?, words.nth(1)?)));
        found
            .find(|(name, _)| *name == member)
            .map(|(_, status)| status.to_owned())
    }

    /// Waits until it shows a member with this status.
    pub async fn sees(&self, member: &str, status: &str) {
        let what = format!("{member} being {status} at serf's {}", self.name);
        wait::until(&what, wait::DETECTION, async || {
            match self.status_of(member) {
                Some(seen) if seen == status => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    }
}
