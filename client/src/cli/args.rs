//! The grammar of the command line.

mod events;
mod keys;
mod members;
mod node;
mod programs;
mod services;

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::cli::text;

pub(super) use events::{Event, Extras, Query, Receipt, ServeQuery, WatchEvents};
pub(super) use keys::{Keygen, Keys, Stage, Token};
pub(super) use members::{
    Explain, ForceLeave, MemberList, Members, Reachability, Rtt, Wait, WatchMembers, statuses,
};
pub(super) use node::{Info, Join, Leave, LogLevel, LogLine, Monitor, Tags};
pub(super) use programs::{Completions, Demo, Init, Proto, Run, Serf};
pub(super) use services::{ContainerList, Inspect, Policy, Resolve};

/// See and steer a Muster cluster through the daemon on this host.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, \
    3 not found or empty, 4 no daemon reachable, 5 deadline passed."
)]
pub(super) struct Cli {
    /// Socket of the daemon: /path, unix:/path or unix:///path [default:
    /// /run/muster/api.sock, else $XDG_RUNTIME_DIR/muster/api.sock]
    #[arg(long, global = true, env = "MUSTER_SOCKET", value_name = "PATH")]
    pub(super) socket: Option<String>,
    /// What to print
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
    /// Give up after this long, such as 500ms, 10s or 2m
    #[arg(long, global = true, value_name = "DURATION", value_parser = text::parse_duration)]
    pub(super) timeout: Option<Duration>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences
    Human,
    /// JSON: one object, or one a line for watches
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run five live daemons on loopback and play with them
    Demo(Demo),
    /// Print a new cluster key
    Keygen(Keygen),
    /// Print one line with all that a new host needs to enter the cluster
    Token(Token),
    /// List members
    Members(MemberList),
    /// List the containers of all nodes; only running ones without --all
    Containers(ContainerList),
    /// Print all that the engine says of a container, wherever it runs
    Inspect(Inspect),
    /// Follow members, containers, events or a role live
    #[command(subcommand)]
    Watch(Watch),
    /// Send an event to the whole cluster
    Event(Event),
    /// Ask members, and print their answers as they come
    Query(Query),
    /// Answer queries with a command: the payload on its standard input, the answer from
    /// its standard output
    ServeQuery(ServeQuery),
    /// Ask every live member for a sign, and compare with the list of members
    Reachability(Reachability),
    /// Print where a role is served
    Resolve(Resolve),
    /// List all roles
    Roles,
    /// Estimate the round trip time between two members
    Rtt(Rtt),
    /// Tell why a member is shown as it is: what was seen, by whom, and what to look at
    Explain(Explain),
    /// Make the daemon join others
    Join(Join),
    /// Make the daemon leave the cluster and exit
    Leave(Leave),
    /// Turn a failed member into a left one, everywhere
    ForceLeave(ForceLeave),
    /// Print or change the tags of this node
    Tags(Tags),
    /// List or change the keys that all members talk under
    #[command(subcommand)]
    Keys(Keys),
    /// Describe the daemon
    Info(Info),
    /// Change what the daemon logs, until it restarts
    LogLevel(LogLevel),
    /// Print where peers reach this node, IP:PORT, once the daemon answers
    Me,
    /// Follow the daemon's log, its members and its events
    Monitor(Monitor),
    /// Make the daemon read its configuration again
    Reload,
    /// Wait until so many members are alive
    Wait(Wait),
    /// Ask whether the daemon serves
    Health,
    /// Print the versions of this program and of the daemon
    Version,
    /// Run a node in a container of Docker, with the children of a serfnode.yml
    Run(Run),
    /// Write a serfnode.yml, a Dockerfile and a handler, to build a node's image from
    Init(Init),
    /// Write the .proto files of the API into a directory
    Proto(Proto),
    /// Run a command of serf, with serf's flags and output
    Serf(Serf),
    /// Print shell completions
    Completions(Completions),
}

#[derive(Debug, Subcommand)]
pub(super) enum Watch {
    /// Follow members
    Members(WatchMembers),
    /// Follow containers
    Containers(ContainerList),
    /// Follow events
    Events(WatchEvents),
    /// Follow where a role is served
    Role(Resolve),
}
