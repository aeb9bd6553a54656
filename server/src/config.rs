//! Configuration: one table of settings, read from flags, environment and a file.
//!
//! [`load`] gives either a whole, checked [`Config`] or every mistake at once.
//! Nothing here touches the process: arguments, environment and machine come in
//! as [`Inputs`].

mod addresses;
mod args;
mod build;
mod changes;
mod containers;
mod env;
mod file;
mod handling;
mod layers;
mod machine;
mod print;
mod problem;
pub mod reference;
pub mod schema;
mod secrets;
pub mod serf;
mod serfnode;
pub mod units;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_engine::{Limits, Role, Stage};

use crate::legacy::json::Privacy;
use crate::{children, containers as told, docker, handlers};

pub use crate::grpc::Capability;
pub use crate::keys::KEYS_MAX;
use crate::serf_rpc;
use crate::tags::TagChanges;
pub use crate::telemetry::log::LogFormat;
use args::Asked;
pub use args::command;
pub use changes::{Change, Held};
use layers::Layers;
pub use machine::{Machine, ThisMachine, is_private};
pub use problem::{Problem, Problems, Source};
pub use secrets::Security;

/// Everything that the daemon is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this member is.
    pub node: Node,
    /// How it talks to others.
    pub peers: Peers,
    /// Where clients reach it.
    pub api: Api,
    /// Where clients of serf reach it, if anywhere.
    pub serf_rpc: Option<serf_rpc::Config>,
    /// Bounds of the engine.
    pub limits: Limits,
    /// How long dead members are shown.
    pub members: Members,
    /// What is run when something happens.
    pub handlers: handlers::Config,
    /// Whose containers are followed.
    pub docker: docker::Config,
    /// For programs that speak no gRPC.
    pub legacy: Legacy,
    /// Which containers it starts.
    pub children: children::Wanted,
    /// What is told of them.
    pub containers: told::Config,
    /// The process itself.
    pub process: Process,
    /// What a person should look at, for the log.
    pub warnings: Vec<String>,
    /// What holds for each setting, so that two configurations can be compared.
    pub held: BTreeMap<&'static str, Held>,
}

/// For programs that speak no gRPC.
#[derive(Debug, Clone)]
pub struct Legacy {
    /// Where their files and FIFOs are; without it there are none.
    pub root: Option<PathBuf>,
    /// Lines per second that each FIFO takes.
    pub fifo_rate: Option<std::num::NonZeroU32>,
    /// What `inspect` in the files shows.
    pub privacy: Privacy,
}

/// Who this member is.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Its tags, as configured.
    pub tags: BTreeMap<String, String>,
    /// What the tags file holds: changes of those tags.
    pub tag_changes: TagChanges,
    /// Where such changes are kept.
    pub tags_file: Option<PathBuf>,
    /// Its roles, the order of the settings kept; the engine sets `since_unix_ms`.
    pub roles: Vec<Role>,
    /// `service-ip` is not set: the service address is that of `advertise`, and it is the
    /// one of these roles, whose own address is not set either.
    pub follows: Option<BTreeSet<String>>,
}

/// How a member talks to others.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Address to listen on, UDP and TCP; port 0 is any.
    pub bind: SocketAddr,
    /// Address for peers; port 0 is the bound port: see [`Peers::advertise_at`].
    pub advertise: SocketAddr,
    /// Somebody said so, rather than that it was found on an interface.
    pub advertise_given: bool,
    /// Addresses and names to join, those of the token included.
    pub join: Vec<String>,
    /// Keys, or none by wish.
    pub security: Security,
    /// Whether this node finds its network coordinate and tells it.
    pub coordinates: bool,
    /// Longest pause between tries to join.
    pub retry_interval: Duration,
    /// Come back after a leave with what the snapshot holds.
    pub rejoin: bool,
    /// Whom to look for by multicast, if anybody.
    pub discovery: Option<Discovery>,
    /// The keyring file, kept up to date.
    pub keyring_file: Option<PathBuf>,
    /// The keys come from that file.
    pub keys_from_file: bool,
    /// Stage of encryption, if one was given.
    pub encryption: Option<Stage>,
    /// Why plaintext must not be accepted: an address is public.
    pub public: Option<String>,
}

/// How members are found on the local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// What those that find each other have in common.
    pub name: String,
    /// The only interface to use, if not all.
    pub interface: Option<String>,
}

/// Where clients reach a member.
#[derive(Debug, Clone)]
pub struct Api {
    /// The API socket.
    pub socket: PathBuf,
    /// Its mode.
    pub socket_mode: u32,
    /// Group of the sockets, if not that of the process.
    pub socket_group: Option<u32>,
    /// A second socket with reading and events only.
    pub child_socket: Option<PathBuf>,
    /// More capabilities on the API socket, by user.
    pub allow: BTreeMap<u32, BTreeSet<Capability>>,
    /// Threads that serve it, 1 to 64.
    pub threads: usize,
}

/// How long dead members are shown.
#[derive(Debug, Clone, Copy)]
pub struct Members {
    /// After a leave.
    pub reap_left: Duration,
    /// After a failure.
    pub reap_failed: Duration,
}

/// The process itself.
#[derive(Debug, Clone)]
pub struct Process {
    /// Where state outlives a restart.
    pub data_dir: Option<PathBuf>,
    /// File of the snapshot, if anything is kept.
    pub snapshot: Option<PathBuf>,
    /// What is logged at first.
    pub log_filter: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// Whether SIGTERM leaves the cluster.
    pub leave_on_terminate: bool,
    /// Whether SIGINT does.
    pub leave_on_interrupt: bool,
    /// Whether an end without a finished leave is exit code 1, as of serf's agent.
    pub serf_exit_codes: bool,
    /// Deadline of a leave.
    pub leave_timeout: Duration,
    /// Deadline of draining.
    pub drain_timeout: Duration,
    /// Whether the end of standard input is a SIGTERM.
    pub exit_with_stdin: bool,
}

/// What [`load`] works with.
#[derive(Debug)]
pub struct Inputs<'a, M> {
    /// Arguments without the name of the program.
    pub args: &'a [OsString],
    /// The environment.
    pub environment: &'a BTreeMap<String, String>,
    /// The machine.
    pub machine: &'a M,
}

/// What was asked for.
#[derive(Debug)]
pub enum Request {
    /// Run a daemon.
    Run(Box<Config>),
    /// Print this and exit with 0.
    Print(String),
}

impl Peers {
    /// The address that peers use, once the daemon listens at `bound`.
    #[must_use]
    pub fn advertise_at(&self, bound: SocketAddr) -> SocketAddr {
        match self.advertise.port() {
            0 => SocketAddr::new(self.advertise.ip(), bound.port()),
            _ => self.advertise,
        }
    }
}

/// Reads flags, environment and file, the stronger first.
///
/// # Errors
/// Every mistake found, not just the first.
pub fn load<M: Machine>(inputs: &Inputs<'_, M>) -> Result<Request, Problems> {
    let mut layers = Layers::default();
    if let Asked::Text(text) = args::read(inputs.args, &mut layers) {
        return Ok(Request::Print(text));
    }
    finish(inputs, layers)
}

/// As [`load`] with the command line and the files of serf's agent, `args` without
/// `serf agent`. Where serf's defaults differ they hold, but for what is named in
/// docs/serf.md.
///
/// # Errors
/// Every mistake found, not just the first.
pub fn load_serf_agent<M: Machine>(inputs: &Inputs<'_, M>) -> Result<Request, Problems> {
    let mut layers = Layers::of_serf();
    let asked = serf::read(inputs.args, inputs.environment, inputs.machine, &mut layers);
    if let Asked::Text(text) = asked {
        return Ok(Request::Print(text));
    }
    finish(inputs, layers)
}

fn finish<M: Machine>(inputs: &Inputs<'_, M>, mut layers: Layers) -> Result<Request, Problems> {
    env::read(inputs.environment, &mut layers);
    if let Some(path) = layers.optional("config", values::path) {
        file::read(Path::new(&path), &mut layers);
    }
    let show = layers.value("print-config", units::boolean);
    let check = layers.value("check-config", units::boolean);
    let mut config = build::build(&mut layers, inputs.machine, inputs.environment);
    layers.finish()?;
    config.held = changes::held(&config, &layers);
    config.process.serf_exit_codes = layers.is_of_serf();
    Ok(if show {
        Request::Print(print::effective(&config, &layers))
    } else if check {
        Request::Print(print::checked(&config))
    } else {
        Request::Run(Box::new(config))
    })
}

#[cfg(test)]
mod tests;
